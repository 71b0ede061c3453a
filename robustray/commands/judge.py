"""`python -m robustray judge`: judges any classifier, goes on where it was, and says how far it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import ValidationError

from robustray.attacks.versions import VERSIONS, AttackName
from robustray.commands.judge_progress import Log, bars
from robustray.data.base import DataSource
from robustray.errors import UserError
from robustray.judge import Judge
from robustray.judging import result
from robustray.judging.plan import CLAIMED, JOINED, Plan
from robustray.options.choose import choose
from robustray.options.mistakes import mistakes
from robustray.options.yaml import dotted
from robustray.verdicts import Verdicts, fingerprint

if TYPE_CHECKING:
    from robustray.judging.case import Case
    from robustray.judging.workers import Order
    from robustray.subjects.classifier import Classifier

RESULTS = Path("results/judgements")


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
    architecture: str | None = None
    keep_images: bool = False
    accelerated: bool = False
    join: tuple[Path, ...] = ()
    results: Path | None = None


def judge(asked: Asked, write: Callable[[str], None]) -> dict[str, Any]:
    """Judges a classifier and returns its result, as `result.json` holds it.

    Raises:
        UserError: a flag, the model or the data is wrong.
    """
    if asked.keep_images and asked.join and any(path.suffix == ".json" for path in asked.join):
        raise UserError("--save-adversarial with a state file: it has verdicts, but no images to save")
    from robustray.subjects import classifier

    data = _source(asked.data) if asked.data else None
    norm = asked.norm or "linf"
    found = classifier.load(asked.model, architecture=asked.architecture, data=data, norm=norm)
    asked = replace(asked, split=asked.split or ("validation" if found.trial else "test"))
    settings = _settings(asked, data, found)
    if found.trial is not None:
        _check_home(asked)
    case, order, devices = _open(asked, settings, found)
    model = result.Model(found.name, asked.model, found.architecture, found.weights, asked.architecture)
    log = Log(case.plan, write)
    log.opening(settings.data.name)
    _run(case, order, devices, log)
    written = result.write(case.folder, model, settings, case.plan)
    log.closing(written, case.folder)
    return written


def _source(text: str) -> DataSource:
    chosen = choose("data", text, "--data")
    assert isinstance(chosen, DataSource)
    return chosen


def _settings(asked: Asked, data: DataSource | None, found: Classifier) -> Judge:
    """What to judge by: the trial's own judge where the model is one, with every flag put in."""
    options: dict[str, Any] = found.trial.judge.model_dump() if found.trial else {}
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


def _check_home(asked: Asked) -> None:
    """Test images are not for a trial of a sweep: the sweep reads them itself, for members."""
    folder = Path(asked.model)
    home = folder if folder.is_dir() else folder.parent
    sweep = home.absolute().parent.parent
    if asked.split == "test" and (sweep / "study.journal").exists():
        raise UserError(
            f"{home}: belongs to a sweep, which reads test itself, for the frontier's members alone; say --split validation, "
            "or copy the folder to judge this trial on test all the same"
        )


def _open(asked: Asked, settings: Judge, found: Classifier) -> tuple[Case, Order, list[str]]:
    assert asked.split is not None
    from robustray.judging import shard_size
    from robustray.judging.case import Case
    from robustray.judging.stage import answers_hash
    from robustray.judging.workers import Order

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
    devices = _devices(asked.devices)
    size = asked.shard or 0
    images = _first_images(settings, asked.split)
    _answers(found, images)
    if found.trial is None:
        named["answers"] = answers_hash(found.model, images)  # equal weights need not be equal functions
    common: dict[str, Any] = {"device": devices[0], "named": named, "files": files}
    if not size:
        draft = Plan.of(settings, found.weights, asked.split, model=named, files=files)
        size = shard_size.recorded(root, draft) or 0
    if not size:
        from robustray.devices import pick_device

        place = pick_device(devices[0])
        share = sum(device == devices[0] for device in devices)
        size = shard_size.size(found.model.to(place), images, place, share)
        if place.type == "cpu":
            many = _first_images(settings, asked.split, min(size, len(draft.rows)))
            size = shard_size.shared_out(found.model, many, size, draft, share)
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
    return case, order, devices


def _first_images(settings: Judge, split: Literal["validation", "test"], count: int = 8) -> Any:
    import numpy as np
    import torch

    from robustray.data.device import DeviceImages

    there = settings.data.load(split)
    first = there.take(np.arange(min(count, len(there))))
    return DeviceImages(first, torch.device("cpu")).batch(slice(None))[0]


