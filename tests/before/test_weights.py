"""Trials of before the refactoring train to the same bits: every part, every defense, what they combine with.

`weights.json` holds what each trial trained to, and on which machine. Elsewhere bits differ, and weights are near.
"""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from robustray.registry import parts
from robustray.training import Trainer
from robustray.trial import TrialConfig
from tests.before.compared import machine

RECORDED: dict[str, Any] = json.loads(Path(__file__).with_name("weights.json").read_text())
BASE: dict[str, Any] = RECORDED["base"]
"""What every trial has, but where its case says otherwise."""
RTOL = 1e-3
"""For weights on another machine. A case's own `rtol` is larger, and null where rounding alone leads elsewhere: it was
measured with other kernels on one machine."""
KINDS = ("defense", "update", "averaging", "optimiser", "schedule", "curriculum", "model")
Print = dict[str, list[float]]
"""Coarse: of each tensor its sum and its l2 norm."""


def write_images(folder: Path) -> None:
    """Larger images than digits, and files that a mix draws from; by arithmetic, so that they are the same for ever."""
    for name in ("train", "test"):
        np.savez(folder / f"{name}.npz", images=_pixels(130, 32, 32, 3), labels=np.arange(130, dtype=np.int64) % 10)
    image, label = _pixels(40, 8, 8, 1), np.arange(40, dtype=np.int64) % 10
    np.savez(folder / "generated.npz", image=image, label=label)
    whole = {"data": image, "extrapolated_targets": label}
    (folder / "pseudo_labelled.pickle").write_bytes(pickle.dumps(whole, protocol=4))


def _pixels(*shape: int) -> NDArray[np.uint8]:
    numbers = np.arange(math.prod(shape), dtype=np.uint64)
    return ((numbers * np.uint64(2654435761) % np.uint64(2**32)) >> np.uint64(24)).astype(np.uint8).reshape(shape)


def trained(options: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The hash of a trial's weights, its passes and a print of its last checkpoint."""
    report = Trainer(TrialConfig.loose(options).without_ignored(), folder, device="cpu", threads=1).run()
    average = torch.load(folder / "last.pt", map_location="cpu", weights_only=True)["average"]
    shown = {name: [_short(value.double().sum()), _short(value.double().norm())] for name, value in average.items()}
    return {"weights": report["weights"], "passes": report["cost_passes"], "print": shown}


def _short(value: torch.Tensor) -> float:
    return float(f"{value.item():.6g}")


def apart(found: Print, before: Print) -> float:
    """How far prints are apart, as measured by the norms."""
    assert found.keys() == before.keys()
    differences = (
        max(abs(now - then) for now, then in zip(found[name], before[name], strict=True)) / max(before[name][1], 1e-9)
        for name in before
    )
    return max(differences)


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in RECORDED["cases"]])
def test_trains_to_the_same_weights(case: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_images(tmp_path)
    found = trained(BASE | case["trial"], tmp_path / "trial")
    assert found["passes"] == case["passes"]
    if machine() == RECORDED["machine"]:
        assert found["weights"] == case["weights"]
    if case.get("rtol", RTOL) is not None:
        assert apart(found["print"], case["print"]) <= case.get("rtol", RTOL)


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_of_then_is_there_and_has_a_case(kind: str) -> None:
    then = set(RECORDED["parts"][kind])
    named = [(BASE | case["trial"]).get(kind) for case in RECORDED["cases"]]
    assert then <= set(parts(kind))
    assert then <= {value["name"] if isinstance(value, dict) else value for value in named}


def test_options_show_in_the_weights() -> None:
    """No two cases train to the same weights: each would notice if its options were not read."""
    assert len({case["weights"] for case in RECORDED["cases"]}) == len(RECORDED["cases"])
