"""Neighbours of test images among further training images: exact, whatever the pieces, and told of where they are near."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustray.data import leaks
from robustray.data.digits import Digits
from robustray.data.images import Images
from robustray.errors import UserError
from tests.robustray.judged import Command


def images(count: int, seed: int, high: int = 256, shape: tuple[int, ...] = (3, 2, 2)) -> Images:
    draw = np.random.default_rng(seed)
    return Images(draw.integers(0, high, (count, *shape), dtype=np.uint8), draw.integers(0, 3, count))


@settings(max_examples=25)
@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([2, 4, 256]), st.integers(0, 99), st.integers(1, 4))
def test_as_by_all_pairs(tests: int, others: int, high: int, seed: int, piece: int) -> None:
    """Few levels give ties, of which the first counts; pieces of any size give the same."""
    a, b = images(tests, seed, high), images(others, seed + 1, high)
    apart = (a.images.astype(int)[:, None] - b.images.astype(int)[None]).reshape(tests, others, -1)
    wanted = {"l2": np.sqrt((apart**2).sum(2)), "linf": np.abs(apart).max(2).astype(float)}
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_TESTS", "_OTHERS", "_PAIRS"):
            patch.setattr(leaks, name, piece)
        found = leaks.nearest(a, b)
        near = leaks.nearest(a, b, within=100 / 255)["linf"]
    for name, distances in wanted.items():
        assert found[name].index.tolist() == distances.argmin(1).tolist()
        assert found[name].distance == pytest.approx(distances.min(1) / 255)
    inside = wanted["linf"].min(1) <= 100
    assert near.index.tolist() == np.where(inside, found["linf"].index, -1).tolist()
    assert near.distance.tolist() == np.where(inside, found["linf"].distance, np.inf).tolist()


def test_a_copy_is_at_0_and_the_largest_distances_are_exact() -> None:
    """Of CIFAR's size, where squares reach 2e8, beyond float32's whole numbers."""
    b = images(5, 1, shape=(32, 32, 3))
    found = leaks.nearest(Images(b.images[[3]], b.labels[[3]]), b)
    assert [(each.index[0], each.distance[0]) for each in found.values()] == [(3, 0), (3, 0)]
    black, white = (Images(np.full((1, 32, 32, 3), level, np.uint8), np.zeros(1, np.int64)) for level in (0, 255))
    white.images[0, 5, 5, 1] = 254  # one level less at one value of 3,072
    found = leaks.nearest(black, white)
    assert found["l2"].distance[0] == np.sqrt(255**2 * 3072 - 255**2 + 254**2) / 255
    assert found["linf"].distance[0] == 1


def test_images_of_another_shape_are_refused() -> None:
    with pytest.raises(UserError, match="images of 3x2x2 cannot be compared with 2x2x2"):
        leaks.nearest(images(1, 0), images(1, 0, shape=(2, 2, 2)))


def test_what_is_told(command: Command, tmp_path: Path) -> None:
    """A copy of a test image, one that a level tells apart, and one that is a copy but for its label."""
    test = Digits().load("test")
    far = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), dtype=np.uint8)
    near = test.images[[7, 11, 13]].copy()
    near[1, 0, 0, 0] += 1
    labels = np.concatenate([np.zeros(20, np.int64), [test.labels[7], test.labels[11], (test.labels[13] + 1) % 10]])
    np.savez(tmp_path / "more.npz", image=np.concatenate([far, near]), label=labels)
    done = command("data", "digits", "--leaks", "{name: generated, path: more.npz}", "--device", "cpu")
    assert done.code == 0, done.error
    told = {line.split(":")[0]: line for line in done.lines if line.startswith("test ")}
    assert "image 20 at l2 0.0000, 0.0000 a value, same label; by linf 0.0000 (image 20)" in told["test 7"]
    assert f"image 21 at l2 {1 / 255:.4f}" in told["test 11"]
    assert "another label" in told["test 13"]
    (warning,) = (line for line in done.lines if line.startswith("warning"))
    assert "more.npz nearer than" in warning
    assert ", 2 of them a copy" in warning


def test_nothing_near_is_no_warning(command: Command, tmp_path: Path) -> None:
    np.savez(tmp_path / "more.npz", image=np.full((2, 8, 8, 1), 255, np.uint8), label=np.zeros(2, np.int64))
    done = command("data", "digits", "--leaks", "{name: generated, path: more.npz}", "--device", "cpu")
    assert (done.code, "warning" in done.out) == (0, False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{name: generated}", "--leaks generated: path: is missing"),
        ("{name: generated, path: none.npz}", "none.npz: no such file"),
        ("generatd", "did you mean 'generated'?"),
    ],
)
def test_mistakes_are_one_line(text: str, said: str, command: Command) -> None:
    done = command("data", "digits", "--leaks", text)
    assert (done.code, done.error.count("\n")) == (2, 1)
    assert said in done.error
