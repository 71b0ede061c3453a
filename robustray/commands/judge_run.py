"""Judges any classifier, goes on where it was, and says how far it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from robustray import subjects
from robustray.attacks.versions import AttackName
from robustray.commands.judge_progress import Log, bars
from robustray.data.base import DataSource
from robustray.data.device import DeviceImages
from robustray.derived.mixture import parts_of
from robustray.devices import pick_device
from robustray.errors import UserError
from robustray.files import write_whole
from robustray.judge import Judge
from robustray.judging import first_look, identity, result, shard_size, workers
from robustray.judging.case import Case
from robustray.judging.plan import CLAIMED, EARLY, JOINED, Plan
from robustray.judging.turns import places
from robustray.judging.workers import Order
from robustray.measures.threads import IMAGES, Threads, measured, told
from robustray.options.choose import choose
from robustray.options.mistakes import mistakes
from robustray.options.yaml import dotted
from robustray.plain import line
from robustray.processors import cores
from robustray.subjects import Classifier

RESULTS = Path("results/judgements")
THREADS = "threads"
"""File of a judgement: the number of threads that was measured when it began."""


@dataclass(frozen=True)
class Asked:
    """The flags of the command. None: as the trial says, else the usual."""

    model: str
    data: str | None = None
    split: Literal["validation", "test"] | None = None  # a trial of ours: validation; anything else: test
    norm: str | None = None
    eps: str | None = None
    version: str | None = None
    images: int | None = None
    shard: int | None = None
    devices: tuple[str, ...] = ()
    threads: int | None = None
    architecture: str | None = None
    keep_images: bool = False
    accelerated: bool = False
    join: tuple[Path, ...] = ()
    results: Path | None = None


def run(asked: Asked, write: Callable[[str], None]) -> dict[str, Any]:
    """Judges a classifier and returns its result, as `result.json` holds it.

    Raises:
        UserError: a flag, the model or the data is wrong.
    """
    if asked.keep_images and asked.join and any(path.suffix == ".json" for path in asked.join):
        raise UserError("--save-adversarial with a state file: it has verdicts, but no images to save")
    data = source(asked.data) if asked.data else None
    norm = asked.norm or "linf"
    found = subjects.load(asked.model, architecture=asked.architecture, data=data, norm=norm)
    asked = replace(asked, split=asked.split or ("validation" if found.judge else "test"))
    settings = _settings(asked, data, found)
    if found.judge is not None:
        check_home(asked.model, asked.split)
    case, order, devices, warnings = _open(asked, settings, found)
    model = result.Model(
        found.name, asked.model, found.architecture, found.weights, asked.architecture, tuple(warnings)
    )
    log = Log(case.plan, write)
    log.opening(settings.data.name, _settled(asked, case) if case.device.type == "cpu" else None)
    for warning in warnings:
        log.warn(warning)
    _all_shards(case, order, devices, log)
    written = result.write(case.folder, model, settings, case.plan)
    log.closing(written, case.folder)
    return written


def source(text: str) -> DataSource:
    """The images that `--data` asks for; raises as `choose`."""
    chosen = choose("data", text, "--data")
    assert isinstance(chosen, DataSource)
    return chosen


def _settings(asked: Asked, data: DataSource | None, found: Classifier) -> Judge:
    """What to judge by: the trial's own judge where the model is one, with every flag put in."""
    options: dict[str, Any] = found.judge.model_dump() if found.judge else {}
    if data is not None:
        options["data"] = data.model_dump()
    if "data" not in options:
        raise UserError("--data is missing: which images to judge on, for example --data cifar10")
    own = options.get("threat", {})
    norm = asked.norm or own.get("norm", "linf")
    eps = asked.eps if asked.eps is not None or norm != own.get("norm") else own["eps"]
    if eps is None:
        raise UserError("--eps is missing: the radius in pixels of [0, 1], for example --threat linf --eps 8/255")
    options["threat"] = {"norm": norm, "eps": eps}
    if asked.version is not None:
        names = asked.version.split("+")
        options["version"] = names if len(names) > 1 or names[0] in get_args(AttackName) else names[0]
    if asked.images is not None:
        options["images"] = {**options.get("images", {}), str(asked.split): asked.images}
    options["accelerated"] = asked.accelerated or options.get("accelerated", False)
    try:
        return Judge.model_validate(options)
    except ValidationError as error:
        keys, what = next(iter(mistakes(error, Judge).items()))
        raise UserError(f"--{_FLAG.get(dotted(keys), dotted(keys))}: {what}") from None


_FLAG = {"threat.eps": "eps", "images.validation": "images", "images.test": "images", "": "images"}
"""Which flag an option of the judge comes from; a mistake of no option is that of images, more than are held out."""


