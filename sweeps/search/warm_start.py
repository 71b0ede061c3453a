"""Takes in what other sweeps know: their trials, where they would be the same trainings here and were measured the same way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from robustray.errors import UserError
from robustray.measures.metrics import METRICS
from sweeps.frontier import mean
from sweeps.record import Record, Snapshot, TrialRecord, journal, provenance
from sweeps.record.imported import NAME, Imported, keep, of
from sweeps.record.known import Known, known
from sweeps.search.field import Curve
from sweeps.space import Sweep
from sweeps.space.distributions import Parameter
from sweeps.space.space import changes
from sweeps.standing import SELECTION, flagged, settings

_APART = {"judge", "plugins", "seed"}
"""What two trainings may differ in and still be of one setting; judges are compared by themselves."""


def found(sweep: Sweep, say: Callable[[str], None]) -> list[Imported]:
    """What comes in from the folders of `search.warm_start`, in their order.

    Args:
        say: is told of each folder in a line: how many of its settings come in, and why the others do not.

    Raises:
        UserError: a folder holds no sweep; or nothing of all of them comes in.
    """
    taken: list[Imported] = []
    why: Counter[str] = Counter()
    for index, folder in enumerate(sweep.search.warm_start):
        try:
            here, left_out = _of_folder(sweep, folder)
        except UserError as error:  # what it says of mending is for who runs that sweep
            told = str(error).partition("; put it back, or --fresh")[0]
            raise UserError(f"search.warm_start.{index}: {told}; name another folder, or mend that one") from None
        total = len(here) + left_out.total()
        reasons = "; ".join(f"{count} left out: {reason}" for reason, count in left_out.most_common(3))
        rest = left_out.total() - sum(count for _, count in left_out.most_common(3))
        more = f"; {rest} more for other reasons" if rest else ""
        why_not = f" ({reasons}{more})" if reasons else ""
        say(f"warm start: {len(here)} of {total} settings imported from {folder}{why_not}")
        taken += here
        why += left_out
    if sweep.search.warm_start and not taken:
        reason = why.most_common(1)[0][0] if why else "there are no trials"
        raise UserError(f"search.warm_start: nothing of {', '.join(sweep.search.warm_start)} fits this sweep: {reason}")
    return taken


def take_in(sweep: Sweep, record: Record, ready: Sequence[Imported] | None, say: Callable[[str], None]) -> None:
    """Writes down what comes in, as the sweep begins. What was written down stays, and the folders are not read again.

    Args:
        ready: what was `found`; None to look now, where a driver ended before it had written it down.
    """
    if sweep.search.warm_start and record.setting(NAME) is None and not record.trials():
        keep(record, found(sweep, say) if ready is None else ready)


def curves(record: Record, epochs: int) -> list[Curve]:
    """What came in, as a policy sees it: complete trials without rungs. Their numbers are below 0, as no trial's here are.

    Args:
        epochs: of a whole training.
    """
    return [
        Curve(-1 - index, each.params, "complete", epochs, final=each.values) for index, each in enumerate(of(record))
    ]


def _of_folder(sweep: Sweep, folder: str) -> tuple[list[Imported], Counter[str]]:
    """What of one folder comes in, and of the other settings the reasons."""
    place = Path(folder)
    other, snapshot = provenance.sweep_in(place), journal.read(place)
    trials = [trial for trial in snapshot.trials if trial.origin in ("sampled", "replicate", "retry")]
    groups = list(settings(trials).values())
    apart = _apart(sweep, other, snapshot, place)
    if apart is not None:
        return [], Counter({apart: len(groups)} if groups else {})
    taken: list[Imported] = []
    left_out: Counter[str] = Counter()
    judges_agree = _judging(sweep) == _judging(other)
    outside = flagged(snapshot)
    for group in groups:
        try:
            whole = [trial for trial in group if trial.outcome == "complete"]
            if not whole:
                raise _LeftOut("did not complete")
            if any(trial.number in outside for trial in whole):
                raise _LeftOut("its judged numbers cannot be trusted")
            params = _params(sweep, other, whole[0])
            values, source = _values(sweep, snapshot, whole, judged=judges_agree)
        except _LeftOut as reason:
            left_out[str(reason)] += 1
            continue
        first = whole[0]
        taken.append(Imported(folder, first.number, other.space_hash, first.weights, params, values, source))
    return taken, left_out


class _LeftOut(Exception):
    """Why a setting does not come in."""


def _apart(sweep: Sweep, other: Sweep, snapshot: Snapshot, folder: Path) -> str | None:
    """What keeps all trials of another sweep out."""
    if snapshot.objectives != sweep.objectives:
        return f"its objectives are {_shown(snapshot.objectives)}"
    if provenance.images_of(folder) != provenance.images(sweep):
        return "its images are others"
    for key in ("threat", "cheap"):
        lines = changes(_dumped(other.judge, key), _dumped(sweep.judge, key), ("judge", key))
        if lines:
            return f"another {'threat' if key == 'threat' else 'cheap attack'}, {lines[0]}"
    if other.judge.images.validation != sweep.judge.images.validation:
        return "its trials are measured on other images of validation (judge.images.validation)"
    return None


def _shown(objectives: Mapping[str, str]) -> str:
    """Objectives in words: `clean_accuracy max, robust_accuracy max`."""
    return ", ".join(f"{name} {mode}" for name, mode in objectives.items())


def _judging(sweep: Sweep) -> tuple[object, ...]:
    """What judged numbers depend on, besides what is compared for all."""
    return sweep.judge.attacks, sweep.judge.accelerated


def _dumped(part: Any, key: str) -> Any:
    return getattr(part, key).model_dump(mode="json")


def _params(sweep: Sweep, other: Sweep, trial: TrialRecord) -> dict[str, object]:
    """The values of the options that are searched here, where the trial would be the same training."""

    def suggest(parameter: Parameter) -> object:
        if parameter.name not in trial.params:
            raise _LeftOut(f"{parameter.name} was not searched there")
        try:
            return parameter.distribution.checked(trial.params[parameter.name])
        except ValueError as error:
            raise _LeftOut(f"{parameter.name} {str(error).partition(', not ')[0]}") from None

    params = sweep.ask(suggest)
    try:
        both = other.trial_config(trial.params), sweep.trial_config(params)
    except UserError as error:
        raise _LeftOut(f"makes no trial: {error}") from None
    then, now = (each.resolved().model_dump(mode="json", exclude=_APART) for each in both)
    if lines := changes(then, now, ("trial",)):
        raise _LeftOut(f"another training, {lines[0]}")
    return params


def _values(
    sweep: Sweep, snapshot: Snapshot, trials: Sequence[TrialRecord], *, judged: bool
) -> tuple[Mapping[str, float], Any]:
    """What is known best of a setting's trials, in the mean; by the cheap attack where the judges do not agree."""
    every = [_known(snapshot, trial) if judged else known(trial, None) for trial in trials]
    names = [name for name in every[0].values if all(name in each.values for each in every)]
    needed = [*sweep.objectives, *sweep.constraints]
    missing = [name for name in needed if name not in names]
    if missing:
        raise _LeftOut(f"no {missing[0]} is known")
    values = mean([each.values for each in every], {name: "max" for name in names if name in METRICS or name in needed})
    sources = {each.source for each in every}
    return values, next(source for source in ("cheap", "bound", "judged") if source in sources)


def _known(snapshot: Snapshot, trial: TrialRecord) -> Known:
    number = trial.number
    judged, skipped = snapshot.judged.get((number, SELECTION)), snapshot.skipped.get(number)
    return known(trial, judged, skipped, snapshot.reached.get(number))
