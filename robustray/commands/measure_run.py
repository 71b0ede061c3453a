"""Measures a classifier, goes on where it was, and says what was found."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from robustray import subjects
from robustray.attacks.threats import Threat
from robustray.commands.judge_run import check_home, source
from robustray.commands.looked_at import device_of, looked_at, rows_of
from robustray.commands.measure_beside import Others, judged
from robustray.errors import UserError, nearest
from robustray.judging import identity
from robustray.judging.answers import Copies
from robustray.measures import intervals, taking
from robustray.measures.base import Ground, Measure, SplitName
from robustray.measures.metrics import figures
from robustray.measures.predictions import Predictions
from robustray.options.choose import several
from robustray.options.mistakes import mistakes
from robustray.options.yaml import dotted
from robustray.subjects import Classifier

RESULTS = Path("results/measures")
_UNFIXED = "that no seed fixes: what is measured cannot be repeated"


@dataclass(frozen=True)
class Asked:
    """The flags of the command. None: as the trial says, else the usual."""

    model: str
    measures: str
    data: str | None = None
    splits: str | None = None
    norm: str | None = None
    eps: str | None = None
    images: int | None = None
    device: str = "auto"
    architecture: str | None = None
    results: Path | None = None
    save_predictions: bool = False


def run(asked: Asked, write: Callable[[str], None]) -> list[dict[str, Any]]:
    """Takes measures of a classifier and returns their results, as each `result.json` holds them.

    Raises:
        UserError: a flag, the model or the data is wrong, or a measure does not fit them.
    """
    given = source(asked.data) if asked.data else None
    found = subjects.load(asked.model, architecture=asked.architecture, data=given, norm=asked.norm or "linf")
    wanted = _wanted(asked)  # now: a trial's folder brings the measures of its plugins
    data = given or (None if found.judge is None else found.judge.data)
    if data is None:
        raise UserError("--data is missing: which images to measure on, for example --data cifar10")
    splits = _splits(asked, found)
    threat = _threat(asked, found)
    device = device_of(asked.device)
    if found.judge is not None:
        for split in splits:
            check_home(asked.model, split)
    rows = {split: rows_of(found, data, split, asked.images, own_data=asked.data is None) for split in splits}
    classes, warnings, named = looked_at(found.name, found.model, data, splits[0], threat.norm, device, _UNFIXED)
    for warning in (*found.notes, *warnings):
        write(f"warning: {warning}")
    root = asked.results or (Path(asked.model) / "measures" if Path(asked.model).is_dir() else RESULTS / found.name)
    model, results = Copies(found.model).to(device).eval().requires_grad_(False), []
    other = Others(asked.architecture, given, threat.norm, device)
    grounds = list[Ground]()
    for split in splits:
        ground = Ground(model, data, split, rows[split], threat, classes, device, spec=asked.model, other=other)
        grounds.append(replace(ground, judged=partial(judged, ground, found, asked)))
    for each in wanted:  # all before the first is taken: that may be an hour
        for ground in grounds:
            each.check(ground)
    for each in wanted:
        here = [_taken(each, ground, found, named, root, write) for ground in grounds]
        results += here
        if len(here) == 2:
            write(_gap(each, here))
    return results


def _taken(
    measure: Measure,
    ground: Ground,
    found: Classifier,
    named: Any,
    root: Path,
    write: Callable[[str], None],
) -> dict[str, Any]:
    """One measure on one split: the result, as it is written and told."""
    more = dict[str, Any]()
    if found.trial is None and named is None and measure.needs_model:
        more["model"] = {"drawn": identity.drawn(found.model, found.name)}
    elif found.trial is None and measure.needs_model:
        before = (path.parent for path in root.glob(f"*/{taking.ABOUT}"))
        more["model"] = {"answers": identity.known(before, named, found.weights, "model", "answers", file=taking.ABOUT)}
    begun = time.perf_counter()
    with _bar(f"{measure.name}, {ground.split}") as tell:
        filed = taking.filed(measure, ground, root, name=found.name, weights=found.weights, more=more, tell=tell)
    write(_line(measure, filed.said, time.perf_counter() - begun))
    for note in filed.notes:
        write(f"  {note}")
    pictures = [filed.folder / f"{name}.png" for name in filed.result.pictures]
    write(f"  {', '.join(map(str, [filed.folder / taking.RESULT, *pictures]))}")
    return filed.said


def _line(measure: Measure, said: Mapping[str, Any], seconds: float) -> str:
    """`lipschitz  23.4 (21 to 25.8), median 20.1, largest 80.2; 500 test images, 12 s`."""
    printed = printer(measure)
    between = "" if said["low"] is None else f" ({printed(said['low'])} to {printed(said['high'])})"
    more = "".join(
        f", {name.replace('_', ' ')} {figures(value)}" for name, value in said["values"].items() if value is not None
    )
    took = f"{seconds:.0f} s" if seconds >= 1 else "at once"
    return f"{measure.name}  {printed(said['value'])}{between}{more}; {said['images']} {said['split']} images, {took}"


def printer(measure: Measure) -> Callable[[float | None], str]:
    """How values of a measure are written: percent of images, or three figures."""
    if measure.unit == "fraction":
        return lambda value: "not finite" if value is None else f"{value:.1%}"
    return lambda value: "not finite" if value is None else figures(value)


def _gap(measure: Measure, said: Sequence[Mapping[str, Any]]) -> str:
    """The first split's value less the second's, with Newcombe's interval where both have one."""
    a, b = said
    printed, names = printer(measure), f"{a['split']} minus {b['split']}"
    if a["value"] is None or b["value"] is None:
        return f"{measure.name}  gap, {names}: not finite"
    between = ""
    if a["low"] is not None and b["low"] is not None:
        low, high = intervals.apart(*((each["value"], each["low"], each["high"]) for each in (a, b)))
        between = f" ({printed(low)} to {printed(high)})"
    return f"{measure.name}  gap, {names}: {printed(a['value'] - b['value'])}{between}"