def check_home(model: str, split: str | None) -> None:
    """Test images are not for a trial of a sweep: the sweep reads them itself, for members.

    Raises:
        UserError: they are asked for.
    """
    folder = Path(model)
    home = folder if folder.is_dir() else folder.parent
    sweep = home.absolute().parent.parent
    if split == "test" and (sweep / "study.journal").exists():
        raise UserError(
            f"{home}: belongs to a sweep, which reads test itself, for the frontier's members alone; say --split validation, "
            "or copy the folder to judge this trial on test all the same"
        )


def _open(asked: Asked, settings: Judge, found: Classifier) -> tuple[Case, Order, list[str], list[str]]:
    assert asked.split is not None
    files = {
        stage: tuple(path for path in asked.join if (path.suffix == ".json") == (stage == CLAIMED))
        for stage in (CLAIMED, JOINED)
    }
    files = {stage: paths for stage, paths in files.items() if paths}
    for path in asked.join:
        if not path.is_file():
            raise UserError(f"--join {path}: no such file")
    root = asked.results or (Path(asked.model) / "judgements" if Path(asked.model).is_dir() else RESULTS / found.name)
    named: dict[str, Any] = {}
    devices = devices_of(asked.devices)
    size = asked.shard or 0
    place = pick_device(devices[0])
    images = first_images(settings, asked.split).to(place)
    warnings = [*found.notes, *looked_at(found, settings, images)]
    if found.trial is None:
        answers = identity.answers(found.model, images)
        if answers is None:
            warnings.append(
                f"{found.name} draws random numbers from a generator that is seeded anew each time: a judgement cannot be "
                "repeated, nor what it finds be verified"
            )
            named["drawn"] = identity.drawn(found.model, found.name)
        else:
            before = (path.parent for path in root.glob("*/judgement.json"))
            named["answers"] = identity.known(before, answers, found.weights, "model", "answers")
    common: dict[str, Any] = {"device": devices[0], "named": named, "files": files}
    if not size:
        mixture = bool(parts_of(found.model))
        draft = Plan.of(settings, found.weights, asked.split, model=named, files=files, mixture=mixture)
        size = shard_size.recorded(root, draft) or 0
    if not size:
        share = sum(device == devices[0] for device in devices)
        size = shard_size.size(found.model, images, place, share)
        if place.type == "cpu":
            many = first_images(settings, asked.split, min(size, len(draft.rows)))
            size = shard_size.shared_out(found.model, many, size, draft, share)
    root.mkdir(parents=True, exist_ok=True)
    case = Case(found.model, found.weights, settings, asked.split, root, shard_size=size, **common)
    order = Order(
        asked.model,
        asked.architecture,
        found.weights,
        settings,
        asked.split,
        root,
        size,
        named,
        files,
        asked.keep_images,
    )
    return case, order, devices, warnings


def _settled(asked: Asked, case: Case) -> Threads:
    """Sets this process, and those it starts, to a number of threads: that of the judgement's first life, for the same bits."""
    kept = case.folder / THREADS
    try:
        before = int(kept.read_text())
    except (OSError, ValueError):
        before = None
    threads = told(asked.threads, before)
    if threads is None:
        threads = measured(case.model, case.images(0)[0][:IMAGES])
        write_whole(kept, str(threads.number))
    torch.set_num_threads(threads.number)
    return threads


def looked_at(found: Classifier, settings: Judge, x: Tensor) -> list[str]:
    """Asks a model whatever judging it will, on its first images x [B, C, H, W] and their device, where it stays.

    Returns and raises as `first_look.look`; that the model does not fit on the device is a `UserError` too.
    """
    try:
        found.model.to(x.device)
    except Exception as error:  # memory, or a module that stays where it is
        raise UserError(f"{found.name}: cannot be moved to {x.device} ({line(error)})") from None
    attacks = (*settings.attacks, *((EARLY,) if settings.accelerated else ()))
    return first_look.look(found.name, found.model, x, settings.data.classes, attacks, settings.threat.norm)


def first_images(settings: Judge, split: Literal["validation", "test"], count: int = 8) -> Tensor:
    """The first images of a split [B, C, H, W] in [0, 1], fewer than eight where there are fewer."""
    there = settings.data.load(split)
    first = there.take(np.arange(min(count, len(there))))
    return DeviceImages(first, torch.device("cpu")).batch(slice(None))[0]


def devices_of(asked: tuple[str, ...]) -> list[str]:
    """A process for each: those asked for; else every CUDA device, else one for each CPU core."""
    names = [name.strip() for text in asked for name in text.split(",") if name.strip()]
    if names and names != ["auto"]:
        return [str(pick_device(name)) for name in names]
    if torch.cuda.is_available():
        return [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return ["cpu"] * cores()


def _all_shards(case: Case, order: Order, devices: list[str], log: Log) -> None:
    with bars(case.plan, places(case.plan, len(devices)), log) as shown:
        for shard in workers.run(case, order, devices, shown.tick):
            log.finished(shard)
            shown.finished(shard)
