"""Which rows of a batch are what: labels that a model gave, images that stay clean, labels with noise; and how shares round."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from robustray import Loss, Step
from robustray.attacks import Pgd, Threat
from robustray.data import Generated, Mix, PseudoLabelled
from robustray.defenses import Adversarial, Defense, Rst
from robustray.training import Cusp, Late, MultiStep, Schedule, Stages, Trainer
from robustray.training.curricula import Moment
from robustray.training.stages import Begin
from tests.robustray.made import batch, every, generator, made, network, trial

FILE = 30
"""Images of the file, each white all over, as no digit is."""


def file(folder: Path, labels: Any) -> None:
    """The file of every kind of mix."""
    images = np.full((FILE, 8, 8, 1), 255, dtype=np.uint8)
    np.savez(folder / "generated.npz", image=images, label=labels)
    whole = {"data": images, "extrapolated_targets": labels}
    (folder / "pseudo_labelled.pickle").write_bytes(pickle.dumps(whole, protocol=4))


@pytest.fixture
def white(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file(tmp_path, np.arange(FILE) % 10)


def mixed(cls: type[Mix] = PseudoLabelled, **options: Any) -> dict[str, Any]:
    mix = {**made(cls).model_dump(), "fraction": 0.3, "epoch": 120}
    return {"size": 60, "augment": (), "mix": mix} | options


def is_white(x: Tensor) -> Tensor:
    return (x == 1).flatten(1).all(1)


def spied(monkeypatch: pytest.MonkeyPatch, cls: type[Defense]) -> list[Step]:
    """The steps that a defense's loss sees."""
    seen: list[Step] = []
    loss = cls.loss

    def spy(self: Any, step: Step, x_adv: Tensor) -> Loss:
        seen.append(step)
        return loss(self, step, x_adv)

    monkeypatch.setattr(cls, "loss", spy)
    return seen


