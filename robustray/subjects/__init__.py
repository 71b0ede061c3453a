"""Any classifier by a few words: a trial, a checkpoint, plain weights, a factory, the model zoo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustray.lazy import lazy

if TYPE_CHECKING:
    from robustray.subjects.classifier import Classifier
    from robustray.subjects.spec import load

__all__ = ["Classifier", "load"]

__getattr__ = lazy(__name__, {"Classifier": "classifier", "load": "spec"})
