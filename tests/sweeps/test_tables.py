"""Tables of learning curves: what was written is read, and whatever is wrong with a file is told in a line."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robustray.errors import UserError
from sweeps.search.table_files import write_rows
from sweeps.search.tables import Table
from sweeps.space import Sweep

SPACE: dict[str, Any] = {
    "name": "tiny",
    "judge": {"data": "digits", "threat": {"norm": "linf", "eps": 0.1}},
    "trial": {
        "defense": {"choice": [{"name": "trades", "beta": {"loguniform": [1, 10]}}, {"name": "natural"}]},
        "attack": {"steps": {"int": [1, 10]}},
    },
}
FRACTIONS = st.integers(0, 400).map(lambda right: right / 400)
PARAMS = st.builds(
    lambda beta, steps: (
        {"defense": "natural", "attack.steps": steps}
        if beta is None
        else {"defense": "trades", "defense.trades.beta": beta, "attack.steps": steps}
    ),
    st.none() | st.floats(1, 10),
    st.integers(1, 10),
)


@pytest.fixture(scope="module")
def space() -> Sweep:
    return Sweep.model_validate(SPACE)


def row(setting: Any = 0, seed: Any = 0, epoch: Any = 2, **more: Any) -> dict[str, Any]:
    """One that is right."""
    params = {"defense": "trades", "defense.trades.beta": 2.0 + setting, "attack.steps": 5}
    measured = {"validation_raw_clean_accuracy": 0.5, "validation_raw_robust_accuracy": 0.25}
    given = {
        "setting": setting,
        "seed": seed,
        "epoch": epoch,
        "epochs": 2,
        "seconds": float(epoch),
        "outcome": "complete",
    }
    found = {**given, **params, **measured, **more}
    return {key: value for key, value in found.items() if value is not None}


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows of whole and of broken trainings."""
    rows: list[dict[str, Any]] = []
    every = draw(st.lists(PARAMS, min_size=1, max_size=4, unique_by=lambda params: json.dumps(params, sort_keys=True)))
    for setting, params in enumerate(every):
        for seed in draw(st.sets(st.integers(0, 5), min_size=1, max_size=2)):
            broken = draw(st.booleans())
            common = {"setting": 7 * setting, "seed": seed, "epochs": 9, **params}
            common["outcome"] = "diverged" if broken else "complete"
            for epoch in (1, 3, 9)[: draw(st.integers(0, 2)) if broken else 3]:
                names = [
                    f"{a}_{b}_accuracy" for a in ("validation_averaged", "test_averaged") for b in ("clean", "robust")
                ]
                measured = {name: draw(FRACTIONS) for name in names}
                rows.append({**common, "epoch": epoch, "seconds": 0.5 * epoch, **measured})
            if broken:
                rows.append({**common, "epoch": 5, "seconds": 2.75})
    if not any("test_averaged_clean_accuracy" in row for row in rows):
        rows.append({**rows[0], "epoch": 1, "seconds": 0.5, "test_averaged_clean_accuracy": draw(FRACTIONS)})
    return rows


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=tables(), shuffled=st.randoms(use_true_random=False), ending=st.sampled_from(["parquet", "jsonl"]))
def test_what_was_written_is_read(
    tmp_path: Path, space: Sweep, rows: list[dict[str, Any]], shuffled: Any, ending: str
) -> None:
    path = tmp_path / f"table.{ending}"
    in_order = sorted(rows, key=lambda row: (row["setting"], row["seed"], row["epoch"]))
    shuffled.shuffle(rows)
    write_rows(path, rows, {"machine": "this one"})
    table = Table.read(path, space)
    assert table.rows() == in_order
    assert table.about == {"machine": "this one"}
    again = tmp_path / f"again.{ending}"
    table.write(again)
    assert Table.read(again, space).rows() == in_order


def test_axes(tmp_path: Path, space: Sweep) -> None:
    path = tmp_path / "table.jsonl"
    rows = [row(3, 1, 1), row(3, 1, 2), row(0, 0, 2, test_raw_clean_accuracy=0.125)]
    rows += [row(3, 0, 1, outcome="diverged", validation_raw_clean_accuracy=None, validation_raw_robust_accuracy=None)]
    write_rows(path, rows, {})
    table = Table.read(path, space)
    assert [setting.number for setting in table.settings] == [0, 3]
    assert (table.seeds, table.epochs) == ((0, 1), (1, 2))
    np.testing.assert_array_equal(table.seconds, [[[math.nan, 2], [math.nan] * 2], [[math.nan] * 2, [1, 2]]])
    np.testing.assert_array_equal(table.complete, [[True, False], [False, True]])
    assert table.outcomes == (("complete", None), ("diverged", "complete"))
    assert table.broke == {(1, 0): (1, 1.0)}
    assert table.values(weights="raw").shape == (2, 2, 2, 2)
    assert table.values(["clean_accuracy"], split="test", weights="raw")[0, 0, 1, 0] == 0.125
    assert table.place(row(3)) is None
    assert table.place({"defense": "trades", "defense.trades.beta": 5.0, "attack.steps": 5}) == 1
    with pytest.raises(UserError, match="has no column test_raw_robust_accuracy"):
        table.values(split="test", weights="raw")


