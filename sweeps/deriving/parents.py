"""Which trials a request's points are made of: a pure function of the record."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from robustray.derived.base import Maker
from robustray.errors import UserError
from robustray.measures.metrics import ACCURACIES
from robustray.trial import TrialConfig
from sweeps.frontier import Values, non_dominated
from sweeps.record import Snapshot, TrialRecord
from sweeps.standing import SELECTION, eligible, frontier, known, trained

_TRIAL = re.compile(r"(\d+)(?:@(\d+))?")
CLEANEST, MOST_ROBUST = "cleanest", "most_robust"


@dataclass(frozen=True)
class Group:
    """What a number of points are made of."""

    specs: tuple[str, ...]  # as seen from a point's folder
    numbers: tuple[int, ...]  # those among them that are trials of this sweep


@dataclass(frozen=True)
class Standing:
    """The trained frontier, as the parents are chosen from it.

    Attributes:
        front: a trial of each setting on it, those more accurate on clean images first, with what is known of them.
        complete: all trained trials that completed, by number.
    """

    front: Mapping[int, Values]
    complete: Mapping[int, TrialRecord]

    @classmethod
    def of(cls, snapshot: Snapshot) -> Standing:
        """By what the judge said of the selection set; where nothing is judged, by the cheap attack."""
        own = trained(snapshot)
        complete = {trial.number: trial for trial in own.trials if trial.outcome == "complete"}
        found: dict[int, Values] = {}
        for setting, standing in frontier(own).items():
            trial = next(
                each for each in own.trials if each.setting == setting and (each.number, SELECTION) in own.judged
            )
            judged = own.judged[trial.number, SELECTION]  # accuracies that are no objective order them all the same
            found[trial.number] = {**known(trial, judged).values, **standing.values}
        if not found and not own.judged:
            cheap = {trial.number: known(trial, None).values for trial in eligible(own)}
            found = {number: cheap[number] for number in non_dominated(cheap, own.objectives)}
        order = sorted(found, key=lambda number: (-found[number][ACCURACIES[0]], found[number][ACCURACIES[1]], number))
        return cls({number: found[number] for number in order}, complete)


def groups(maker: Maker, standing: Standing, config: Callable[[int], TrialConfig], folder: Path) -> list[Group]:
    """The groups of parents that a request means.

    Args:
        config: what a trial trained. folder: of the sweep, where snapshots lie.

    Raises:
        UserError: the frontier has too few trials for it, or it names what is not there.
    """
    if maker.parents == "neighbours":
        pairs = list(pairwise(standing.front))
        if not pairs:
            raise UserError(
                f"derive: {maker.name}: the trained frontier has {len(standing.front)} settings, so there are no neighbours"
            )
        if maker.alike:
            alike = [(a, b) for a, b in pairs if _network(config(a)) == _network(config(b))]
            if not alike:
                raise UserError(f"derive: {maker.name}: no neighbours on the frontier have the same architecture")
            pairs = alike
        return [Group(tuple(map(_trial, pair)), pair) for pair in pairs]
    found = [_parent(word, maker, standing, folder) for word in maker.parents]
    specs = tuple(spec for spec, _ in found)
    if len(set(specs)) < len(specs):
        raise UserError(
            f"derive: {maker.name}: {' and '.join(maker.parents)} are one model, so there is nothing between them"
        )
    return [Group(specs, tuple(number for _, number in found if number is not None))]


def _network(config: TrialConfig) -> object:
    """What tells architectures apart; of a training script the function that makes its network."""
    return config.model if config.script is None else config.script.model


def _parent(word: str, maker: Maker, standing: Standing, folder: Path) -> tuple[str, int | None]:
    if word in (CLEANEST, MOST_ROBUST):
        name = ACCURACIES[word == MOST_ROBUST]
        if not standing.front:
            raise UserError(f"derive: {maker.name}: there is no {word}, since the trained frontier is empty")
        best = max(standing.front, key=lambda number: (standing.front[number][name], -number))
        return _trial(best), best
    named = _TRIAL.fullmatch(word)
    if named is None:
        return word if word.startswith("zoo:") else _absolute(word), None
    number = int(named[1])
    if number not in standing.complete:
        raise UserError(f"derive: {maker.name}: trial {number:04d} is none that was trained to its end here")
    if named[2] is None:
        return _trial(number), number
    snapshot = f"epoch-{int(named[2]):04d}.pt"
    if not (folder / "trials" / f"{number:04d}" / snapshot).is_file():
        raise UserError(
            f"derive: {maker.name}: trial {number:04d} kept no snapshot after epoch {named[2]}; checkpoints.every keeps some"
        )
    return f"{_trial(number)}/{snapshot}", number


def _trial(number: int) -> str:
    return f"../{number:04d}"


def _absolute(word: str) -> str:
    """A path as every worker understands it; `package.module:function` stays."""
    where, colon, name = word.rpartition(":")
    if colon and not where.endswith(".py"):
        return word
    return f"{Path(where if colon else word).absolute()}{colon}{name if colon else ''}"


def check(makers: Sequence[Maker]) -> None:
    """What of requests can be seen before anything is trained.

    Raises:
        UserError: a parent's file is not there, or there are too few or too many parents.
    """
    for maker in makers:
        count = 2 if maker.parents == "neighbours" else len(maker.parents)
        most = maker.most
        if count < maker.least or (most is not None and count > most):
            wanted = f"{maker.least}" if most == maker.least else f"at least {maker.least}"
            raise UserError(f"derive: {maker.name}: takes {wanted} parents, not {count}")
        maker.numbers(count)
        for word in () if maker.parents == "neighbours" else maker.parents:
            if word in (CLEANEST, MOST_ROBUST) or _TRIAL.fullmatch(word) or word.startswith("zoo:"):
                continue
            where = word.rpartition(":")[0] if ".py:" in word else word
            if ":" not in where and not Path(where).exists():
                raise UserError(
                    f"derive: {maker.name}: {word}: no such file or folder; a parent is {CLEANEST}, {MOST_ROBUST}, a trial's "
                    "number, NUMBER@EPOCH, a checkpoint, zoo:NAME or file.py:function"
                )
