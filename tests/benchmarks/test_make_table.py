"""Tables are made of whole trainings: what a row says is what the trainer says, and a table that was cut short goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from _curves import RUNGS, curve, rungs
from _tables import Made, identity, settings, trainings
from make_table import main

from robustray.errors import UserError
from robustray.training.trainer import Trainer
from sweeps.search.table_files import read_rows
from sweeps.search.tables import Table
from sweeps.space import Sweep

SPACE: dict[str, Any] = {
    "name": "tiny",
    "judge": {
        "data": {"name": "digits", "validation": 100},
        "threat": {"norm": "linf", "eps": 0.1},
        "cheap": {"name": "pgd", "steps": 1},
        "images": {"test": 50},
    },
    "trial": {
        "batch": {"size": 300},
        "model": {"name": "small_cnn", "width": 1},
        "attack": {"steps": 1},
        "defense": {"name": "trades", "beta": {"loguniform": [1, 10]}},
        "schedule": {"name": "constant", "epochs": 3, "lr": {"choice": [0.05, 1e30]}},
        "checkpoints": {"validate_every": 1},
    },
    "search": {"trials": 4, "seed": 2},
}


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(SPACE))
    return path


def make(space: Path, *more: str) -> None:
    main([str(space), "--parts", str(space.parent / "parts"), "--seeds", "2", *more])


def test_a_table_that_was_cut_short_goes_on(space: Path) -> None:
    make(space, "--limit", "3")
    table = Table.read(space.with_suffix(".parquet"))
    assert [setting.number for setting in table.settings] == [0]  # the second has one of its seeds
    parts = sorted(path.name for path in (space.parent / "parts" / "tiny").glob("*.jsonl"))
    assert parts == ["00000-0.jsonl", "00000-1.jsonl", "00001-0.jsonl"]
    for name in parts[:2]:  # what was joined is not made anew without its parts
        (space.parent / "parts" / "tiny" / name).unlink()
    make(space)
    whole = Table.read(space.with_suffix(".parquet"))
    assert [setting.number for setting in whole.settings] == [0, 1, 2, 3]
    assert whole.rows()[: len(table.rows())] == table.rows()
    assert whole.epochs == (1, 2, 3)
    for setting, outcomes, seconds in zip(whole.settings, whole.outcomes, whole.seconds, strict=True):
        ruinous = setting.params["schedule.lr"] == 1e30
        assert set(outcomes) == ({"diverged"} if ruinous else {"complete"})
        assert ruinous or (seconds[:, 0] > 0).all()
    assert {setting.params["schedule.lr"] for setting in whole.settings} == {0.05, 1e30}
    rows, about = read_rows(whole.path)
    assert about["settings"] == 4
    assert all(row["seconds"] == row["cpu_seconds"] for row in rows if row["epoch"])  # of what no load changes
    assert "load" in rows[0]
    make(space, "--slice", "2/2", "--out", str(space.parent / "none.parquet"), "--join")


def test_a_row_is_what_the_trainer_says(space: Path, tmp_path: Path) -> None:
    """Averaged weights on validation: what metrics.csv of the same training has, bit for bit."""
    sweep = Sweep.from_yaml(space)
    config = sweep.trial_config({"defense.beta": 2.0, "schedule.lr": 0.05})
    trainer = Trainer(config, tmp_path / "trial", device="cpu", threads=1)
    trainer.run()
    rows = curve(config, (1, 3), "cpu")
    assert [row["epoch"] for row in rows] == [1, 3]
    for row in rows:
        for metric in ("clean_accuracy", "robust_accuracy"):
            said = trainer.history[row["epoch"] - 1][metric]
            assert row[f"validation_averaged_{metric}"] == pytest.approx(said, abs=1e-6)


def test_settings_are_a_prefix_of_more_settings_and_each_is_there_once() -> None:
    sweep = Sweep.model_validate(SPACE)
    many = settings(sweep, 20)
    assert settings(sweep, 7) == many[:7]
    assert len({json.dumps(params) for params in many}) == 20
    own = [list(trainings(sweep, 7, 3, (piece, 3))) for piece in (1, 2, 3)]
    assert sorted((each.setting, each.seed) for piece in own for each in piece) == [
        (i, k) for i in range(7) for k in range(3)
    ]
    assert [each.seed for each in own[0][:6]] == [0, 1, 2] * 2
    few = Sweep.model_validate({**SPACE, "trial": {**SPACE["trial"], "defense": {"name": "trades", "beta": 2.0}}})
    assert sorted(params["schedule.lr"] for params in settings(few, 7)) == [0.05, 1e30]  # type: ignore[type-var]


def test_rungs() -> None:
    assert rungs(27) == RUNGS
    assert rungs(1) == (1,)
    for epochs in range(1, 60):
        found = rungs(epochs)
        assert found[-1] == epochs
        assert list(found) == sorted(set(found))


def test_parts_of_another_space_are_refused(space: Path) -> None:
    Made(space.parent / "parts", space.with_suffix(".parquet"), {"space": "a"})
    with pytest.raises(UserError, match="was made of another space"):
        Made(space.parent / "parts", space.with_suffix(".parquet"), {"space": "b"})
    (space.parent / "parts" / "about.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        Made(space.parent / "parts", space.with_suffix(".parquet"), {"space": "a"})


def test_where_images_lie_is_no_part_of_a_space() -> None:
    def named(**data: Any) -> str:
        judge = {**SPACE["judge"], "data": {"name": "npz", "train": "a.npz", "test": "b.npz", **data}}
        return identity(Sweep.model_validate({**SPACE, "judge": judge}))

    assert named() == named(train="elsewhere.npz")
    assert len({named(), named(validation=50), named(images=500)}) == 3


def test_a_mistake_is_one_line(space: Path) -> None:
    with pytest.raises(SystemExit, match="no setting was trained with all 2 seeds yet"):
        make(space, "--join")
    with pytest.raises(SystemExit, match="betta"):
        make(space, "--set", "trial.defense.betta=1")


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "benchmarks" / "tables").glob("*.parquet")), ids=lambda path: path.stem
)
def test_tables_that_are_shipped_are_whole(path: Path) -> None:
    assert path.stat().st_size < 5_000_000
    table = Table.read(path)
    sweep = Sweep.from_yaml(path.with_suffix(".yaml"))
    assert table.about["space"] == identity(sweep)  # they can be gone on with
    drawn = settings(sweep, max(setting.number for setting in table.settings) + 1)
    for setting in table.settings:
        assert drawn[setting.number] == pytest.approx(setting.params)
    assert len(table.seeds) == 3
    assert all(None not in outcomes for outcomes in table.outcomes)
    end = table.values(split="test")[:, :, -1]
    assert not np.isnan(end[table.complete]).any()
