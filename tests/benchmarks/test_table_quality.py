"""What is said of tables of learning curves, in closed form; and what published runs become."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fastat_table
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from table_quality import beyond_noise, lines, members, tau

from sweeps.search.tables import Table


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=12))
def test_members_are_those_that_nothing_dominates(points: list[tuple[int, int]]) -> None:
    means = np.array(points) / 10
    found = members(means)
    for place, (clean, robust) in enumerate(points):
        dominated = any(a >= clean and b >= robust and (a, b) != (clean, robust) for a, b in points)
        assert (place in found) != dominated
    assert [points[place][0] for place in found] == sorted((points[place][0] for place in found), reverse=True)


def test_beyond_noise_counts_from_the_last_one_counted() -> None:
    means = np.array([[0.9, 0.1], [0.89, 0.15], [0.88, 0.21], [0.5, 0.22]])
    assert beyond_noise(means, [0, 1, 2, 3], np.array([0.1, 0.1])) == 3  # 0.15 is near 0.1, 0.21 is not
    assert beyond_noise(means, [0, 1, 2, 3], np.array([1.0, 1.0])) == 1
    assert beyond_noise(means, [], np.array([1.0, 1.0])) == 0


def test_tau_is_to_the_other_seeds() -> None:
    order = np.arange(6.0)
    same = np.repeat(order[:, None, None], 3, axis=1)
    assert tau(same, same) == pytest.approx((1.0,))
    assert tau(-same, same) == pytest.approx((-1.0,))
    mixed = np.stack([order, order, -3 * order], axis=1)[:, :, None]  # others' means: falling, falling, rising
    assert tau(mixed, mixed) == pytest.approx((-1.0,))


def run(named: str, seed: int, **more: Any) -> dict[str, Any]:
    """A made-up run, as the published ones are written."""
    curve = [round(0.3 + 0.004 * epoch, 3) for epoch in range(100)]
    end = {"clean": 80.0 + seed, "autoattack": 45.5, "seconds": 200.0}
    curves = {"val_clean": curve, "val_pgd": curve[::-1], "avg_val_clean": curve, "avg_val_pgd": curve}
    return {"data": "cifar10", "seed": seed, **end, **curves, "method": named, **more}


def test_published_runs_become_a_table(tmp_path: Path) -> None:
    half = [0.25] * 49 + [0.75]
    free = {"val_clean": half, "val_pgd": half, "avg_val_clean": half, "avg_val_pgd": half}
    plain: dict[str, Any] = {"avg_val_clean": [], "avg_val_pgd": []}
    every = [run("slow", 0), run("slow", 1), run("free", 0, **free), run("free", 1, **free), run("plain", 0, **plain)]
    path = tmp_path / "runs.jsonl"
    path.write_text("".join(f"{json.dumps(each)}\n" for each in every))
    fastat_table.main([str(path), "--out", str(tmp_path / "made")])
    table = Table.read(tmp_path / "made" / "fastat_cifar10.parquet")
    assert [setting.params["defense"] for setting in table.settings] == ["free", "plain", "slow"]
    assert table.epochs == tuple(range(2, 101, 2))
    assert table.seconds[2, 0, [0, -1]].tolist() == [4.0, 200.0]
    raw, averaged = table.values(weights="raw"), table.values(weights="averaged")
    assert raw[2, 0, 0].tolist() == [0.304, 0.692]  # after the second epoch of a hundred
    assert raw[0, 0, [0, -1], 0].tolist() == [0.25, 0.75]
    assert np.isnan(averaged[1]).all()
    end = table.values(split="test", weights="averaged")[:, :, -1]
    assert end[2].tolist() == [[0.8, 0.455], [0.81, 0.455]]
    assert np.isnan(end[1]).all()
    assert table.values(split="test", weights="raw")[1, 0, -1].tolist() == [0.8, 0.455]
    assert np.isnan(table.values(split="test", weights="averaged")[:, :, :-1]).all()
    assert "3 settings, 2 seeds" in lines(table)[2]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"val_clean": [0.5] * 7}, "curves must be lists of 100 or 50 epochs"),
        ({"val_pgd": [0.5] * 7}, "curves must be of one length"),
        ({"autoattack": "none"}, "must be numbers"),
        ({"clean": 101.0}, "must be a fraction from 0 to 1"),
        ({"method": None}, "has no method"),
    ],
)
def test_a_mistake_in_published_runs_is_one_line(tmp_path: Path, broken: dict[str, Any], message: str) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_text(json.dumps(run("slow", 0)) + "\n" + json.dumps(run("fast", 0, **broken)) + "\n")
    with pytest.raises(SystemExit, match=message):
        fastat_table.main([str(path), "--out", str(tmp_path)])
