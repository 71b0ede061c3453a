"""The model zoo of RobustBench."""

from __future__ import annotations

import importlib
import importlib.util
import sys

from robustray.data.base import DataSource
from robustray.errors import UserError
from robustray.models.given import ZOO
from robustray.plain import line
from robustray.subjects.classifier import Classifier

_NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}


def model(name: str, data: DataSource | None, norm: str) -> Classifier:
    """A model of RobustBench, downloaded by RobustBench itself into ./models where it is not there yet.

    Raises:
        UserError: RobustBench is not installed, has no such model for this data and norm, or could not load it.
    """
    _lend_autoattack()
    try:
        from robustbench.utils import load_model
    except ImportError as error:
        if importlib.util.find_spec("robustbench") is not None:
            raise UserError(f"{ZOO}{name}: robustbench is installed, but cannot be imported ({line(error)})") from None
        raise UserError(
            f"{ZOO}{name}: the model zoo needs robustbench ({error}): pip install 'robustray[zoo]'"
        ) from None
    if data is None:
        raise UserError(f"{ZOO}{name}: say which --data its models were trained on")
    try:
        found = load_model(model_name=name, dataset=data.name, threat_model=_NORMS[norm])
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{ZOO}{name}: RobustBench has no such model for {data.name} and {_NORMS[norm]} ({line(error)})"
        ) from None
    except Exception as error:  # a download, a package of its own
        raise UserError(f"{ZOO}{name}: RobustBench could not load it ({type(error).__name__}: {line(error)})") from None
    return Classifier.of(found, name, type(found).__name__)


def _lend_autoattack() -> None:
    """Lets RobustBench, which wants a package `autoattack` that no registry has, find the authors' own under its other name."""
    if importlib.util.find_spec("robustbench") is None or importlib.util.find_spec("autoattack") is not None:
        return
    for part in ("", ".autoattack", ".state"):
        sys.modules[f"autoattack{part}"] = importlib.import_module(f"pyautoattack{part}")
