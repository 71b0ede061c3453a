"""Measures that a worker takes of one trial: pieces lie in its folder, so a killed one goes on from them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import TypeAdapter

from robustray.errors import UserError
from robustray.measures.base import Measure
from robustray.registry import Registered

log = logging.getLogger("robustray")
FOLDER = "measures"
"""In a trial's folder; `python -m robustray measure` looks there too."""
_MEASURE: TypeAdapter[Measure] = TypeAdapter(Annotated[Measure, Registered("measure")])


def as_training_ends(
    folder: Path, asked: Mapping[str, Any], most: int | None, heed: Callable[[float], None]
) -> dict[str, Any]:
    """Values by name on tune images. One that cannot be measured is left out, and `cause` says why.

    Args:
        folder: the trial's. asked: measures as plain data, by name. most: images at most; None: all.
        heed: hears the share of a measure that is done; may raise.
    """
    from robustray.judging import ground
    from robustray.measures import taking

    here, weights = ground.of_trial(folder, "tune", most)
    found, causes = dict[str, Any](), list[str]()
    for name, plain in asked.items():
        try:
            measure = _MEASURE.validate_python(plain)
            filed = taking.filed(measure, here, folder / FOLDER, name=folder.name, weights=weights, tell=heed)
            found[name] = filed.said["value"]
            log.info("%s is %s", name, found[name])
        except UserError as error:
            log.warning("%s cannot be measured: %s", name, error)
            causes.append(f"{name} cannot be measured: {error}")
    return {**found, "cause": "; ".join(causes)} if causes else found


def of_member(
    folder: Path, plain: Any, split: Any, most: int | None, weights: str | None, heed: Callable[[float], None]
) -> dict[str, Any]:
    """One measure on images of one split: what its `result.json` holds, and `folder`, where that lies.

    Raises:
        UserError: the model cannot be measured so. RuntimeError: the folder holds other weights than the record.
    """
    from robustray.judging import ground
    from robustray.measures import taking

    here, there = ground.of_trial(folder, split, most)
    if weights is not None and there != weights:
        raise RuntimeError(f"{folder}: the selected weights are {there[:12]}, the record says {weights[:12]}")
    measure = _MEASURE.validate_python(plain)
    filed = taking.filed(measure, here, folder / FOLDER, name=folder.name, weights=there, tell=heed)
    return {**filed.said, "folder": f"{FOLDER}/{filed.folder.name}"}
