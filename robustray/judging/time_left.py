"""How much work is left: AutoAttack's forward passes per image, and the time they will take at the speed seen so far."""

from __future__ import annotations

from collections.abc import Mapping

_CALLS: Mapping[str, int] = {"apgd-ce": 102, "apgd-dlr": 102, "apgd-t": 919, "fab": 203, "fab-t": 1828, "square": 5003}
_CALLS_L1: Mapping[str, int] = {"apgd-ce": 516, "apgd-dlr": 516, "apgd-t": 521}
_CALLS_PLUS: Mapping[str, int] = {"apgd-ce": 506, "apgd-dlr": 506, "fab": 1011}
_CALLS_RAND = 2021
_PARTS = ("apgd-ce", "apgd-t")  # what the stage `parts` runs on each
_WEIGHT: Mapping[str, float] = {"square": 0.6, "fab": 1.45, "fab-t": 1.45}
"""Cost of one call, a forward pass without gradient being about 0.6; the rest take an input gradient with each."""
_APGD = 2.2
_LITTLE = 5.0
_SOON = 3.0  # seconds of attack before its speed is worth extrapolating


def forwards(attack: str, norm: str, strength: str) -> int:
    """How often an attack calls the model on a batch it does not break (ten classes or more; counted, not published)."""
    if attack == "parts":
        return sum(forwards(each, norm, strength) for each in _PARTS)
    if strength == "rand":
        return _CALLS_RAND
    special = _CALLS_PLUS if strength == "plus" else _CALLS_L1 if norm == "l1" else {}
    return {**_CALLS, **special}.get(attack, 1)


def work(stage: str, norm: str, strength: str) -> float:
    """Cost of a stage per image, in arbitrary units that can be compared between stages."""
    if stage not in _CALLS and stage != "parts":
        return _LITTLE
    return forwards(stage, norm, strength) * _WEIGHT.get(stage, _APGD)


class Clock:
    """Time left, from the work done so far. A stage is thought to break nothing that is not broken yet: an upper bound."""

    def __init__(self, stages: Mapping[str, float], images: int, workers: int = 1) -> None:
        """Args: stages: work per image of every stage, in order. images: on the list. workers: shards at a time."""
        self.stages = dict(stages)
        self.workers = workers
        self.done_work = 0.0
        self.done_seconds = 0.0
        self.left = {stage: float(images) for stage in stages}  # images each stage still has to look at

    def finished(self, stage: str, images: int, broken: int, seconds: float) -> None:
        """A stage is through a shard: it looked at `images`, which is all that earlier stages left, and broke `broken`."""
        self.left[stage] -= images
        if seconds > 0 and images:
            self.done_work += images * self.stages[stage]
            self.done_seconds += seconds
        for name in list(self.stages)[list(self.stages).index(stage) + 1 :]:
            self.left[name] -= broken

    def seconds_left(self, running: Mapping[str, float] | None = None, elapsed: float = 0.0) -> float | None:
        """Seconds until the end; None before there is anything to go by.

        Args:
            running: by stage, images' worth of work done in unfinished shards. elapsed: device seconds they took.
        """
        part = self._work(running or {})
        work_done, seconds = self.done_work + part, self.done_seconds + elapsed
        if seconds < _SOON or work_done <= 0:
            return None
        return max(0.0, self._todo - part) * seconds / work_done / self.workers

    def share(self, stage: str, running: Mapping[str, float]) -> float:
        """The fraction of the work left that is one stage's."""
        todo = self._todo - self._work(running)
        return (self.left[stage] - running.get(stage, 0.0)) * self.stages[stage] / todo if todo > 0 else 0.0

    def done(self, running: Mapping[str, float]) -> float:
        """The fraction of all work that is done, 0 to 1."""
        part = self._work(running)
        return (self.done_work + part) / (self.done_work + self._todo) if self.done_work + self._todo > 0 else 1.0

    @property
    def _todo(self) -> float:
        return self._work(self.left)

    def _work(self, images: Mapping[str, float]) -> float:
        return sum(count * self.stages[stage] for stage, count in images.items())
