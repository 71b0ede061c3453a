"""The loss around the weights of two small networks on digits, trained naturally and by TRADES (Stutz et al., ICCV 2021)."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from robustray._later import nn, torch
from robustray.measures.base import Ground
from robustray.measures.landscape import Landscape
from robustray.measures.taking import take
from robustray.toys.base import Tables
from robustray.trial import TrialConfig

TRAININGS: Mapping[str, Mapping[str, Any]] = {"natural": {"name": "natural"}, "trades": {"name": "trades", "beta": 3}}
EPOCHS, IMAGES = 30, 200


def run(tell: Callable[[float], None] = lambda share: None, *, epochs: int = EPOCHS, images: int = IMAGES) -> Tables:
    """`lines`: clean and robust loss along ten random directions of half a layer's length; `plane`: the robust loss in two."""
    lines, plane = list[dict[str, object]](), list[dict[str, object]]()
    views = [
        ("lines", of, Landscape.model_validate({"of": of, "points": 21, "attack": {"steps": 5}}))
        for of in ("clean", "robust")
    ] + [("plane", "robust", Landscape.model_validate({"dimensions": 2, "points": 15, "attack": {"steps": 5}}))]
    done, all_of_it = 0, len(TRAININGS) * (1 + len(views))
    for name, defense in TRAININGS.items():
        trial, model = _trained(defense, epochs)
        tell((done := done + 1) / all_of_it)
        data = trial.judge.data
        rows = np.arange(min(images, len(data.load("validation"))))
        ground = Ground(model, data, "validation", rows, trial.judge.threat, data.classes, torch.device("cpu"))
        for table, of, measure in views:
            found = take(measure, ground).tables
            if table == "lines":
                lines += [{"training": name, "of": of, **row} for row in found["lines"]]
            else:
                plane += [{"training": name, "of": of, **row} for row in found["grid"]]
            tell((done := done + 1) / all_of_it)
    return {"lines": lines, "plane": plane}


def _trained(defense: Mapping[str, Any], epochs: int) -> tuple[TrialConfig, nn.Module]:
    """A trial of the product's own, in a folder that is gone afterwards, and its network in eval mode."""
    from robustray import subjects
    from robustray.training import Trainer

    trial = TrialConfig.model_validate(
        {
            "judge": {"data": "digits", "threat": {"norm": "linf", "eps": 0.12}},
            "model": {"name": "small_cnn", "width": 8},
            "defense": dict(defense),
            "batch": {"size": 100},
            "schedule": {"name": "one_cycle", "epochs": epochs, "lr": 0.1},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        Trainer(trial, Path(folder), device="cpu").run()
        found = subjects.load(folder)
        return trial, found.model.eval().requires_grad_(False)