WRONG: dict[str, tuple[Callable[[], list[dict[str, Any]]], str]] = {
    "nothing": (list, "has no rows"),
    "no column": (lambda: [row(seconds=None)], "has no column seconds"),
    "no accuracies": (
        lambda: [row(validation_raw_clean_accuracy=None, validation_raw_robust_accuracy=None)],
        "has no column of accuracies",
    ),
    "an unknown option": (
        lambda: [row(**{"defense.trades.betta": 1.0})],
        "column defense.trades.betta: is no option of the space tiny; did you mean 'defense.trades.beta'",
    ),
    "percent": (
        lambda: [row(0), row(1, validation_raw_clean_accuracy=97.5)],
        "row 2: validation_raw_clean_accuracy must be",
    ),
    "half an epoch": (lambda: [row(epoch=1.5)], "row 1: epoch must be a whole number from 1, not 1.5"),
    "true": (lambda: [row(seed=True)], "row 1: seed must be a whole number from 0"),
    "beyond the end": (lambda: [row(epoch=3)], "row 1: epoch 3 is beyond epochs, 2"),
    "seconds": (lambda: [row(seconds=-1.0)], "row 1: seconds must be a number from 0"),
    "a number without an end": (lambda: [row(seconds=10**400)], "row 1: seconds must be a number from 0"),
    "outcome": (lambda: [row(outcome=5)], "row 1: outcome must be a word"),
    "an empty cell": (lambda: [row(), row(1, outcome=None)], "row 2: has no outcome"),
    "twice": (lambda: [row(), row(1), row()], "row 3: setting 0, seed 0, epoch 2 stands in row 1 already"),
    "another option": (
        lambda: [row(), row(seed=1, **{"attack.steps": 6})],
        "row 2: attack.steps of setting 0 is 6, elsewhere 5",
    ),
    "another length": (lambda: [row(), row(seed=1, epochs=3)], "row 2: epochs of setting 0 is 3, elsewhere 2"),
    "the same": (lambda: [row(), row(1, **{"defense.trades.beta": 2.0})], "setting 1 has the options of setting 0"),
    "outside": (
        lambda: [row(**{"attack.steps": 11})],
        "row 1: setting 0: attack.steps: must be a whole number from 1 to 10",
    ),
    "missing": (lambda: [row(), row(1, **{"defense.trades.beta": None})], "defense.trades.beta: is empty, but"),
    "inactive": (
        lambda: [row(defense="natural")],
        "defense.trades.beta: is 2, but the options above leave it inactive",
    ),
    "backwards": (lambda: [row(epoch=1, seconds=3.0), row()], "takes fewer seconds until epoch 2 than until epoch 1"),
    "not whole": (lambda: [row(epoch=1)], "setting 0, seed 0 is complete, but epoch 2 was not measured"),
    "a fraction of one": (lambda: [row(epoch=1.0)], "epoch must be a whole number from 1, not 1 as a fraction; cast"),
    "whole and not": (
        lambda: [row(outcome="diverged")],
        "setting 0, seed 0 is diverged, but its last epoch, 2, was measured",
    ),
    "two outcomes": (lambda: [row(epoch=1), row(outcome="diverged")], "is diverged, elsewhere complete"),
    "after the end": (
        lambda: [row(epoch=1, validation_raw_clean_accuracy=None, validation_raw_robust_accuracy=None), row()],
        "goes on after epoch 1, which has no accuracies",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_one_line(tmp_path: Path, space: Sweep, case: str) -> None:
    made, message = WRONG[case]
    path = tmp_path / "table.jsonl"
    path.write_text("".join(f"{json.dumps(each)}\n" for each in made()))
    with pytest.raises(UserError) as caught:
        Table.read(path, space)
    said = str(caught.value)
    assert message in said
    assert said.startswith(str(path))
    assert "\n" not in said


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255), cut=st.booleans(), parquet=st.booleans())
def test_a_damaged_file_is_one_line_or_another_table(
    tmp_path: Path, space: Sweep, place: float, byte: int, cut: bool, parquet: bool
) -> None:
    path = tmp_path / ("table.parquet" if parquet else "table.jsonl")
    write_rows(path, [row(setting, seed) for setting in range(3) for seed in range(2)], {})
    whole = path.read_bytes()
    at = int(place * len(whole))
    path.write_bytes(whole[:at] if cut else whole[:at] + bytes([byte]) + whole[at + 1 :])
    said = ""
    try:
        Table.read(path, space)
    except UserError as error:
        said = str(error)
    assert "\n" not in said


def test_a_column_of_times_beyond_all_calendars_is_one_line(tmp_path: Path, space: Sweep) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {**{name: [value] for name, value in row().items()}, "seconds": pa.array([2**62], pa.timestamp("us"))}
    pq.write_table(pa.table(columns), tmp_path / "table.parquet")
    with pytest.raises(UserError, match=r"table.parquet: is no whole parquet file \(.*out of range"):
        Table.read(tmp_path / "table.parquet", space)


def test_a_file_that_is_not_there_and_a_space_that_is_not(tmp_path: Path, space: Sweep) -> None:
    with pytest.raises(UserError, match=r"^.*table.parquet: No such file"):
        Table.read(tmp_path / "table.parquet", space)
    write_rows(tmp_path / "table.jsonl", [row()], {})
    with pytest.raises(UserError, match=r"table.yaml"):
        Table.read(tmp_path / "table.jsonl")
    (tmp_path / "table.yaml").write_text(json.dumps(SPACE))
    assert len(Table.read(tmp_path / "table.jsonl").settings) == 1
