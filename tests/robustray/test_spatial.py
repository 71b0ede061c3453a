"""Accuracy under turns and moves, and fooling rates, against closed forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustray.attacks.pgd import Pgd
from robustray.attacks.threats import Threat
from robustray.data.device import DeviceImages
from robustray.data.images import Images
from robustray.data.moves import Move, MoveGrid, Moves
from robustray.judge import Judge
from robustray.measures import accuracy, spatial
from robustray.registry import parts
from robustray.testing.made import Passes
from robustray.training.selection import Selection
from robustray.training.trainer import Trainer
from tests.robustray.made import JUDGE, trial

N, SIDE, CLASSES = 60, 8, 4
CPU = torch.device("cpu")


def pictures(count: int = N, side: int = SIDE) -> DeviceImages:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (count, side, side, 1), dtype=np.uint8)
    return DeviceImages(Images(pixels, draw.integers(0, CLASSES, count)), CPU)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, CLASSES))


class Rings(nn.Module):
    """Sees distances from the centre alone: no quarter turn changes its answer."""

    def __init__(self) -> None:
        super().__init__()
        self.head = network(3)

    def forward(self, x: Tensor) -> Tensor:
        turns = [torch.rot90(x, k, (2, 3)) for k in range(4)]
        logits: Tensor = self.head(torch.stack(turns).mean(0))
        return logits


def measured(model: nn.Module, moves: Moves, images: DeviceImages | None = None) -> dict[str, float]:
    images = pictures() if images is None else images
    return spatial.spatial(model, images, np.arange(len(images)), moves)


def clean(model: nn.Module) -> float:
    x, y = pictures().batch(slice(None))
    with torch.no_grad():
        return float((model(x).argmax(1) == y).float().mean())


class Still(Moves):
    """Moves that go nowhere, which options refuse."""

    def drawn(self, rows: np.ndarray, draw: int) -> Move:
        return Move(np.zeros(len(rows)), np.zeros((len(rows), 2)))


def test_no_rotation_is_clean_accuracy_and_fools_nobody() -> None:
    found = measured(network(), Still(draws=3))
    assert found["spatial_accuracy"] == pytest.approx(clean(network()), abs=1e-6)
    assert found["spatial_worst_accuracy"] == found["spatial_accuracy"]
    assert found["spatial_fooling_rate"] == 0


@pytest.mark.parametrize("quarters", range(-3, 4))
def test_a_quarter_turn_is_rot90(quarters: int) -> None:
    """Counter-clockwise, of every image by itself, also through the disc; four of them are none."""
    x, _ = pictures().batch(slice(None))
    move = Move(np.full(N, 90.0 * quarters), np.zeros((N, 2)))
    assert torch.allclose(Moves().seen(x, move), torch.rot90(x, quarters, (2, 3)), atol=1e-5)
    disc = Moves(disc=True)
    assert torch.allclose(disc.seen(x, move), torch.rot90(disc.seen(x), quarters, (2, 3)), atol=1e-5)


def test_a_move_by_whole_pixels_is_a_shift_with_black_behind_it() -> None:
    x, _ = pictures().batch(slice(None))
    moved = Moves().seen(x, Move(np.zeros(N), np.tile([2.0, 1.0], (N, 1))))
    assert torch.allclose(moved[:, :, 1:, 2:], x[:, :, :-1, :-2], atol=1e-5)
    assert float(moved[:, :, 0].max()) < 1e-5
    assert float(moved[:, :, :, :2].max()) < 1e-5


@pytest.mark.parametrize("disc", [False, True])
def test_a_model_that_turns_do_not_change_is_not_fooled_by_quarter_turns(disc: bool) -> None:
    moves = Moves(rotation=180, translation=0, draws=1, disc=disc, grid=MoveGrid(rotations=5, translations=1))
    found = measured(Rings(), moves)
    x, y = pictures().batch(slice(None))
    with torch.no_grad():
        as_it_is = (Rings()(moves.seen(x)).argmax(1) == y).float().mean()
    assert found["spatial_grid_accuracy"] == pytest.approx(float(as_it_is), abs=1e-6)
    assert measured(network(), moves)["spatial_grid_accuracy"] < clean(network())


def test_equivariant_networks_are_not_fooled_by_quarter_turns() -> None:
    torch.manual_seed(0)
    net = parts("model")["p4_resnet18"].model_validate({"width": 8, "group": "p4"})
    model = net.network(1, SIDE, SIDE, CLASSES).double().eval()  # type: ignore[attr-defined]
    x, _ = pictures(20).batch(slice(None))
    turned = Moves().seen(x.double(), Move(np.full(20, 90.0), np.zeros((20, 2))))
    with torch.no_grad():
        assert torch.equal(accuracy.answers(model(x.double())), accuracy.answers(model(turned)))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 100),
    rotation=st.floats(1, 180),
    translation=st.floats(0, 4),
    draws=st.integers(1, 4),
    disc=st.booleans(),
)
def test_bounds(seed: int, rotation: float, translation: float, draws: int, disc: bool) -> None:
    """Worst <= mean, worst <= clean, grid <= clean; |clean - spatial| <= fooling rate <= both errors together."""
    moves = Moves(rotation=rotation, translation=translation, draws=draws, disc=disc, grid=MoveGrid(rotations=2))
    found = measured(network(seed), moves)
    x, y = pictures().batch(slice(None))
    with torch.no_grad():
        as_they_are = float((network(seed)(moves.seen(x)).argmax(1) == y).float().mean())
    slack = 1e-6
    assert found["spatial_worst_accuracy"] <= min(found["spatial_accuracy"], as_they_are) + slack
    assert found["spatial_grid_accuracy"] <= as_they_are + slack
    assert abs(as_they_are - found["spatial_accuracy"]) <= found["spatial_fooling_rate"] + slack
    assert found["spatial_fooling_rate"] <= (1 - as_they_are) + (1 - found["spatial_accuracy"]) + slack


def test_draws_are_of_the_row_and_the_number_of_the_draw_alone() -> None:
    moves, rows = Moves(rotation=60, translation=2, draws=3), np.array([7, 3, 50])
    whole = moves.drawn(np.arange(100), 1)
    some = moves.drawn(rows, 1)
    assert np.array_equal(some.degrees, whole.degrees[rows])
    assert np.array_equal(some.shift, whole.shift[rows])
    assert not np.array_equal(moves.drawn(rows, 2).degrees, some.degrees)
    half = Moves(rotation=30, translation=1).drawn(rows, 1)
    assert np.allclose(2 * half.degrees, some.degrees)
    assert np.allclose(2 * half.shift, some.shift)
    assert np.abs(whole.degrees).max() <= 60
    assert whole.degrees.min() < -40 < 40 < whole.degrees.max()


def test_batches_and_calls_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    moves, model = Moves(grid=MoveGrid()), network()
    whole = measured(model, moves)
    assert measured(model, moves) == whole
    monkeypatch.setattr(spatial, "BATCH", 7)
    assert measured(model, moves) == pytest.approx(whole, abs=1e-12)


@pytest.mark.parametrize("grid", [None, MoveGrid(rotations=3, translations=2), MoveGrid(rotations=1)])
def test_passes_are_as_declared(grid: MoveGrid | None) -> None:
    moves, model = Moves(draws=4, grid=grid), network()
    passes = Passes(model)
    measured(model, moves)
    assert passes.images == N * moves.passes
    assert moves.passes == 1 + 4 + (0 if grid is None else grid.rotations * grid.translations**2)


def test_no_reach_is_one_point() -> None:
    assert list(Moves(rotation=0, grid=MoveGrid(translations=1)).points()) == [(0.0, 0.0, 0.0)]
    assert len(list(Moves(translation=0, grid=MoveGrid(rotations=5)).points())) == 5


class Broken(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.full((len(x), CLASSES), torch.nan)


def test_a_nan_is_never_right_and_always_changed() -> None:
    assert measured(Broken(), Moves(draws=2)) == {
        "spatial_accuracy": 0,
        "spatial_worst_accuracy": 0,
        "spatial_fooling_rate": 1,
    }


def test_the_fooling_rate_of_an_attack() -> None:
    """Of predictions, not of labels: what was wrong and stays wrong in another way counts; within the same bounds."""
    model, attack = network(), Pgd(loss="margin", steps=3).bind(Threat(norm="linf", eps=0.1))
    found = accuracy.measured(model, pictures(), attack)
    assert found.clean - found.robust <= found.fooled <= 1
    still = accuracy.measured(model, pictures(), Pgd(steps=1).bind(Threat(norm="linf", eps=1e-7)))
    assert still.fooled == 0
    assert still.robust == still.clean


@given(st.lists(st.tuples(st.integers(-1, 3), st.integers(-1, 3), st.integers(0, 3)), min_size=1))
def test_the_fooling_rate_is_symmetric_and_below_both_errors(rows: list[tuple[int, int, int]]) -> None:
    """Between two sets of answers, -1 for a NaN; 0 where all are the same numbers."""
    a, b, y = torch.tensor(rows).T
    rate = accuracy.changed(a, b).float().mean()
    assert rate == accuracy.changed(b, a).float().mean()
    assert float(rate) <= float((a != y).float().mean() + (b != y).float().mean()) + 1e-6
    assert accuracy.changed(y, y).sum() == 0


# In a training.


def judge(**more: object) -> Judge:
    return Judge.model_validate(JUDGE | {"spatial": {"rotation": 30, "draws": 2, **more}})


@pytest.mark.parametrize("select", ["last", "best_robust"])
def test_a_training_measures_the_checkpoint_that_counts_once(select: str, tmp_path: Path) -> None:
    config = trial(judge=judge(grid={"rotations": 3, "translations": 1}), checkpoints={"select": select})
    trainer = Trainer(config, tmp_path, device="cpu", threads=1)
    report = trainer.run()
    weights = trainer.selection.weights(trainer.average.model, trainer.completed)
    trainer.average.model.load_state_dict(weights)
    assert config.judge.spatial is not None
    rows = config.judge.lists()[1]
    with trainer.at_work():
        found = spatial.spatial(trainer.average.model, trainer.selection.images, rows, config.judge.spatial)
    assert {name: report[name] for name in found} == found
    assert [sorted(found.keys() & row.keys()) for row in trainer.history] == [[], sorted(found)]
    assert 0 <= report["adversarial_fooling_rate"] <= 1


def test_it_costs_what_it_says(tmp_path: Path) -> None:
    passes = []
    for number, asked in enumerate((Judge.model_validate(JUDGE), judge())):
        trainer = Trainer(trial(judge=asked), tmp_path / str(number), device="cpu", threads=1)
        passes.append(trainer.run()["cost_passes"])
        if asked.spatial is not None:
            assert isinstance(trainer.selection, Selection)
            assert passes[1] - passes[0] == len(trainer.selection.images) * asked.spatial.passes


def test_moves_that_go_nowhere_are_refused() -> None:
    with pytest.raises(ValueError, match="needs a rotation or a translation"):
        Moves(rotation=0, translation=0)