@pytest.mark.usefixtures("white")
@every("defense")
def test_every_defense_sees_which_labels_a_model_gave(
    cls: type[Defense], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Row for row, also where a defense doubles, turns or splits its batch."""
    config = trial(batch=mixed(), defense=made(cls))
    seen = spied(monkeypatch, cls)
    Trainer(config, tmp_path / "a", device="cpu").epoch()
    assert len(seen) == 2
    for step in seen:
        assert step.pseudo is not None
        assert step.pseudo.dtype == torch.bool
        assert torch.equal(step.pseudo, is_white(step.x))
        assert step.pseudo.sum() == 18 * len(step.x) // 60
    assert not torch.equal(seen[0].pseudo, seen[1].pseudo)  # type: ignore[arg-type]


@pytest.mark.usefixtures("white")
@every("mix")
def test_only_labels_that_a_model_gave_to_images_it_found_are_told_apart(
    cls: type[Mix], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = spied(monkeypatch, Rst)
    Trainer(trial(batch=mixed(cls), defense="rst"), tmp_path / "a", device="cpu").epoch()
    for step in seen:
        assert is_white(step.x).sum() == 18
        assert (step.pseudo is not None) == cls.pseudo


@pytest.mark.usefixtures("white")
@pytest.mark.parametrize("update", ["plain", "awp", "sam", {"name": "free", "replays": 2}])
def test_flags_stay_with_their_rows_under_every_change_of_the_batch(
    update: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = mixed(label_noise=0.5, label_smoothing=0.1)
    attack = {"attack": None} if isinstance(update, dict) else {}
    seen = spied(monkeypatch, Rst)
    Trainer(trial(batch=options, defense="rst", update=update, **attack), tmp_path / "a", device="cpu").epoch()
    assert len(seen) >= 2
    for step in seen:
        assert step.pseudo is not None
        assert torch.equal(step.pseudo, is_white(step.x))


@pytest.mark.usefixtures("white")
@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_rst_weighs_the_files_images(weight: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The loss of a step in closed form, by the images themselves and not by the flags."""
    found: list[tuple[Tensor, Tensor]] = []
    loss = Rst.loss

    def spy(self: Rst, step: Step, x_adv: Tensor) -> Loss:
        one = loss(self, step, x_adv)
        weights = torch.where(is_white(step.x), weight, 1.0)
        terms = [F.cross_entropy(step.model(images), step.labels, reduction="none") for images in (step.x, x_adv)]
        clean, robust = ((weights * term).sum() / weights.sum() for term in terms)
        found.append((one.total.detach(), (clean + 3 * robust).detach()))
        return one

    monkeypatch.setattr(Rst, "loss", spy)
    config = trial(
        batch=mixed(),
        defense={"name": "rst", "lam": 3, "unlabeled_weight": weight},
        model={"name": "small_cnn", "width": 2},
    )
    Trainer(config, tmp_path / "a", device="cpu").epoch()
    assert len(found) == 2
    for one, expected in found:
        torch.testing.assert_close(one, expected)


@pytest.mark.parametrize(("weight", "same_training"), [(0.0, True), (0.5, False)])
def test_labels_that_weigh_nothing_teach_nothing(
    weight: float, same_training: bool, white: None, tmp_path: Path
) -> None:
    """Two files with other labels. The attack makes no step, since it would climb away from them."""
    ends = []
    for number in range(2):
        file(tmp_path, (np.arange(FILE) + number) % 10)
        config = trial(
            batch=mixed(), defense={"name": "rst", "unlabeled_weight": weight}, attack={"steps": 0, "start": "none"}
        )
        ends.append(Trainer(config, tmp_path / str(number), device="cpu").run()["weights"])
    assert (ends[0] == ends[1]) == same_training


# Shares of a batch, rounded

SHARES = [
    (0.25, 6, 2),  # 1.5: halves go to the even number
    (0.25, 10, 2),  # 2.5
    (0.75, 6, 4),  # 4.5
    (0.5, 5, 2),  # 2.5
    (0.5, 7, 4),  # 3.5
    (0.5, 6, 3),
    (0.1, 4, 0),  # 0.4
    (0.1, 6, 1),  # 0.6
    (0.9, 6, 5),  # 5.4
    (0.95, 6, 6),  # 5.7
]


@pytest.mark.parametrize(("fraction", "images", "clean"), SHARES)
def test_the_first_images_stay_clean_to_the_nearest_number(fraction: float, images: int, clean: int) -> None:
    x, y = batch(images)
    seen: list[Tensor] = []
    model = network().eval()
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    step = Step(model, x, y, Pgd(steps=1).bind(Threat(eps=0.1)), generator=generator())
    defense = Adversarial(clean_fraction=fraction)
    x_adv = defense.perturb(step)
    stays = (x_adv == x).flatten(1).all(1)
    assert stays.tolist() == [True] * clean + [False] * (images - clean)
    assert [len(attacked) for attacked in seen] == ([images - clean] if clean < images else [])

    del seen[:]
    other = (x + 0.05).clamp(0, 1)  # as an update makes it, of every image
    parts = defense.loss(step, other).parts
    assert torch.equal(seen[0], torch.cat([x[:clean], other[clean:]]))
    terms = F.cross_entropy(model(seen[0]), y, reduction="none")
    expected = {"clean": terms[:clean].sum() / images, "robust": terms[clean:].sum() / images}
    assert parts.keys() == {name for name, count in (("clean", clean), ("robust", images - clean)) if count}
    for name, part in parts.items():
        torch.testing.assert_close(part, expected[name])


@pytest.mark.usefixtures("white")
@every("mix")
@pytest.mark.parametrize(
    ("fraction", "size", "drawn"), [(0.5, 5, 2), (0.5, 7, 3), (0.3, 9, 2), (0.99, 10, 9), (0.25, 10, 2)]
)
def test_a_mix_draws_the_whole_images_of_its_fraction(
    fraction: float, size: int, drawn: int, cls: type[Mix], tmp_path: Path
) -> None:
    """Rounded down, in every batch of the training."""
    config = trial(batch=mixed(cls, size=size, mix={**made(cls).model_dump(), "fraction": fraction, "epoch": 40}))
    trainer = Trainer(config, tmp_path / "a", device="cpu")
    assert trainer.steps_per_epoch == -(-40 // size)
    rows = trainer.batches.order(0).view(trainer.steps_per_epoch, size)
    assert ((rows >= len(trainer.batches.images)).sum(1) == drawn).all()


def test_the_length_of_an_epoch_rounds_up() -> None:
    lengths = [Generated(path="", epoch=epoch).steps(999, 60) for epoch in (1, 59, 60, 61, 90)]
    assert lengths == [1, 1, 1, 2, 2]


@every("defense")
def test_attacks_see_labels_without_noise_and_losses_with_it(
    cls: type[Defense], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With all labels drawn anew: of the images that are the first half of the batch in every defense."""
    config = trial(batch={"size": 1000, "augment": (), "label_noise": 1}, defense=made(cls))
    seen = spied(monkeypatch, cls)
    Trainer(config, tmp_path, device="cpu").epoch()
    (step,) = seen
    train = config.judge.data.load("train")
    known = {image.tobytes(): int(label) for image, label in zip(train.images, train.labels, strict=True)}
    pixels = (255 * step.x[:500]).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    true = torch.tensor([known[image.tobytes()] for image in pixels])
    assert torch.equal(step.attacked[:500], true)
    wrong = (step.labels[:500] != true).float().mean().item()
    assert wrong == pytest.approx(0.9, abs=0.068)  # five standard deviations
    assert torch.equal(step.targets[:500], step.labels[:500])


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_share_of_labels_with_noise(share: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each one drawn on its own, and of those drawn a tenth are right: within five standard deviations of the mean."""
    config = trial(batch={"size": 1000, "label_noise": share}, defense="natural", attack=None)
    trainer = Trainer(config, tmp_path, device="cpu")
    y = torch.arange(20_000) % 10
    wrong = (trainer.batches.labels(y) != y).float().mean().item()
    p = 0.9 * share
    assert wrong == pytest.approx(p, abs=5 * (p * (1 - p) / len(y)) ** 0.5)


# Moments of a training, rounded

MOMENTS = [(0.25, 6, 2), (0.25, 10, 2), (0.75, 6, 4), (0.5, 7, 4), (0.5, 5, 2), (0.1, 4, 0), (0.1, 6, 1)]
"""Fraction, steps, the first step after it."""


@pytest.mark.parametrize(("fraction", "total", "first"), MOMENTS)
def test_a_milestone_is_the_step_nearest_to_it(fraction: float, total: int, first: int) -> None:
    for schedule in (MultiStep(milestones=(fraction,), drop=0.5), Late(milestones=(fraction,), drop=0.5)):
        assert [schedule.factor(step, total) for step in range(total)] == [1.0] * first + [0.5] * (total - first)


@pytest.mark.parametrize(("fraction", "total", "first"), MOMENTS)
def test_a_stage_begins_at_the_step_nearest_to_its_fraction(fraction: float, total: int, first: int) -> None:
    stages = made(Stages, stages=({"eps_scale": 0.5}, {"begin": {"fraction": fraction}, "eps_scale": 1}))
    cusp = Cusp(boundaries=(fraction, 0.99), eps_scales=(0.5, 1, 1))
    for curriculum in (stages, cusp):
        scales = [curriculum.at(Moment(step, total, 1, MultiStep())).eps_scale for step in range(total)]
        assert scales == [0.5] * first + [1.0] * (total - first)


@given(st.integers(1, 999), st.integers(1, 40), st.integers(1, 60))
def test_a_stage_that_waits_for_a_drop_begins_with_it(thousandths: int, epochs: int, per_epoch: int) -> None:
    schedule: Schedule = MultiStep(milestones=(thousandths / 1000,), drop=0.5, epochs=epochs)
    total = epochs * per_epoch
    begin = Begin(drop=1).step(Moment(0, total, per_epoch, schedule))
    assert begin == sum(schedule.factor(step, total) == 1 for step in range(total))


@given(st.integers(0, 40), st.integers(1, 40), st.integers(1, 60))
def test_a_stage_that_waits_for_an_epoch_begins_with_its_first_batch(epoch: int, epochs: int, per_epoch: int) -> None:
    moment = Moment(0, epochs * per_epoch, per_epoch, MultiStep(epochs=epochs))
    assert Begin(epoch=epoch).step(moment) == epoch * per_epoch
