"""Images beside the labelled ones: their files, which of them a batch draws, and what a training makes of them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from robustray.data import Generated, Images, Mix, PseudoLabelled
from robustray.data.device import DeviceImages
from robustray.data.mixed import MixedImages, mixed_order
from robustray.data.plain_pickle import read_pickle
from robustray.errors import UserError
from robustray.training import Trainer
from robustray.training.randomness import Randomness
from sweeps import Sweep
from sweeps.driver import look_ahead
from tests.robustray.extra import IMAGES, LABELS
from tests.robustray.made import JUDGE, every, made, trial

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _here(extra_images: None) -> None:
    """Every test finds the files in its working directory."""


def read(mix: Mix, classes: int = 10) -> Images:
    return mix.read((8, 8, 1), classes)


@every("mix")
def test_images_are_mapped_into_memory(cls: type[Mix]) -> None:
    found = read(made(cls))
    assert isinstance(found.images, np.memmap) or isinstance(found.images.base, np.memmap)
    np.testing.assert_array_equal(found.images, IMAGES)
    np.testing.assert_array_equal(found.labels, LABELS)


def test_a_compressed_file_is_copied_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "generated.npz", image=IMAGES, label=LABELS)
    mix = Generated(path="generated.npz")
    np.testing.assert_array_equal(read(mix).images, IMAGES)
    (copy,) = (tmp_path / "cache" / "robustray" / "arrays").iterdir()
    before = {path.name: path.stat().st_mtime_ns for path in copy.iterdir()}
    np.testing.assert_array_equal(read(mix).labels, LABELS)
    assert {path.name: path.stat().st_mtime_ns for path in copy.iterdir()} == before
    np.savez_compressed(tmp_path / "generated.npz", image=IMAGES[::-1], label=LABELS)  # another file is copied anew
    np.testing.assert_array_equal(read(mix).images, IMAGES[::-1])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_image_of_the_map_is_that_of_the_file(save: Any, tmp_path: Path) -> None:
    """Whatever lies before it in the archive, and in either order of axes."""
    images = np.asfortranarray(IMAGES)
    save(tmp_path / "generated.npz", other=np.zeros(1000), label=LABELS.astype(np.uint8), image=images)
    found = read(Generated(path="generated.npz"))
    np.testing.assert_array_equal(found.images, IMAGES)
    np.testing.assert_array_equal(found.labels, LABELS)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("dtype", ["<i8", ">i4", "u1", "<i2"])
def test_pickles_of_every_whole_number(dtype: str, protocol: int) -> None:
    value = {"data": IMAGES, "extrapolated_targets": LABELS.astype(dtype)}
    found = read_pickle(pickle.dumps(value, protocol=protocol))
    np.testing.assert_array_equal(found["extrapolated_targets"], LABELS)
    assert found["extrapolated_targets"].dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found["data"], IMAGES)


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros(3, np.complex128), np.array(["a"]), np.array([{}], object)])
def test_pickles_of_other_arrays_are_refused(array: Any, tmp_path: Path) -> None:
    content = pickle.dumps({"data": IMAGES, "extrapolated_targets": array}, protocol=4)
    (tmp_path / "pseudo_labelled.pickle").write_bytes(content)
    with pytest.raises(UserError, match=r"pseudo_labelled\.pickle: not a readable pickle"):
        read(PseudoLabelled(path="pseudo_labelled.pickle"))


def npz(**arrays: Any) -> Callable[[Path], None]:
    return lambda path: np.savez(path, **arrays)


def pickled(**arrays: Any) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(pickle.dumps(arrays, protocol=4))


@pytest.mark.parametrize(
    ("cls", "make", "message"),
    [
        (Generated, lambda path: path.unlink(), "no such file"),
        (Generated, lambda path: path.write_bytes(b"PK\x03\x04 and no more"), "not a readable .npz"),
        (Generated, lambda path: path.write_bytes(path.read_bytes()[:-300]), "not a readable .npz"),
        (Generated, npz(images=IMAGES, labels=LABELS), "no array 'image'; did you mean 'images'"),
        (Generated, npz(image=IMAGES), "no array 'label'"),
        (Generated, npz(image=IMAGES / 255, label=LABELS), "must be uint8"),
        (Generated, npz(image=IMAGES[:, :6], label=LABELS), "must be 8x8x1, not 6x8x1"),
        (Generated, npz(image=IMAGES, label=LABELS + 5), "must be 0 to 9, but there is 1"),
        (Generated, npz(image=IMAGES, label=LABELS[1:]), "whole numbers"),
        (Generated, npz(image=np.array([{}], object), label=LABELS), "not a readable .npz"),
        (PseudoLabelled, lambda path: path.unlink(), "no such file"),
        (PseudoLabelled, lambda path: path.write_bytes(b"\x80\x04N."), "it holds NoneType, not a dict"),
        (PseudoLabelled, pickled(data=IMAGES), "no array 'extrapolated_targets'"),
        (PseudoLabelled, pickled(data=IMAGES[:, :6], extrapolated_targets=LABELS), "must be 8x8x1, not 6x8x1"),
        (PseudoLabelled, pickled(data=IMAGES, extrapolated_targets=LABELS - 1), "0 or more"),
    ],
)
def test_files_that_do_not_fit(cls: type[Mix], make: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    mix = made(cls)
    make(tmp_path / mix.path)
    with pytest.raises(UserError, match=message) as caught:
        read(mix)
    assert mix.path in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in_the_way").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "in_the_way"))
    with pytest.raises(UserError, match="XDG_CACHE_HOME moves the cache"):
        read(PseudoLabelled(path="pseudo_labelled.pickle"))


def orders(own: int, other: int, steps: int, size: int, drawn: int, epochs: int, seed: int = 0) -> Tensor:
    """Rows [epochs, steps, size]."""
    randomness = Randomness(seed, CPU)
    rows = [
        mixed_order(seed, epoch, lambda number: randomness.order(number, own), own=own, other=other, steps=steps,
                    size=size, drawn=drawn)
        for epoch in range(epochs)
    ]  # fmt: skip
    return torch.stack(rows).view(epochs, steps, size)


@given(st.integers(1, 40), st.integers(1, 1000), st.integers(1, 6), st.integers(2, 12), st.integers(1, 4), st.data())
def test_every_labelled_image_comes_once_before_any_comes_again(
    own: int, other: int, steps: int, size: int, epochs: int, data: st.DataObject
) -> None:
    """Over the borders of batches and epochs; every batch has the same share of others."""
    drawn = data.draw(st.integers(1, size - 1))
    rows = orders(own, other, steps, size, drawn, epochs)
    assert ((rows >= own).sum(2) == drawn).all()
    assert rows.max() < own + other
    seen: list[int] = []
    for number in range(epochs):
        passed = [sorted(batch[batch < own].tolist()) for batch in rows[number]]
        seen += [row for batch in passed for row in batch]
        assert len(seen) == (number + 1) * steps * (size - drawn)
        counts = np.bincount(seen, minlength=own)
        assert counts.max() - counts.min() <= 1
    again = orders(own, other, steps, size, drawn, epochs)
    assert torch.equal(rows, again)


def test_others_are_drawn_alike_with_replacement_and_places_are_shuffled() -> None:
    rows = orders(50, 20, 40, 10, 7, 20)
    picked = rows[rows >= 50] - 50
    assert len(picked) == 40 * 20 * 7
    counts = torch.bincount(picked, minlength=20)
    assert (abs(counts - 280) < 5 * 280**0.5).all()
    assert any(len(set(batch.tolist())) < 10 for batch in rows.view(-1, 10))
    places = (rows >= 50).view(-1, 10).float().mean(0)
    assert ((places - 0.7).abs() < 0.08).all()
    assert not torch.equal(rows[0], rows[1])
    assert not torch.equal(orders(50, 20, 40, 10, 7, 1, seed=1)[0], rows[0])


def test_the_published_batch() -> None:
    """B = 512 with 70 % generated: 358 + 154 images, 98 batches for 50,000 labelled ones (Pang et al., 2022)."""
    mix = Generated(path="")
    assert (mix.drawn(512), 512 - mix.drawn(512), mix.steps(50_000, 512)) == (358, 154, 98)
    assert Generated(path="", epoch=1000).steps(50_000, 512) == 2


def test_a_batch_is_what_its_rows_say() -> None:
    config = trial()
    own = DeviceImages(config.judge.data.load("train"), CPU)
    mixed = MixedImages(own, read(Generated(path="generated.npz")))
    rows = torch.tensor([len(own) + 3, 5, 0, len(own), len(own) + 3])
    x, y = mixed.batch(rows)
    expected = torch.from_numpy(IMAGES.transpose(0, 3, 1, 2)).float() / 255
    for place, number in ((0, 3), (3, 0), (4, 3)):
        assert torch.equal(x[place], expected[number])
        assert y[place] == LABELS[number]
    theirs = own.batch(rows[1:3])
    assert torch.equal(x[1:3], theirs[0])
    assert torch.equal(y[1:3], theirs[1])
    assert mixed.others(rows).tolist() == [True, False, False, True, True]


@every("mix")
def test_training_on_a_mix(cls: type[Mix], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images drawn set the length, and a defense learns which labels a model gave."""
    config = trial(batch={"size": 100, "mix": {**made(cls).model_dump(), "fraction": 0.3, "epoch": 250}}, defense="rst")
    trainer = Trainer(config, tmp_path / "a", device="cpu")
    assert trainer.steps_per_epoch == 3
    seen: list[Tensor | None] = []
    loss = type(config.defense).loss

    def spy(self: Any, step: Any, x_adv: Tensor) -> Any:
        seen.append(step.pseudo)
        return loss(self, step, x_adv)

    monkeypatch.setattr(type(config.defense), "loss", spy)
    report = trainer.run()
    assert len(seen) == 6
    assert [None if pseudo is None else int(pseudo.sum()) for pseudo in seen] == [30 if cls.pseudo else None] * 6
    assert report["outcome"] == "complete"
    assert Trainer(trial(batch={"size": 100}), tmp_path / "b", device="cpu").steps_per_epoch == 12


def test_a_fraction_that_draws_nothing() -> None:
    with pytest.raises(ValueError, match=r"fraction of 0\.01 of 50 images is none"):
        trial(batch={"size": 50, "mix": {"name": "generated", "path": "generated.npz", "fraction": 0.01}})


@pytest.mark.parametrize("fraction", [0, 1, -0.5, 1.5])
def test_a_fraction_is_between_none_and_all(fraction: float) -> None:
    with pytest.raises(ValueError, match="fraction"):
        Generated(path="generated.npz", fraction=fraction)


@every("mix")
def test_a_sweep_looks_for_the_file_before_anything_starts(cls: type[Mix], tmp_path: Path) -> None:
    mix = made(cls)
    space = {"name": "x", "judge": JUDGE, "trial": {"batch": {"mix": mix.model_dump()}}}
    look_ahead(Sweep.model_validate(space))
    (tmp_path / mix.path).unlink()
    with pytest.raises(UserError, match=f"{mix.path}: no such file"):
        look_ahead(Sweep.model_validate(space))
