"""Files of images beside the labelled ones, of digits' shape."""

from __future__ import annotations

import atexit
import pickle
import shutil
import tempfile
from pathlib import Path

import numpy as np

_DRAWS = np.random.default_rng(0)
IMAGES = _DRAWS.integers(0, 256, (30, 8, 8, 1), dtype=np.uint8)
LABELS = np.arange(30, dtype=np.int64) % 10


def write(folder: Path) -> None:
    """The file of every kind of mix, under the names that tests give them."""
    np.savez(folder / "generated.npz", image=IMAGES, label=LABELS)
    whole = {"data": IMAGES, "extrapolated_targets": LABELS}
    (folder / "pseudo_labelled.pickle").write_bytes(pickle.dumps(whole, protocol=4))


HERE = Path(tempfile.mkdtemp(prefix="robustray-tests-"))
"""Where they lie for parts that are made before any test has a folder: paths of data are absolute once read."""
write(HERE)
atexit.register(shutil.rmtree, HERE, ignore_errors=True)
