"""Nearest images: brute force in whole numbers, whatever the blocks; separation and the classifier that follow from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from robustray.attacks.norms import Norm
from robustray.attacks.threats import Threat
from robustray.data.images import Images
from robustray.data.npz import Npz
from robustray.errors import UserError
from robustray.measures.base import Ground, Result
from robustray.measures.distances import FAR, LOOK, Allowed, nearest
from robustray.measures.nearest_neighbour import NearestNeighbour
from robustray.measures.separation import Separation
from robustray.measures.taking import take

CPU = torch.device("cpu")
NORMS = st.sampled_from(["linf", "l2", "l1"])


def images(count: int, seed: int, side: int = 3, classes: int = 3, levels: int = 256) -> Images:
    """Random images; of few grey levels many are equally far apart."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, levels, (count, side, side, 1)).astype(np.uint8)
    return Images(pixels, random.integers(0, classes, count))


def brute(a: Images, b: Images, allowed: Allowed, norm: Norm) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All pairs in whole numbers; the first of the nearest."""
    apart = np.abs(a.images.reshape(len(a), 1, -1).astype(np.int64) - b.images.reshape(len(b), -1))
    far = {"linf": apart.max(2), "l1": apart.sum(2), "l2": (apart**2).sum(2)}[norm]
    far = np.where((allowed.own[:, None] == allowed.theirs) == allowed.same, far, FAR)
    least = far.min(1)
    return least, np.where(least == FAR, -1, far.argmin(1))


@given(
    norm=NORMS, seed=st.integers(0, 99), side=st.sampled_from([1, 3, 18]), levels=st.sampled_from([2, 9, 256]),
    tile=st.sampled_from([1, 40, 400, 5000]), block=st.sampled_from([1, 7, 49, 60]), classes=st.integers(1, 4),
)  # fmt: skip
@settings(max_examples=25)
def test_no_block_changes_what_brute_force_finds(
    norm: Norm, seed: int, side: int, levels: int, tile: int, block: int, classes: int
) -> None:
    few, many = images(12, seed, side, classes, levels), images(50, seed + 1000, side, classes, levels)
    allowed = [Allowed(few.labels, many.labels, same=same) for same in (False, True)]
    found = nearest(few, many, allowed, norm, CPU, tile=tile, block=block)
    for at, each in enumerate(allowed):
        least, first = brute(few, many, each, norm)
        np.testing.assert_array_equal(found.distance[at], least)
        np.testing.assert_array_equal(found.row[at], first)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_pairs_that_are_left_after_a_look_are_met_one_by_one(norm: Norm) -> None:
    """Many images and more pixels than a look: most pairs are out early, and the last pixel still counts."""
    assert LOOK < 20 * 20
    few, many = images(5, 0, 20, 2), images(600, 1, 20, 2)
    many.images[::7] = few.images[0]
    many.images[::7, -1, -1] = np.arange(len(many.images[::7]))[:, None] % 256  # those differ in one pixel alone
    allowed = Allowed(few.labels, many.labels, same=False)
    found = nearest(few, many, [allowed], norm, CPU)
    least, first = brute(few, many, allowed, norm)
    np.testing.assert_array_equal(found.distance[0], least)
    np.testing.assert_array_equal(found.row[0], first)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_distances_of_large_images_are_exact(norm: Norm) -> None:
    """Sums beyond what float32 and int16 hold: black and white, one grey level apart."""
    side = 150
    black, white = np.zeros((1, side, side, 3), np.uint8), np.full((2, side, side, 3), 255, np.uint8)
    white[1, 0, 0, 0] = 254
    one = np.zeros(1, np.int64)
    found = nearest(
        Images(black, one), Images(white, np.ones(2, np.int64)), [Allowed(one, one[[0, 0]] + 1, same=False)], norm, CPU
    )
    pixels = side * side * 3
    assert found.distance.item() == {"linf": 255, "l1": 255 * pixels - 1, "l2": 255**2 * (pixels - 1) + 254**2}[norm]
    assert found.row.item() == (0 if norm == "linf" else 1)


def ground(folder: Path, train: Images, test: Images, norm: Norm = "linf", eps: float = 0.05) -> Ground:
    """Images in files; one training image is held out."""
    for name, each in (("train", train), ("test", test)):
        np.savez(folder / f"{name}.npz", images=each.images, labels=each.labels)
    data = Npz(train=str(folder / "train.npz"), test=str(folder / "test.npz"), validation=1)
    rows = np.arange(len(test), dtype=np.int64)
    return Ground(torch.nn.Identity(), data, "test", rows, Threat(norm=norm, eps=eps), 3, CPU)


def separated(here: Ground, **options: object) -> Result:
    return take(Separation.model_validate(options), here)


def pair(a: int, b: int) -> tuple[Images, Images]:
    """A training set of black images of class 0 and one grey level of class 1, and a test image."""
    train = Images(np.array([a, a, b, b], np.uint8).reshape(4, 1, 1, 1).repeat(4, 1), np.array([0, 0, 1, 1]))
    return train, Images(train.images[:1], train.labels[:1])


@pytest.mark.parametrize(("norm", "far"), [("linf", 16 / 255), ("l1", 64 / 255), ("l2", 32 / 255)])
def test_two_points_give_their_distance(norm: Norm, far: float, tmp_path: Path) -> None:
    result = separated(ground(tmp_path, *pair(10, 26), norm, far / 2))
    assert result.value == pytest.approx(far, rel=1e-12)
    assert result.values["closer_than_two_eps"] == 0  # at 2 eps it is separated
    assert result.notes[0].startswith("separated")
    beyond = separated(ground(tmp_path, *pair(10, 26), norm, far / 2 + 1e-6))
    assert beyond.values["closer_than_two_eps"] == 1
    assert beyond.notes[0].startswith("not separated")


def test_the_same_image_with_two_labels_is_told_and_left_out(tmp_path: Path) -> None:
    train, test = images(40, 3), images(12, 4)
    here = ground(tmp_path, train, test)
    held = here.data.load("train")
    twin = int(np.flatnonzero(held.labels != test.labels[5])[0])
    test.images[5] = held.images[twin]
    test.images[7] = np.minimum(test.images[5], 254) + 1  # a grey level away
    test.labels[7] = test.labels[5]
    here = ground(tmp_path, train, test)
    result = separated(here)
    assert result.value == 0
    assert result.values["conflicts"] == 1
    (conflict,) = result.tables["conflicts"]
    assert (conflict["image"], conflict["train_image"], conflict["distance"]) == (5, twin, 0)
    assert conflict["label"] == test.labels[5] != conflict["train_label"] == held.labels[twin]
    rest = np.delete(result.columns["distance"], 5)
    assert result.values["least_without_conflicts"] == rest.min() == 1 / 255
    assert result.values["mean_without_conflicts"] == pytest.approx(rest.mean())
    wider = separated(here, conflict="1/255")
    assert [row["image"] for row in wider.tables["conflicts"]] == [5, 7]
    assert wider.values["least_without_conflicts"] > 1 / 255


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_separation_by_brute_force_and_its_histogram(norm: Norm, tmp_path: Path) -> None:
    here = ground(tmp_path, images(60, 5), images(30, 6), norm, 0.05)
    train, test = here.data.load("train"), here.data.load("test")
    result = separated(here)
    least, row = brute(test, train, Allowed(test.labels, train.labels, same=False), norm)
    far = (np.sqrt(least) if norm == "l2" else least) / 255
    np.testing.assert_allclose(result.columns["distance"], far, rtol=1e-15)
    np.testing.assert_array_equal(result.columns["nearest"], row)
    assert (result.value, result.values["mean"], result.values["median"]) == pytest.approx(
        (far.min(), far.mean(), np.median(far))
    )
    table = result.tables["histogram"]
    assert len(table) == 20
    assert sum(each["images"] for each in table) == sum(each["random_labels"] for each in table) == 30
    assert (table[0]["from"], table[-1]["to"]) == (0, pytest.approx(1 if norm == "linf" else table[-1]["to"]))
    assert table[-1]["to"] >= far.max()


def test_of_train_an_image_is_never_its_own_neighbour_also_with_random_labels(tmp_path: Path) -> None:
    train = images(40, 7)
    here = ground(tmp_path, train, images(5, 8))
    rows = np.arange(len(here.data.load("train")), dtype=np.int64)
    whole = Ground(here.model, here.data, "train", rows, here.threat, 3, CPU)
    result = separated(whole)
    assert result.value > 0
    assert result.values["random_labels_least"] > 0
    assert (result.columns["nearest"] != rows).all()
    other = separated(whole, seed=1)
    assert other.value == result.value
    assert (other.columns["random_distance"] != result.columns["random_distance"]).any()
    assert (separated(whole).columns["random_distance"] == result.columns["random_distance"]).all()


def test_one_class_is_refused(tmp_path: Path) -> None:
    train = Images(images(10, 0).images, np.zeros(10, np.int64))
    with pytest.raises(UserError, match="one class"):
        separated(ground(tmp_path, train, train))


@settings(max_examples=8)
@given(norm=NORMS, seed=st.integers(0, 999))
def test_no_attack_within_the_radius_changes_the_nearest_class(
    norm: Norm, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Toward the nearest image of another class and anywhere else, at every length below the radius; just beyond, it does."""
    here = ground(tmp_path_factory.mktemp("images"), images(30, seed), images(8, seed + 1), norm)
    train, test = here.data.load("train"), here.data.load("test")
    result = take(NearestNeighbour(), here)
    points, centres = (each.images.reshape(len(each), -1) / 255 for each in (test, train))
    order = {"linf": np.inf, "l2": 2, "l1": 1}[norm]
    random = np.random.default_rng(seed)

    def classes(at: NDArray[np.float64]) -> NDArray[np.float64]:
        """f_j, [3], of a point."""
        far = np.linalg.norm(centres - at, order, axis=1)
        return np.array([far[train.labels == label].min(initial=np.inf) for label in range(3)])

    for i, point in enumerate(points):
        f, label = classes(point), test.labels[i]
        others = np.delete(f, label)
        assert result.columns["correct"][i] == (f[label] < others.min())
        assert result.columns["right"][i] == pytest.approx(f[label])
        assert result.columns["wrong"][i] == pytest.approx(others.min())
        radius = result.columns["radius"][i]
        if not result.columns["correct"][i]:
            assert radius == 0
            assert f[result.columns["predicted"][i]] == pytest.approx(f.min())
            continue
        assert result.columns["predicted"][i] == label
        enemy = centres[train.labels != label]
        for way in (*(enemy - point)[:10], *random.normal(size=(5, len(point)))):
            moved = point + way / np.linalg.norm(way, order) * radius * 0.999
            assert classes(moved).argmin() == label
    assert result.value == np.mean(result.columns["radius"] > 0.05 + 1e-9)


