"""`python -m robustray judge`: judges any classifier, goes on where it was, and says how far it is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from robustray._choose import choose
from robustray._plain import mistakes
from robustray._yaml import dotted
from robustray.data.base import DataSource
from robustray.errors import UserError
from robustray.evaluation import estimate, result
from robustray.evaluation.plan import CLAIMED, EARLY, JOINED, Plan
from robustray.trial import Judge
from robustray.verdicts import CLEAN, Shard

if TYPE_CHECKING:
    from robustray.evaluation._case import Case
    from robustray.evaluation._classifier import Classifier
    from robustray.evaluation._workers import Order

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
    from robustray.evaluation import _classifier

    data = _source(asked.data) if asked.data else None
    norm = asked.norm or "linf"
    found = _classifier.load(asked.model, architecture=asked.architecture, data=data, norm=norm)
    asked = replace(asked, split=asked.split or ("validation" if found.trial else "test"))
    settings = _settings(asked, data, found)
    _check_home(asked)
    case, order, devices = _open(asked, settings, found)
    model = result.Model(found.name, asked.model, found.architecture, found.weights, asked.architecture)
    begun = _Log(case.plan, write)
    begun.opening(settings)
    _run(case, order, devices, begun)
    written = result.write(case.folder, model, settings, case.plan)
    begun.closing(written, case.folder)
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
    if asked.eps is not None or asked.norm is not None:
        threat = {"norm": asked.norm or options.get("threat", {}).get("norm", "linf"), "eps": asked.eps}
        options["threat"] = {name: value for name, value in threat.items() if value is not None}
    if "threat" not in options:
        raise UserError("--eps is missing: the radius in pixels of [0, 1], for example --threat linf --eps 8/255")
    if asked.version is not None:
        names = asked.version.split("+") if "+" in asked.version else asked.version
        options["version"] = names if isinstance(names, list) or names in _NAMES else [names]
    if asked.images is not None:
        options["images"] = {**options.get("images", {}), str(asked.split): asked.images}
    options["accelerated"] = asked.accelerated or options.get("accelerated", False)
    try:
        return Judge.model_validate(options)
    except ValidationError as error:
        keys, what = next(iter(mistakes(error, Judge).items()))
        raise UserError(f"--{_FLAG.get(dotted(keys), dotted(keys))}: {what}") from None


_NAMES = ("standard", "plus", "rand", "apgd")
_FLAG = {"threat.eps": "eps", "threat.norm": "threat", "images.validation": "images", "images.test": "images"}


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
    from robustray.evaluation import _shards
    from robustray.evaluation._case import Case
    from robustray.evaluation._judge import answers_hash
    from robustray.evaluation._workers import Order

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
        size = _shards.recorded(root, draft) or 0
    if not size:
        from robustray.training._trainer import pick_device

        place = pick_device(devices[0])
        share = sum(device == devices[0] for device in devices)
        size = _shards.size(found.model.to(place), images, place, share)
    case = Case(found.model, found.weights, settings, asked.split, root, shard_size=size, **common)
    order = Order(asked.model, asked.architecture, settings, asked.split, root, size, named, files, asked.keep_images)
    return case, order, devices


def _first_images(settings: Judge, split: Literal["validation", "test"]) -> Any:
    import numpy as np
    import torch

    from robustray.data._device import DeviceImages

    first = settings.data.load(split).take(np.arange(8).clip(max=len(settings.data.load(split)) - 1))
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
    import psutil
    import torch

    from robustray.training._trainer import pick_device

    names = [name.strip() for text in asked for name in text.split(",") if name.strip()]
    if names and names != ["auto"]:
        return [str(pick_device(name)) for name in names]
    if torch.cuda.is_available():
        return [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return ["cpu"] * (len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else 1)


def _run(case: Case, order: Order, devices: list[str], log: _Log) -> None:
    from robustray.evaluation import _workers

    console = Console(stderr=True)
    shown = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    with shown:
        bars = _Bars(shown, case.plan, min(len(devices), case.plan.shards))
        for shard in _workers.run(case, order, devices, bars.tick):
            if console.is_terminal:
                log.through = shown.console.print
            log.finished(shard)
            bars.finished(shard)


class _Bars:
    """A bar for the running attack and one for everything, with the time left by the speed so far."""

    def __init__(self, shown: Progress, plan: Plan, workers: int) -> None:
        self.shown = shown
        self.plan = plan
        norm, power = plan.threat.norm, plan.strength
        self.clock = estimate.Clock({s: estimate.work(s, norm, power) for s in plan.stages}, len(plan.rows), workers)
        self.now: TaskID = shown.add_task(plan.stages[0], total=1.0, left="")
        self.all: TaskID = shown.add_task("all", total=1.0, left="")
        self.running: dict[tuple[str, int], float] = {}
        self.begun: dict[tuple[str, int], float] = {}
        self.standing = {shard: len(plan.shard(shard)) for shard in range(plan.shards)}
        self.through = dict.fromkeys(plan.stages, 0)

    def tick(self, stage: str, shard: int, fraction: float) -> None:
        self.begun.setdefault((stage, shard), time.monotonic())
        self.running[stage, shard] = fraction
        self._draw(stage)

    def finished(self, shard: Shard) -> None:
        key = shard.attack, shard.shard
        self.running.pop(key, None)
        self.begun.pop(key, None)
        size = len(self.plan.shard(shard.shard))
        broken = int(shard.broken.sum())
        self.standing[shard.shard] = len(shard.image) - broken
        self.clock.finished(shard.attack, len(shard.image), broken, float(shard.info["seconds"]), size)
        self.through[shard.attack] += 1
        self._draw(shard.attack)

    def _draw(self, stage: str) -> None:
        part: dict[str, float] = {}
        for (name, shard), fraction in self.running.items():
            part[name] = part.get(name, 0.0) + fraction * self.standing[shard]
        elapsed = sum(time.monotonic() - begun for begun in self.begun.values())
        left = self.clock.seconds_left(part, elapsed)
        inside = sum(fraction for (name, _), fraction in self.running.items() if name == stage)
        done = (self.through[stage] + inside) / self.plan.shards
        todo = sum(self.clock.left[name] * cost for name, cost in self.clock.stages.items())
        now = sum(amount * self.clock.stages[name] for name, amount in part.items())
        total = self.clock.done_work + todo
        share = self.clock.stages[stage] * (self.clock.left[stage] - part.get(stage, 0.0))
        here = left * share / (todo - now) if left is not None and todo > now else None
        self.shown.update(self.now, description=stage, completed=done, left=_left(here))
        self.shown.update(self.all, completed=(self.clock.done_work + now) / total if total else 1.0, left=_left(left))


def _left(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
    return f"at most {text} left"


class _Log:
    """The lines of AutoAttack's log, which its users know how to read."""

    def __init__(self, plan: Plan, write: Callable[[str], None]) -> None:
        self.plan = plan
        self.through = write
        self.images = len(plan.rows)
        self.standing = float(self.images)
        self.done = dict.fromkeys(plan.stages, 0)
        self.seconds = 0.0
        self.largest = 0.0
        self.flags: set[str] = set()

    def opening(self, settings: Judge) -> None:
        plan = self.plan
        self.through(
            f"using {plan.version} version including {', '.join(plan.attacks)}: {plan.threat.norm}, eps "
            f"{result.in_255ths(plan.threat.eps)}, {self.images} images of {settings.data.name} {plan.split} in "
            f"{plan.shards} shard{'s' if plan.shards > 1 else ''} of at most {plan.shard_size}"
        )

    def finished(self, shard: Shard) -> None:
        stage = shard.attack
        self.done[stage] += 1
        self.seconds += float(shard.info["seconds"])
        self.standing -= (
            len(shard.image) - float(shard.correct.sum()) if stage == CLEAN or self.plan.passes == 1 else 0.0
        )
        self.largest = max(self.largest, float(shard.info.get("largest", 0.0)) if stage != CLEAN else 0.0)
        for flag in shard.info.get("flags", ()):
            self._warn(flag)
        if stage != CLEAN:
            self.through(
                f"{stage} - {shard.shard + 1}/{self.plan.shards} - {int(shard.broken.sum())} out of {len(shard.image)} "
                "successfully perturbed"
            )
        if self.done[stage] == self.plan.shards:
            accuracy = f"{self.standing / self.images:.2%}"
            if stage == CLEAN:
                self.through(f"initial accuracy: {accuracy}")
            elif self.plan.passes == 1:
                name = {JOINED: "joined images", CLAIMED: "joined claims", EARLY: "early breaks"}.get(
                    stage, stage.upper()
                )
                self.through(f"robust accuracy after {name}: {accuracy} (total time {self.seconds:.1f} s)")

    def _warn(self, flag: str) -> None:
        from robustray.evaluation.flags import MEANING

        if flag not in self.flags:
            self.flags.add(flag)
            self.through(f"warning: {flag.replace('_', ' ')}: {MEANING[flag]}")

    def closing(self, written: Mapping[str, Any], folder: Path) -> None:
        for flag in written["flags"]:
            self._warn(flag)
        self.through(f"max {self.plan.threat.norm} perturbation: {self.largest:.5f}")
        name = "AutoAttack" if written["autoattack"] else str(written["version"])
        shown = {key: [f"{100 * value:.1f}" for value in written[f"{key}_interval"]] for key in ("clean", "robust")}
        self.through(
            f"clean accuracy: {written['clean_accuracy']:.2%} [{', '.join(shown['clean'])}]   robust accuracy ({name}): "
            f"{written['robust_accuracy']:.2%} [{', '.join(shown['robust'])}]"
        )
        self.through(str(folder / result.RESULT))


