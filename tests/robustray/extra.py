"""Files of images beside the labelled ones, of digits' shape: generated ones, and corrupted copies of held out ones."""

from __future__ import annotations

import atexit
import pickle
import shutil
import tempfile
from pathlib import Path

import numpy as np

from robustray.data.digits import Digits

_DRAWS = np.random.default_rng(0)
IMAGES = _DRAWS.integers(0, 256, (30, 8, 8, 1), dtype=np.uint8)
LABELS = np.arange(30, dtype=np.int64) % 10


def write(folder: Path) -> None:
    """The file of every kind of mix, under the names that tests give them."""
    np.savez(folder / "generated.npz", image=IMAGES, label=LABELS)
    whole = {"data": IMAGES, "extrapolated_targets": LABELS}
    (folder / "pseudo_labelled.pickle").write_bytes(pickle.dumps(whole, protocol=4))


def corrupt(folder: Path, validation: int = 300) -> None:
    """A folder as CIFAR-10-C is one, of the held out digits: darker with each severity, and noisier."""
    held_out = Digits(validation=validation).load("validation")
    x, levels = held_out.images.astype(np.int64), range(1, 6)
    noise = np.random.default_rng(0).integers(-25, 26, x.shape)
    folder.mkdir(exist_ok=True)
    np.save(folder / "darkness.npy", np.concatenate([x * (6 - level) // 6 for level in levels]).astype(np.uint8))
    np.save(
        folder / "noise.npy", np.concatenate([(x + level * noise).clip(0, 255) for level in levels]).astype(np.uint8)
    )
    np.save(folder / "labels.npy", np.tile(held_out.labels, 5))


HERE = Path(tempfile.mkdtemp(prefix="robustray-tests-"))
"""Where they lie for parts that are made before any test has a folder: paths of data are absolute once read."""
write(HERE)
corrupt(HERE / "corruptions")
atexit.register(shutil.rmtree, HERE, ignore_errors=True)
