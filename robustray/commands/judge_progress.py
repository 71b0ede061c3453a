"""What a running judgement says: AutoAttack's log lines, and bars with the time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from robustray.attacks.threats import in_255ths
from robustray.files import from_json
from robustray.judging import chance, result, time_left
from robustray.judging.flags import MEANING
from robustray.judging.plan import CLAIMED, EARLY, JOINED, Plan
from robustray.verdicts import CLEAN, PARTS, Shard

_NAMES = {JOINED: "joined images", CLAIMED: "joined claims", EARLY: "early breaks", PARTS: "through its parts"}


class Log:
    """The lines of AutoAttack's log, which its users know how to read."""

    def __init__(self, plan: Plan, write: Callable[[str], None]) -> None:
        """Args: write: takes one line."""
        self.plan = plan
        self.write = write
        self.images = len(plan.rows)
        self.standing = float(self.images)
        self.done = dict.fromkeys(plan.stages, 0)
        self.seconds = 0.0
        self.largest = 0.0
        self.flags: set[str] = set()
        self.clean: list[Shard] = []

    def opening(self, data: str, threads: object | None = None) -> None:
        """Args: threads: how many, and why, where the CPU judges."""
        plan = self.plan
        shards = f"{plan.shards} shard{'s' if plan.shards > 1 else ''} of at most {plan.shard_size}"
        self.write(
            f"using {plan.version} version including {', '.join(plan.attacks)}: {plan.threat.norm}, eps "
            f"{in_255ths(plan.threat.eps)}, {self.images} images of {data} {plan.split} in {shards}"
            + (f"; each process with {threads}" if threads is not None else "")
        )

    def finished(self, shard: Shard) -> None:
        stage, once = shard.attack, self.plan.passes == 1
        self.done[stage] += 1
        self.seconds += float(shard.info["seconds"])
        if stage == CLEAN or once:
            self.standing -= len(shard.image) - float(shard.correct.sum())
        if stage == CLEAN:
            self.clean.append(shard)
        else:
            self.largest = max(self.largest, float(shard.info.get("largest", 0.0)))
        for flag in shard.info.get("flags", ()):
            self._warn(flag)
        if stage != CLEAN:
            self.write(
                f"{stage} - {shard.shard + 1}/{self.plan.shards} - {int(shard.broken.sum())} out of {len(shard.image)} "
                "successfully perturbed"
            )
        if self.done[stage] == self.plan.shards:
            accuracy = f"{self.standing / self.images:.2%}"
            if stage == CLEAN:
                self.write(f"initial accuracy: {accuracy}")
                for warning in chance.warnings(self.clean):
                    self.warn(warning)
            elif once:
                name = _NAMES.get(stage, stage.upper())
                self.write(f"robust accuracy after {name}: {accuracy} (total time {self.seconds:.1f} s)")

    def closing(self, written: Mapping[str, Any], folder: Path) -> None:
        for flag, what in written["flags"].items():
            self._warn(flag, what)
        self.write(f"max {self.plan.threat.norm} perturbation: {self.largest:.5f}")
        name = "AutoAttack" if written["autoattack"] else str(written["version"])
        shown = {key: [f"{100 * value:.1f}" for value in written[f"{key}_interval"]] for key in ("clean", "robust")}
        self.write(
            f"clean accuracy: {written['clean_accuracy']:.2%} [{', '.join(shown['clean'])}]   robust accuracy ({name}): "
            f"{written['robust_accuracy']:.2%} [{', '.join(shown['robust'])}]"
        )
        path = folder / result.RESULT
        kept = from_json(path.read_text(encoding="utf-8"))["version"]
        if kept != written["version"]:
            self.write(f"{path.name} keeps the result of {kept}, which begins with these attacks")
        self.write(str(path))

    def _warn(self, flag: str, what: str = "") -> None:
        if flag not in self.flags | result.answered(self.plan):
            self.flags.add(flag)
            self.warn(f"{flag.replace('_', ' ')}: {what or MEANING[flag]}")

    def warn(self, what: str) -> None:
        """What a reader should know of these numbers."""
        self.write(f"warning: {what}")


class Bars:
    """A bar for the earliest unfinished attack and one for everything, with the time left by the speed so far."""

    def __init__(self, shown: Progress, plan: Plan, workers: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Args: shown: where they are drawn. workers: shards at a time. clock: seconds that only grow."""
        self.shown = shown
        self.plan = plan
        self.clock = clock
        norm, power = plan.threat.norm, plan.strength
        work = {stage: time_left.work(stage, norm, power) for stage in plan.stages}
        self.pace = time_left.Clock(work, len(plan.rows), workers)
        self.width = max(map(len, plan.stages))  # so that bars stay where they are
        self.now: TaskID = shown.add_task(plan.stages[0].ljust(self.width), total=1.0, left="")
        self.all: TaskID = shown.add_task("all", total=1.0, left="")
        self.running: dict[tuple[str, int], tuple[float, float]] = {}  # how far, and when it was first heard of
        self.standing = [len(plan.shard(shard)) for shard in range(plan.shards)]
        self.through: dict[str, set[int]] = {stage: set() for stage in plan.stages}

    def tick(self, stage: str, shard: int, fraction: float) -> None:
        if shard in self.through[stage]:  # news of a process may come after its verdicts
            return
        _, begun = self.running.get((stage, shard), (0.0, self.clock()))
        self.running[stage, shard] = fraction, begun
        self._draw()

    def finished(self, shard: Shard) -> None:
        self.running.pop((shard.attack, shard.shard), None)
        broken = int(shard.broken.sum())
        self.standing[shard.shard] = len(shard.image) - broken
        self.pace.finished(shard.attack, len(shard.image), broken, float(shard.info["seconds"]))
        self.through[shard.attack].add(shard.shard)
        self._draw()

    def _draw(self) -> None:
        stage = next((s for s in self.plan.stages if len(self.through[s]) < self.plan.shards), self.plan.stages[-1])
        part: dict[str, float] = {}  # images' worth of work in unfinished shards
        for (name, shard), (fraction, _) in self.running.items():
            part[name] = part.get(name, 0.0) + fraction * self.standing[shard]
        now = self.clock()
        left = self.pace.seconds_left(part, sum(now - begun for _, begun in self.running.values()))
        inside = sum(fraction for (name, _), (fraction, _) in self.running.items() if name == stage)
        self.shown.update(
            self.now,
            description=stage.ljust(self.width),
            completed=(len(self.through[stage]) + inside) / self.plan.shards,
            left=_left(None if left is None else left * self.pace.share(stage, part)),
        )
        self.shown.update(self.all, completed=self.pace.done(part), left=_left(left))


def _left(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"about {hours}:{minutes:02d}:{rest:02d} left" if hours else f"about {minutes}:{rest:02d} left"


@contextmanager
def bars(plan: Plan, workers: int, log: Log) -> Iterator[Bars]:
    """Bars on standard error where that is a terminal, with the log's lines above them; gone in the end."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(bar_width=28), TextColumn("{task.percentage:>3.0f} %")
    shown = Progress(
        *columns,
        TextColumn("{task.fields[left]}"),
        console=console,
        disable=not console.is_terminal,
        transient=True,
        redirect_stdout=False,  # a log that goes to a file stays there
    )
    write = log.write
    try:
        with shown:
            if console.is_terminal and sys.stdout.isatty():
                log.write = partial(console.print, markup=False, highlight=False, soft_wrap=True)
            yield Bars(shown, plan, workers)
    finally:
        log.write = write