def verify(file: Path, write: Callable[[str], None], *, device: str = "auto") -> bool:
    """Checks the saved adversarial images of a judgement from disk. True where every one holds.

    Args:
        file: a `result.json`, or the folder it is in.

    Raises:
        UserError: there is no such result, or its model cannot be loaded as it was.
    """
    folder = file if file.is_dir() else file.parent
    try:
        told = json.loads((folder / result.RESULT).read_text())
        fields = {name: told[name] for name in ("data", "threat", "accelerated")}
        judge = Judge.model_validate(
            {**fields, "version": _version(told["version"], told["fingerprint"]), "images": told["images_wanted"]}
        )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{file}: no result of a judgement ({type(error).__name__})") from None
    from robustray.evaluation import _classifier
    from robustray.evaluation._case import Case
    from robustray.evaluation._verify import verify as look

    found = _classifier.load(
        told["spec"], architecture=told["given_architecture"], data=judge.data, norm=judge.threat.norm
    )
    if found.weights != told["weights"]:
        raise UserError(
            f"{file}: {told['spec']} has other weights now ({found.weights[:12]}, not {told['weights'][:12]})"
        )
    case = Case(
        found.model,
        found.weights,
        judge,
        told["split"],
        folder.parent,
        shard_size=told["shard_size"],
        device=device,
        named=told["fingerprint"].get("model"),
        files={stage: tuple(map(Path, paths)) for stage, paths in told["joined"].items() if paths},
    )
    if case.folder.absolute() != folder.absolute():
        raise UserError(f"{file}: data, packages or joined files are not what they were when this was judged")
    seen = look(case)
    write(f"{seen.images} adversarial images, largest {judge.threat.norm} perturbation {seen.largest:.6f}")
    for rows, what in (
        (seen.outside, "outside the threat or [0, 1]"),
        (seen.changed, "with another verdict now"),
        (seen.missing, "broken, but without a saved image (judge with --save-adversarial)"),
        (seen.clean_changed, "whose clean verdict is another one now"),
    ):
        if rows:
            write(f"{len(rows)} images {what}: rows {', '.join(map(str, rows[:8]))}{' ...' if len(rows) > 8 else ''}")
    write("verified" if seen.sound else "NOT verified")
    return seen.sound


def _version(version: str, fingerprint: Mapping[str, Any]) -> Any:
    name = version.removesuffix(", accelerated")
    return name if name in _NAMES else name.split("+")
