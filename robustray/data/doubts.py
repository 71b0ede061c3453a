"""What is odd about the labels of a data source, though it can be trained on: most often labels that do not begin at 0."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from robustray.data.base import DataSource, Split

_SHOWN = 5


def doubts(source: DataSource, splits: Sequence[Split] = ("validation",)) -> Iterator[str]:
    """A line for every oddity of train and of other splits, with its remedy, after what is said of their files.

    A class without training images has an output that nothing trains and that targeted attacks aim at. One without images in
    another split is in no number measured there. Test is read only where that is asked for.

    Raises:
        UserError: the data is missing or broken.
    """
    for split in ("train", *splits):
        if split != "validation":  # which is of train's files
            yield from source.notes(split)
    counts = {split: np.bincount(source.load(split).labels, minlength=source.classes) for split in ("train", *splits)}
    trained = counts.pop("train") > 0
    held = ~trained & (counts["validation"] > 0) if "validation" in counts else np.zeros_like(trained)
    if held.any():
        yield f"every image of {_of(held)} is held out for validation, and none is trained on: hold out fewer"
    if (none := ~trained & ~held).any():
        yield f"train has no image of {_of(none)}{_remedy(none)}"
    for split, count in counts.items():
        if (missing := trained & (count == 0)).any():
            remedy = "hold out more images" if split == "validation" else "its accuracy says nothing of them"
            yield f"{split} has no image of {_of(missing)}: {remedy}"
        if split == "test" and (strange := ~trained & (count > 0)).any():
            yield f"test has images of {_of(strange)}, and train has none: no model gets them right"


def _of(classes: NDArray[np.bool_]) -> str:
    """`class 0 of 5`, `2 of 5 classes (0, 3)`."""
    (found,) = classes.nonzero()
    if len(found) == 1:
        return f"class {found[0]} of {len(classes)}"
    shown = ", ".join(map(str, found[:_SHOWN])) + (" ..." if len(found) > _SHOWN else "")
    return f"{len(found)} of {len(classes)} classes ({shown})"


def _remedy(untrained: NDArray[np.bool_]) -> str:
    """What most often lies behind it."""
    if untrained[0] and not untrained[1:].any():
        return ": do the labels begin at 1? Classes are counted from 0: save labels - 1"
    if untrained[-2:-1].any():
        return f": is label {len(untrained) - 1} a mark for images to ignore? Leave those out"
    return ": number the classes from 0 without gaps"
