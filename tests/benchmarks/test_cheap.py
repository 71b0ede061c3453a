"""The benchmark of cheap attacks without its networks' training: how ranks are compared, and what a table tells."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import _bench
import cheap
import pytest
import torch
from _bench import Bench

from robustray.attacks import losses
from robustray.testing.trained import network


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(_bench, "RESULTS", tmp_path)
    return Bench("cheap", quick=True)


def test_tau_counts_pairs() -> None:
    """Of six pairs one is in the wrong order: (5 - 1) / 6."""
    assert cheap.tau([0.9, 0.8, 0.6, 0.7], [0.5, 0.4, 0.3, 0.2]) == pytest.approx(4 / 6)
    assert cheap.tau([3, 2, 1], [1, 2, 3]) == -1


def test_a_table_is_told_apart_by_data(bench: Bench, tmp_path: Path) -> None:
    runs = [
        {"data": data, "autoattack": exact, "pgd10": pgd, "pgd50": (exact or 0) + 2, "cr": exact}
        for data, exact, pgd in [("b", 40, 50), ("a", 30, 50), ("a", 20, 40), ("b", 30, 60), ("a", None, 0)]
    ]
    path = tmp_path / "runs.jsonl"
    path.write_text("\n".join(map(json.dumps, runs)))
    cheap.table(bench, path)
    with bench.path.open(newline="") as file:
        rows = {(row["case"], row["measure"].split()[2]): row for row in csv.DictReader(file)}
    assert float(rows["table, a", "pgd10"]["value"]) == 1
    assert float(rows["table, b", "pgd10"]["value"]) == -1
    assert (rows["table, a", "pgd50"]["overstates"], rows["table, a", "pgd50"]["models"]) == ("2.0", "2")


def test_every_loss_attacks() -> None:
    """What is left is a share of the images that are right, and `pm` is the margin of probabilities."""
    model = network(4, 3, width=4).eval().requires_grad_(False)
    x = torch.rand(20, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    y = model(x).argmax(1)
    left = {loss: cheap.left(model, x, y, loss) for loss in cheap.LOSSES}
    assert all(0 <= share <= 1 for share in left.values())
    assert cheap.left(model, x, (y + 1) % 3, "pm") == 0
    logits = model(x)
    p = logits.softmax(1)
    wrong = p.scatter(1, y[:, None], -1.0).amax(1)
    assert torch.allclose(cheap.LOSSES["pm"](logits, y), wrong - p.gather(1, y[:, None])[:, 0])
    assert torch.equal(cheap.LOSSES["margin"](logits, y), losses.margin(logits, y))