def test_of_separated_data_every_training_image_is_certain(tmp_path: Path) -> None:
    """Images of 2 rho apart, each its own neighbour: right within every eps below rho, and not at rho itself."""
    train, _ = pair(10, 26)
    here = ground(tmp_path, train, train, eps=7.9 / 255)
    assert take(NearestNeighbour(), here).value == 1
    assert take(NearestNeighbour(), ground(tmp_path, train, train, eps=8 / 255)).value == 0
    assert take(NearestNeighbour(), here).values["clean_accuracy"] == 1


def test_equally_near_is_wrong(tmp_path: Path) -> None:
    train, _ = pair(10, 30)
    middle = Images(np.full((1, 4, 1, 1), 20, np.uint8), np.zeros(1, np.int64))
    result = take(NearestNeighbour(), ground(tmp_path, train, middle))
    assert (result.value, result.values["clean_accuracy"]) == (0, 0)
    assert result.columns["predicted"].tolist() == [1]


@pytest.mark.parametrize("name", ["mnist", "cifar10_exact"])
def test_real_images(name: str) -> None:
    """A few published images: brute force, and in linf apart by more than the usual 2 eps."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "data" / name
    if not folder.exists():
        pytest.skip(f"no images at {folder}")
    read = []
    for split, count in (("train", 300), ("test", 5)):
        with np.load(folder / f"{split}.npz") as file:
            pixels = file["images"][:count]
            read.append(Images(pixels.reshape(*pixels.shape[:3], -1), file["labels"][:count].astype(np.int64)))
    train, test = read
    allowed = Allowed(test.labels, train.labels, same=False)
    for norm in ("linf", "l2", "l1"):
        found = nearest(test, train, [allowed], norm, CPU)
        np.testing.assert_array_equal(found.distance[0], brute(test, train, allowed, norm)[0])
    assert (
        nearest(test, train, [allowed], "linf", CPU).pixels("linf").min()
        > {"mnist": 0.6, "cifar10_exact": 16 / 255}[name]
    )
