"""The model of a derived point's folder, and the parents that points are made of."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from robustray import plugins
from robustray.data.device import DeviceImages
from robustray.derived import point
from robustray.derived.base import Ground, Parent
from robustray.devices import pick_device
from robustray.errors import NotFinite, UserError
from robustray.files import write_whole
from robustray.judge import Judge
from robustray.measures.accuracy import measured
from robustray.measures.spatial import spatial
from robustray.models.given import ZOO
from robustray.numerics import numerics
from robustray.subjects import exported, factory, trial, weight_files, zoo
from robustray.subjects.classifier import Classifier

log = logging.getLogger("robustray")
RECIPE, MADE = "point.yaml", "made.json"


def there(folder: Path) -> bool:
    """Whether a folder is that of a derived point."""
    return (folder / point.FILE).is_file()


def load(folder: Path) -> Classifier:
    """The point of a folder, under the folder's name; raises as `point.load`."""
    found = point.load(folder, finder(folder, point.judge_of(folder)))
    recipe = found.recipe
    return Classifier(
        found.model, folder.absolute().name, found.weights, recipe.maker.name, trial=None, judge=recipe.judge
    )


def made(folder: Path, kept: Path, *, stop: threading.Event | None = None, device: str = "auto") -> dict[str, Any]:
    """Makes the point that `point.yaml` in its folder describes, unless it is there already, and measures it.

    Args:
        kept: where points of the same parents keep what they share.
        stop: set: end soon, keeping what was done.

    Returns:
        What training measures of a trial, on the tune images; `weights`, the hash; `said`, what its maker found, and `found`,
        the same in words; `cost_passes` and `cost_seconds` of the making alone, this measurement included. What was found
        stands in `made.json` too, for readers without torch.

    Raises:
        UserError: parents are missing or do not go together, or the point's answers are not finite. Paused: `stop` was set.
    """
    begun = time.monotonic()
    recipe = point.Recipe.from_yaml((folder / RECIPE).read_text(encoding="utf-8"), folder)
    place, judge = pick_device(device), recipe.judge
    ground = Ground(judge, place, folder, kept, stop or threading.Event(), lambda said: log.info("%s", said))
    find = finder(folder, judge)
    found = point.load(folder, find) if there(folder) else point.make(recipe, ground, find)
    rows = judge.lists()[1]
    images = DeviceImages(judge.data.load("validation").take(rows), place)
    attack = judge.cheap.bind(judge.threat)
    try:
        with numerics():
            shares = measured(found.model.to(place), images, attack).named()
            if judge.spatial is not None:
                shares |= spatial(found.model, images, rows, judge.spatial)
    except NotFinite as error:
        raise UserError(f"derive: {recipe.maker.name} gives answers that are not finite ({error})") from None
    told = recipe.maker.found(found.said)
    about = {
        "weights": found.weights,
        "parents": [{"spec": parent.spec, "weights": parent.weights} for parent in found.parents],
        "said": dict(found.said),
        "found": told,
    }
    write_whole(folder / MADE, json.dumps(about, indent=1))
    seconds = time.monotonic() - begun
    asked = 0 if judge.spatial is None else judge.spatial.passes
    return {
        **shares,
        "weights": found.weights,
        "said": dict(found.said),
        "found": told,
        "cost_passes": found.passes + len(images) * (2 + attack.attack.passes + asked),
        "cost_seconds": seconds,
    }


def finder(folder: Path, judge: Judge) -> Callable[[str], Parent]:
    """What loads parents, named as seen from a point's folder.

    Args:
        judge: whose images and norm choose among the models of the zoo.
    """

    def find(spec: str) -> Parent:
        found = _classifier(folder, spec, judge)
        return Parent(spec, found.model, found.weights, found.trial)

    return find


def _classifier(folder: Path, spec: str, judge: Judge) -> Classifier:
    if spec.startswith(ZOO):
        return zoo.model(spec[len(ZOO) :], judge.data, judge.threat.norm)
    path = folder / spec
    if path.is_dir():
        if exported.there(path):
            return exported.load(path, judge.data)
        return load(path) if there(path) else trial.selected(path)
    if path.is_file() and path.suffix != ".py":
        if not weight_files.whole(weight_files.read(path)):
            raise UserError(
                f"{path}: is no checkpoint of a trial; name a function that makes the network, file.py:function"
            )
        return trial.checkpoint(path)
    if ":" in spec:
        where, _, name = spec.rpartition(":")
        spec = f"{folder / where}:{name}" if where.endswith(".py") else spec
        plugins.demand_parent(spec, folder)
        return factory.model(spec, judge.data)
    raise UserError(f"{path}: no such parent; it was there when the point was asked for")
