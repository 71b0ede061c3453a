"""Every measure of three trained networks, as a table and a figure of small multiples.

    python benchmarks/measures_figures.py [--quick] [--work FOLDER] [--figure]

One architecture is trained on handwritten digits without a defense, adversarially and by TRADES, alike in all else and with
one seed; then each registered measure is taken of each on the same 200 test images, with its defaults but for `CHEAPER`.
Nothing is chosen by them. Writes docs/findings/measures.csv and measures.png, with --quick little of both and into FOLDER; a
run that was stopped goes on from FOLDER. Trained once: differences between networks hold no spread between seeds.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from _look import LOOK as _LOOK
from _look import SYMBOLS, save
from plotly.subplots import make_subplots

from robustray.data.splits import stratified
from robustray.errors import UserError
from robustray.judging.answers import Copies
from robustray.measures.base import Ground, Measure, SplitName
from robustray.measures.taking import filed
from robustray.registry import parts
from robustray.subjects.trial import selected
from robustray.training import Trainer
from robustray.trial import TrialConfig

DOCS = Path(__file__).parents[1] / "docs" / "findings"
DEFENSES: Mapping[str, Any] = {
    "natural": "natural",
    "adversarial": "adversarial",
    "TRADES": {"name": "trades", "beta": 6},
}
SPLIT: SplitName = "test"
BASE: Mapping[str, Any] = {
    "judge": {
        "data": {"name": "digits", "validation": 400},
        "threat": {"norm": "linf", "eps": 0.12},
        "cheap": {"name": "pgd", "steps": 5},
    },
    "batch": {"size": 100},
    "model": {"name": "small_cnn", "width": 8},
    "averaging": {"name": "ema", "decay": 0.99},
}
CHEAPER: Mapping[str, Any] = {"landscape": {"directions": 3, "points": 11}}
"""In place of defaults of which most of the time would go into one plot."""
IMAGES = 200
_COLUMNS, _ROW = 3, 210


def trained(defense: Any, folder: Path, epochs: int) -> Path:
    """The folder of a trained network; goes on where it was."""
    schedule = {"name": "one_cycle", "epochs": epochs, "lr": 0.1}
    checks = {"select": "last", "validate_every": epochs}
    config = TrialConfig.loose({**BASE, "defense": defense, "schedule": schedule, "checkpoints": checks})
    folder.parent.mkdir(parents=True, exist_ok=True)
    Trainer(config.without_ignored(), folder, device="cpu", threads=1).run(lambda report: None)
    return folder


def ground(folder: Path, images: int) -> tuple[Ground, str]:
    """Test images, stratified by class, and the network of a folder, with the hash of its weights."""
    found = selected(folder)
    judge = found.judge
    assert judge is not None
    labels = judge.data.load(SPLIT).labels
    rows = stratified(labels, images, "judge test")[0]
    model = Copies(found.model).eval().requires_grad_(False)
    here = Ground(
        model, judge.data, SPLIT, rows, judge.threat, judge.data.classes, torch.device("cpu"), spec=str(folder)
    )
    return here, found.weights


def table(work: Path, *, epochs: int, images: int, cheap: bool) -> pd.DataFrame:
    """A row for each measure and network: value, low, high, interval, unit, images."""
    rows = []
    for defense, how in DEFENSES.items():
        here, weights = ground(trained(how, work / defense, epochs), images)
        for name, cls in parts("measure").items():
            if any(field.is_required() for field in cls.model_fields.values()):
                continue
            options = getattr(cls, "cheap", {}) if cheap else CHEAPER.get(name, {})
            measure = cls.model_validate({"name": name, **options})
            assert isinstance(measure, Measure)
            try:
                said = filed(measure, here, work / defense / "measures", name=defense, weights=weights).said
            except UserError as error:  # it builds on what these networks have not: a judgement, say
                print(f"{name:18} {defense:12} left out: {error}", flush=True)
                continue
            kept = {key: said[key] for key in ("value", "low", "high", "interval", "unit", "images")}
            rows.append({"measure": name, "network": defense, **kept})
            print(f"{name:18} {defense:12} {said['value']}", flush=True)
    return pd.DataFrame(rows)


def figure(found: pd.DataFrame) -> go.Figure:
    """A small plot for each measure that tells the networks apart, with its 95 % intervals where it has some."""
    every = [str(name) for name in found["measure"].unique()]
    names = [name for name in every if found.loc[found["measure"] == name, "value"].nunique() > 1]
    height = math.ceil(len(names) / _COLUMNS)
    titles = [name.replace("_", " ") + (", %" if _percent(found, name) else "") for name in names]
    drawn = make_subplots(rows=height, cols=_COLUMNS, subplot_titles=titles, vertical_spacing=0.3 / height)
    for at, name in enumerate(names):
        rows = found[found["measure"] == name]
        scale = 100.0 if _percent(found, name) else 1.0
        value, low, high = (scale * rows[column].astype(float).to_numpy() for column in ("value", "low", "high"))
        drawn.add_trace(
            go.Scatter(
                x=rows["network"],
                y=value,
                mode="markers",
                marker={
                    "size": 9,
                    "color": list(_LOOK.categories[: len(rows)]),
                    "symbol": list(SYMBOLS[: len(rows)]),
                },
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": np.nan_to_num(high - value),
                    "arrayminus": np.nan_to_num(value - low),
                    "color": _LOOK.muted,
                    "thickness": 1.2,
                    "width": 4,
                },
                showlegend=False,
            ),
            row=at // _COLUMNS + 1,
            col=at % _COLUMNS + 1,
        )
    drawn.update_annotations(font={"size": 12})
    drawn.update_layout(margin={"l": 50, "r": 20, "t": 40, "b": 40}, height=height * _ROW)
    return drawn.update_yaxes(nticks=5).update_xaxes(range=[-0.5, len(DEFENSES) - 0.5])


def _percent(found: pd.DataFrame, name: str) -> bool:
    return bool((found.loc[found["measure"] == name, "unit"] == "fraction").all())


def main(argv: Sequence[str] | None = None) -> int:
    """Trains, measures, draws."""
    about, _, _ = (__doc__ or "").partition("\n")
    flags = argparse.ArgumentParser(description=about)
    flags.add_argument("--quick", action="store_true", help="little training, few images, cheap options")
    flags.add_argument("--work", type=Path, help="where networks and measurements lie")
    flags.add_argument(
        "--figure", action="store_true", help="measure nothing: draw the figure of docs/findings/measures.csv"
    )
    asked = flags.parse_args(argv)
    if asked.figure:
        drawn = figure(pd.read_csv(DOCS / "measures.csv"))
        save(drawn, DOCS / "measures.png", 780, drawn.layout.height)
        return 0
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as spare:
        work = asked.work or Path(spare)
        found = table(work, epochs=2 if asked.quick else 20, images=60 if asked.quick else IMAGES, cheap=asked.quick)
        target = work if asked.quick else DOCS
        found.to_csv(target / "measures.csv", index=False, float_format="%.6g")
        drawn = figure(found)
        save(drawn, target / "measures.png", 780, drawn.layout.height)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
