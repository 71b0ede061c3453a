"""What tests are made of: small models, images, options, and a count of passes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from robustray import testing
from robustray.data import DataSource
from robustray.registry import Part, parts
from robustray.testing import contracts
from robustray.testing.made import Boom, Fails, Passes, batch, flags, generator, linear, network, same, state
from robustray.testing.options import JUDGE
from robustray.trial import TrialConfig
from tests.robustray import made_folders
from tests.robustray.extra import HERE
from tests.robustray.made_folders import MAKERS, Folder

__all__ = [
    "JUDGE",
    "NEEDED",
    "Boom",
    "Fails",
    "Passes",
    "batch",
    "every",
    "flags",
    "generator",
    "kept",
    "linear",
    "made",
    "made_folder",
    "network",
    "same",
    "state",
    "trial",
    "variants",
]
NEEDED: dict[tuple[str, str], dict[str, Any]] = {
    ("attack", "multi_targeted"): {"steps": 2, "targets": 1},
    ("attack", "pma"): {"steps": 2},
    ("data", "npz"): {"train": "train.npz", "test": "test.npz"},
    ("curriculum", "stages"): {"stages": ({"eps_scale": 0.5}, {"begin": {"fraction": 0.5}, "eps_scale": 1})},
    ("measure", "best_known"): {"attack": {"steps": 2}, "apgd": ()},
    ("measure", "corruptions"): {"path": str(HERE / "corruptions")},
    ("measure", "robust_accuracy"): {"attack": {"steps": 2, "restarts": 2}, "eps_range": (0, 0.02)},
    ("measure", "spatial"): {"moves": {"draws": 2, "grid": {"rotations": 2, "translations": 1}}},
    ("measure", "transfer"): {"source": "another", "attack": {"steps": 2}},
    ("mix", "generated"): {"path": str(HERE / "generated.npz")},
    ("mix", "pseudo_labelled"): {"path": str(HERE / "pseudo_labelled.pickle")},
}
"""Options that a part cannot do without, or that keep a dear one cheap; every other part is made from its defaults."""

P = TypeVar("P", bound=Part)


def trial(**options: Any) -> TrialConfig:
    """A trial that trains in a tenth of a second: three steps an epoch, two epochs."""
    small = {
        "judge": JUDGE,
        "batch": {"size": 400, "augment": ["crop", "flip"]},
        "model": {"name": "small_cnn", "width": 2, "dropout": 0.3},
        "attack": {"steps": 2},
        "averaging": {"name": "ema", "decay": 0.9, "warmup": 1},
        "schedule": {"name": "one_cycle", "epochs": 2, "lr": 0.2},
    }
    ignored = {keys[0] for keys in TrialConfig.loose(small | options).ignored()} - set(options)
    return TrialConfig.model_validate({key: value for key, value in (small | options).items() if key not in ignored})


def every(kind: str) -> pytest.MarkDecorator:
    """Runs a test for every registered part of a kind, none of them named."""
    known = parts(kind)
    assert known, f"no part of kind {kind!r}"
    return pytest.mark.parametrize("cls", [pytest.param(cls, id=name) for name, cls in known.items()])


def made(cls: type[P], **options: Any) -> P:
    """A part with the options it needs. Inside a test, files are those of its working directory."""
    needed = NEEDED.get((cls.kind, cls.model_fields["name"].default), {})
    if cls.kind == "mix" and "PYTEST_CURRENT_TEST" in os.environ:
        needed = {**needed, "path": Path(needed["path"]).name}
    return cls(**(needed | options))


def made_folder(cls: type[DataSource], path: Path, seed: int = 0) -> Folder:
    """A tiny folder in a data source's real format, at `path`, and the options that read it."""
    name = cls.model_fields["name"].default
    if name not in MAKERS:
        pytest.fail(
            f"nothing makes files for the data source {name!r}: add @makes({name!r}) to {made_folders.__file__}"
        )
    path.mkdir(parents=True, exist_ok=True)
    return MAKERS[name](path, seed)


def variants(kind: str, parameter: str = "part") -> pytest.MarkDecorator:
    """Runs a test for every part of a kind: as it is by default, and with each other value of each option of choice."""
    return pytest.mark.parametrize(parameter, [pytest.param(part, id=name) for name, part, _ in _variants(kind)])


def kept(kind: str, *, of: Sequence[str] | None = None) -> pytest.MarkDecorator:
    """Runs a test (contract, part) for every contract of a kind, on every part (of some kinds) that it is to be tried on."""
    cases = [
        pytest.param(contract, part, id="-".join([contract.name, *([each] if of else []), name]))
        for contract in contracts(kind)
        for each in of or [kind]
        for name, part, word in _variants(each)
        if contract.asked_of(part, word)
    ]
    return pytest.mark.parametrize(("contract", "part"), cases)


def _variants(kind: str) -> list[tuple[str, Part, str]]:
    """Every part of a kind in every variant, with an id, and a word for what is other than by default."""
    found = [
        ("-".join(filter(None, [name, word])), part, word)
        for name, cls in parts(kind).items()
        for word, part in testing.variants(cls, **NEEDED.get((kind, name), {}))
    ]
    assert found, f"no part of kind {kind!r}"
    return found