def _answers(found: Classifier, images: Any) -> None:
    """Asks the model about a few images, so that a model that cannot answer says so at once."""
    import torch

    try:
        with torch.no_grad():
            logits = found.model(images)
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{found.name}: fails on images of shape {tuple(images.shape)} ({lines[0]})") from None
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != len(images):
        what = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise UserError(f"{found.name}: must give logits [B, classes], gave {what} for {tuple(images.shape)}")
    if not bool(logits.isfinite().all()):
        raise UserError(f"{found.name}: its logits are not finite; a broken model cannot be judged")


def _devices(asked: tuple[str, ...]) -> list[str]:
    """A process for each: those asked for; else every CUDA device, else one for each CPU core."""
    import torch

    from robustray.devices import cores, pick_device

    names = [name.strip() for text in asked for name in text.split(",") if name.strip()]
    if names and names != ["auto"]:
        return [str(pick_device(name)) for name in names]
    if torch.cuda.is_available():
        return [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return ["cpu"] * cores()


def _run(case: Case, order: Order, devices: list[str], log: Log) -> None:
    from robustray.judging import workers

    with bars(case.plan, workers.places(case.plan, devices), log) as shown:
        for shard in workers.run(case, order, devices, shown.tick):
            log.finished(shard)
            shown.finished(shard)


def verify(file: Path, write: Callable[[str], None], *, devices: tuple[str, ...] = ()) -> bool:
    """Checks a judgement and its saved adversarial images from disk. True where everything holds.

    Args:
        file: a `result.json`, or the folder it is in. devices: the first one is used.

    Raises:
        UserError: there is no such result, or what it was made from cannot be loaded.
    """
    folder = (file if file.is_dir() else file.parent).absolute()
    try:
        told = json.loads((folder / result.RESULT).read_text())
        fields = {name: told[name] for name in ("data", "threat", "accelerated")}
        version = told["version"].removesuffix(", accelerated")
        version = version if version in VERSIONS else version.split("+")
        judge = Judge.model_validate({**fields, "version": version, "images": told["images_wanted"]})
        joined = {stage: tuple(map(Path, paths)) for stage, paths in told["joined"].items() if paths}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: no result of a judgement ({type(error).__name__})") from None
    gone = [path for paths in joined.values() for path in paths if not path.is_file()]
    if gone:
        raise UserError(f"{file}: {gone[0]}, which was joined, is gone")
    from robustray.judging.case import Case
    from robustray.judging.verify import verify as look
    from robustray.subjects import classifier

    found = classifier.load(
        told["spec"], architecture=told["given_architecture"], data=judge.data, norm=judge.threat.norm
    )
    if found.weights != told["weights"]:
        write(f"{told['spec']} has other weights now: {found.weights[:12]}, not {told['weights'][:12]}")
        write("NOT verified")
        return False
    made: dict[str, Any] = {"shard_size": told["shard_size"], "files": joined}
    named = told["fingerprint"].get("model")
    plan = Plan.of(judge, found.weights, told["split"], model=named, **made)
    was, now = told["fingerprint"], json.loads(json.dumps(plan.parts))
    if other := sorted(key for key in {*was, *now} if was.get(key) != now.get(key)):
        raise UserError(f"{file}: was judged with other {', '.join(other)} than there are now")
    if not folder.name.endswith(fingerprint(now)):
        raise UserError(f"{folder}: the folder of a judgement must keep its name, which ends in {fingerprint(now)}")
    device = _devices(devices)[0]
    case = Case(found.model, found.weights, judge, told["split"], folder.parent, device=device, named=named, **made)
    seen, verdicts = look(case), Verdicts.read(folder, plan.stages[1:])
    write(f"{seen.images} adversarial images, largest {judge.threat.norm} perturbation {seen.largest:.6f}")
    for rows, what in (
        (seen.outside, "outside the threat or [0, 1]"),
        (seen.changed, "with another verdict now"),
        (seen.missing, "without a verdict, or broken without a saved image (judge with --save-adversarial)"),
        (seen.clean_changed, "whose clean verdict is another one now"),
    ):
        if rows:
            write(f"{len(rows)} images {what}: rows {', '.join(map(str, rows[:8]))}{' ...' if len(rows) > 8 else ''}")
    numbers = verdicts.clean_accuracy, verdicts.robust_accuracy
    agree = numbers == (told["clean_accuracy"], told["robust_accuracy"])
    if not agree:
        write(
            f"{result.RESULT} does not say what the verdicts add up to: clean {numbers[0]:.2%}, robust {numbers[1]:.2%}"
        )
    write("verified" if seen.sound and agree else "NOT verified")
    return seen.sound and agree