def _wanted(asked: Asked) -> list[Measure]:
    wanted = [part for part in several("measure", asked.measures, "--measures") if isinstance(part, Measure)]
    if asked.save_predictions and not any(isinstance(part, Predictions) for part in wanted):
        wanted.append(Predictions())
    if not wanted:
        raise UserError("--measures: which? For example lipschitz")
    return wanted


def _splits(asked: Asked, found: Classifier) -> list[SplitName]:
    text = asked.splits or ("validation" if found.judge else "test")
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in get_args(SplitName):
            raise UserError(f"--split: there is no split {name!r}; {nearest(name, get_args(SplitName))}")
    if len(names) not in (1, 2) or len(set(names)) != len(names):
        raise UserError(f"--split {text}: one of train, validation, test, or two of them")
    return names  # type: ignore[return-value]


def _threat(asked: Asked, found: Classifier) -> Threat:
    own = found.judge.threat if found.judge else None
    norm = asked.norm or (own.norm if own else "linf")
    eps = asked.eps if asked.eps is not None or own is None or norm != own.norm else own.eps
    if eps is None:
        raise UserError("--eps is missing: the radius in pixels of [0, 1], for example --threat linf --eps 8/255")
    try:
        return Threat.model_validate({"norm": norm, "eps": eps})
    except ValidationError as error:
        keys, what = next(iter(mistakes(error, Threat).items()))
        raise UserError(f"--{dotted(keys) or 'eps'}: {what}") from None


@contextmanager
def _bar(words: str) -> Iterator[Callable[[float], None]]:
    """A bar on standard error where that is a terminal, gone in the end; what it yields is told the share that is done."""
    console = Console(stderr=True)
    shown = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    task = shown.add_task(words, total=1.0)
    with shown:
        yield lambda share: shown.update(task, completed=share if math.isfinite(share) else 0)
