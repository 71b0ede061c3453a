"""What a sweep would do and cost, without doing it: the options it searches, its first trials, hours and disk.

A few steps of some sampled trials are trained, and a few iterations of each attack run, in folders that are thrown away.
Where a part of it is done already, that is said, and what is left is estimated. Nothing is written where results lie.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from robustray import plain
from robustray.attacks.versions import strength
from robustray.errors import UserError
from robustray.trial import TrialConfig
from sweeps import begun, driver
from sweeps.begun import Begun
from sweeps.deriving import ahead
from sweeps.record import provenance
from sweeps.running import packing
from sweeps.running.packing import Machine, Share
from sweeps.running.queues import Job
from sweeps.running.worker import open_task
from sweeps.search import warm_start
from sweeps.search.budget import HOUR, figures, paid
from sweeps.search.looks import Looks
from sweeps.search.reserve import test_images
from sweeps.space import Sweep, durations, templates
from sweeps.space.distributions import UNKNOWN

if TYPE_CHECKING:
    from robustray.training.cost import TrialCost

SHOWN = 5  # sampled trials that are listed
PROBED = 3  # of them, that are timed
BATCH = 250  # images an attack is timed on
SURE = 0.25  # a few timed steps are no better than this
STANDING = (0.3, 0.5, 0.7)
"""Shares of images that APGD leaves: few, about what is usual, many. The later attacks run on these."""
ON_FRONTIER = (0.15, 0.33, 0.6)
"""Shares of trials that are judged in full, the rest by APGD alone. 7 of 24 were in the sweep that is shipped."""
Interval = tuple[float, float, float]


@dataclass(frozen=True)
class Cost:
    """Device-seconds: low, expected, high; and bytes."""

    training: Interval
    judging: Interval
    disk: int
    probed: int
    points: Interval = (0.0, 0.0, 0.0)  # judging derived points

    @property
    def total(self) -> Interval:
        low, middle, high = (sum(parts) for parts in zip(self.training, self.judging, self.points, strict=True))
        return low, middle, high


def show(sweep: Sweep, write: Callable[[str], None], *, slots: int | None = None, folder: Path | None = None) -> None:
    """Checks everything that can be checked before a sweep, and says what it would be.

    Args:
        slots: how many jobs run at a time; this machine's when None.
        folder: the sweep's, which may hold a part of it already; None for one that begins anew.

    Raises:
        UserError: the data is missing or does not fit; a sampled trial cannot be trained; the folder holds another sweep.
    """
    sweep, asked = sweep.settled() if folder is None else provenance.settled(sweep, folder, fresh=False), sweep
    for warning in driver.look_ahead(sweep):
        write(f"warning: {warning}")
    if told := asked.stops_as(sweep):
        write(told)
    before = folder if folder is not None and begun.check(sweep, folder) else None
    if before is None:
        warm_start.found(sweep, write)
    state, known = _following(sweep, SHOWN, before)
    _options(sweep, write)
    if not state.left:
        write("")
        write(f"{_amount(sweep, state)}.")
        write("What is not judged, derived or measured of them yet would be; nothing was started, nothing was written.")
        return
    first = "The first trials:" if sweep.stopping.pauses else f"The first of {sweep.wanted} trials:"
    _trials(known, write, "The next trials:" if before else first)
    trials = list(known.values())
    if any(config.script for _, config in trials):
        for _, config in trials:
            config.network()
        write("What a training script takes is known once it has run; nothing was started, nothing was written.")
        return
    write("timing a few steps ...")
    machine = _machine()
    share = _share(sweep, trials[0][1], machine)
    cost = estimate(sweep, [config for _, config in trials][:PROBED], threads=share.threads, state=state)
    places = slots or max(1, share.jobs_on(machine.cores, machine.gpus))
    each = f", {share.processes} processes each" if share.processes > 1 else ""
    each += f", {share.threads} threads each" if share.threads > 1 else ""
    write(f"{_amount(sweep, state)}, {_judged(sweep)}; {places} at a time on this machine{each}")
    if sweep.fidelity is not None:
        write(f"  looks      {_looks(sweep, [config for _, config in trials])}")
    write(f"  training   {_device_time(cost.training)}")
    write(f"  judging    {_device_time(cost.judging)}" if any(cost.judging) else "  judging    none")
    if sweep.derive:
        write(f"  points     {_points(sweep, cost)}")
    if any(cost.judging) and (test := test_images(sweep.judge))[1]:
        guess = f"{test[0]} images, which is a guess: {sweep.judge.data.name} does not tell before test is read"
        write(f"  test       taken to be {guess}")
    at_a_time = places * share.processes  # devices: what a trial takes of them all is what it took of one
    low, middle, high = (seconds / at_a_time for seconds in cost.total)
    write(f"  wall time  about {_clock(middle)} ({_clock(low)} to {_clock(high)})")
    for line in _budget(sweep, cost, at_a_time, state):
        write(line)
    write(f"  disk       about {_bytes(cost.disk)}{_states(sweep)}")
    write(f"Timed on {cost.probed} of the trials above; nothing was started, nothing was written.")


def first_trials(sweep: Sweep, count: int) -> list[tuple[dict[str, Any], TrialConfig]]:
    """What the sampler tries first, before it has learnt anything; as in the sweep itself."""
    return list(_following(sweep, count, None)[1].values())


def _following(
    sweep: Sweep, count: int, folder: Path | None
) -> tuple[Begun, dict[int, tuple[dict[str, Any], TrialConfig]]]:
    """How far the sweep in a folder is, and what would be tried next, by its number."""
    drawn: dict[int, tuple[dict[str, Any], TrialConfig]] = {}
    with begun.controlled(sweep, folder) as (controller, state):
        while len(drawn) < min(count, state.left) and isinstance(job := controller.next(), Job):
            params = dict(controller.record.trial(job.number).params)
            drawn[job.number] = params, sweep.trial_config(params)
    if folder is not None and not drawn:  # a trial's worth may be left that nobody begins any more
        return replace(state, left=0), drawn
    if not drawn:
        raise UserError(f"{sweep.name}: of {sweep.trials} draws none makes a trial; narrow what is searched")
    return state, drawn


def estimate(sweep: Sweep, configs: Sequence[TrialConfig], *, threads: int, state: Begun | None = None) -> Cost:
    """Device-seconds and bytes of what is left of a sweep, from timed pieces of some of its trials, on so many CPU threads."""
    from robustray.training import cost as timing

    costs: list[TrialCost] = []
    for number, config in enumerate(configs):
        try:
            costs.append(timing.trial(config, threads=threads))
        except UserError:
            raise
        except Exception as error:
            why = f"{type(error).__name__}: {plain.line(error)}"
            raise UserError(f"sampled trial {number} cannot be trained: {why}") from error
    state = state or Begun(sweep.wanted)
    trials = state.left
    seconds = [cost.seconds for cost in costs]
    mean = statistics.fmean(seconds)
    sure = SURE if len(seconds) > 1 else 0.5
    # Each end by itself: one dear trial among cheap ones does not make the others cost nothing.
    low, high = min(*seconds, (1 - sure) * mean), max(*seconds, (1 + sure) * mean)
    training = (trials * low, trials * mean, trials * high)
    best = any(config.checkpoints.select == "best_robust" for config in configs)
    disk = sweep.states(state.left, state.waiting) * max(cost.files(best) for cost in costs)
    judging, points = _judging(sweep, configs[0], state.left)
    return Cost(training, judging, disk, len(costs), points)


def _judging(sweep: Sweep, config: TrialConfig, left: float) -> tuple[Interval, Interval]:
    """Of trials, and of derived points."""
    judge = sweep.judge
    if judge.trials == "none":
        return (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)
    per_image = _seconds_per_image(config)
    attacks = judge.attacks
    tier = sum(per_image[name] for name in attacks[:2])
    late = sum(per_image[name] for name in attacks[2:])
    images = len(judge.lists()[0])
    test, _ = test_images(judge)
    found, points = [], []
    for standing, share, sure in zip(STANDING, ON_FRONTIER, (1 - SURE, 1, 1 + SURE), strict=True):
        in_full = tier * (1 + standing) / 2 + late * standing
        share = 1.0 if judge.trials == "all" else share
        validation = images * (share * in_full + (1 - share) * tier * (1 + standing) / 2)
        each = sure * (validation + test * min(share, ON_FRONTIER[2]) * in_full)
        found.append(each * left)
        points.append(each * ahead.judgements(sweep.derive, share * sweep.wanted) * left / sweep.wanted)
    return (found[0], found[1], found[2]), (points[0], points[1], points[2])


def _budget(sweep: Sweep, cost: Cost, places: int, state: Begun) -> Iterator[str]:
    """What all trials are expected to take of each budget, with what was spent of it before; after how many it ends the search
    where that is more.
    """
    options, middle = sweep.budget, cost.total[1]
    told: list[tuple[str, float, float]] = []  # with the shares that are expected in all, and were spent before
    if options.wall is not None:
        wall = state.wall + middle / places
        said = f"{durations.said(wall)} of {durations.said(options.wall)} of wall time"
        told.append((said, wall / options.wall, state.wall / options.wall))
    before, hours = state.device / HOUR, (state.device + middle) / HOUR
    if (most := options.device_hours) is not None:
        told.append((f"{figures(hours)} of {figures(most)} device-hours", hours / most, before / most))
    if (money := options.money) is not None:
        said = paid(hours * money.per_device_hour, money.at_most, money.currency)
        told.append((said, hours / money.device_hours, before / money.device_hours))
    for said, share, spent in told:
        more = state.left * max(0.0, 1 - spent) / (share - spent) if share > 1 and share > spent else 0.0
        after = f": it ends the search after about {sweep.wanted - state.left + more:.0f} trials"
        yield f"  budget     about {said}{after if share > 1 else ''}"


def _points(sweep: Sweep, cost: Cost) -> str:
    """What is derived, and what judging it takes: no trial is trained for it."""
    trains = [maker.name for maker in sweep.derive if maker.trains]
    but = f", but for the mixing network of {' and '.join(trains)}" if trains else ""
    judged = f"; judging them {_device_time(cost.points)}" if any(cost.points) else ""
    return f"{ahead.described(sweep.derive)}: derived without training{but}{judged}"


def _seconds_per_image(config: TrialConfig) -> dict[str, float]:
    import numpy as np
    import torch

    from robustray.data.device import DeviceImages
    from robustray.devices import pick_device
    from robustray.judging.cost import seconds_per_image

    device = pick_device()
    with torch.random.fork_rng(devices=[]):
        model = config.model.build(config.judge.data).to(device)
    there = config.judge.data.load("validation")
    x, _ = DeviceImages(there.take(np.arange(min(BATCH, len(there)))), device).batch(slice(None))
    return seconds_per_image(model, x, config.judge.threat, config.judge.attacks, strength(config.judge.version))


def _machine() -> Machine:
    """This one, as Ray would see it."""
    import torch

    from robustray.processors import cores

    return Machine(cores(), torch.cuda.device_count() if torch.cuda.is_available() else 0)


def _share(sweep: Sweep, config: TrialConfig, machine: Machine) -> Share:
    """What each job would get, measured as the sweep itself does it."""
    share = packing.asked(sweep.resources, machine)
    if share is not None:
        return share
    said = open_task({"kind": "measure", "trial": config.to_yaml(), "cores": machine.cores_per_gpu}).step()
    return packing.kept(packing.found(said.get("trials"), machine), machine)


def _options(sweep: Sweep, write: Callable[[str], None]) -> None:
    if not sweep.space:
        write("searches nothing: every trial is the same but for chance")
        return
    every = list(templates.parameters(sweep.settings))
    priors = any(parameter.distribution.prior is not UNKNOWN for parameter in every)
    heads = ("option", "drawn", "from", *(("prior",) if priors else ()), "only when")
    table = Table(*heads, box=None, pad_edge=False, header_style="bold")
    for parameter in every:
        drawn = parameter.distribution
        prior = ("" if drawn.prior is UNKNOWN else _short(drawn.prior),) if priors else ()
        when = " and ".join(f"{name} is {label}" for name, label in parameter.condition)
        table.add_row(parameter.name, drawn.kind, str(drawn), *prior, when)
    for line in _lines(table):
        write(line)


def _trials(trials: Mapping[int, tuple[dict[str, Any], TrialConfig]], write: Callable[[str], None], head: str) -> None:
    write("")
    write(head)
    names = list(dict.fromkeys(name for params, _ in trials.values() for name in params))
    table = Table("", *names, "passes per image", box=None, pad_edge=False, header_style="bold")
    for number, (params, config) in trials.items():
        values = [_short(params[name]) if name in params else "" for name in names]
        table.add_row(f"{number:04d}", *values, _passes(config))
    for line in _lines(table):
        write(line)
    write("")


def _amount(sweep: Sweep, state: Begun) -> str:
    """`24 trials, 20 done before, 4 to do`."""
    pauses = sweep.stopping.pauses
    said = driver.amount(sweep, state.done, pauses=pauses)
    if not state.left:
        return f"{said}{':' if state.done > sweep.wanted else ','} none to do"
    if state.done or state.left < sweep.wanted:
        said += f", {f'{state.left:.3g} of them' if pauses else int(state.left)} to do"
    return f"{said}, spread over more trials than that" if pauses else said


def _states(sweep: Sweep) -> str:
    """Whose states that is, where trials are paused."""
    if not sweep.stopping.pauses:
        return ""
    few = "" if sweep.stopping.keep_paused is not None else "; stopping.keep_paused bounds how many wait"
    return f" at most: states of up to {sweep.states()} trials, those that wait among them{few}"


def _looks(sweep: Sweep, trials: Sequence[TrialConfig]) -> str:
    """`30 % of images: 12 to 15 % of a training each, before it`."""
    assert sweep.fidelity is not None
    looks = Looks(sweep, sweep.fidelity)
    costs = sorted(looks.cost(config) for config in trials)
    low, high = (f"{100 * cost:.2g}" for cost in (costs[0], costs[-1]))
    each = low if low == high else f"{low} to {high}"
    return f"{sweep.fidelity.described()}: {each} % of its training each, in the same budget"


def _passes(config: TrialConfig) -> str:
    """Forward and backward passes per training image and step; a training script's are its own."""
    if config.script is not None:
        return ""
    from robustray.training.passes import per_batch

    return f"{per_batch(config) / config.batch.size:g}"


def _lines(table: Table) -> Iterator[str]:
    console = Console(width=160, no_color=True, highlight=False)
    with console.capture() as caught:
        console.print(table)
    yield from (line.rstrip() for line in caught.get().splitlines())


def _judged(sweep: Sweep) -> str:
    judge = sweep.judge
    name = "AutoAttack" if judge.autoattack else judge.version_name
    who = {"frontier": "what can be on the frontier", "all": "every one", "none": "none"}[judge.trials]
    return f"{name} on {len(judge.lists()[0])} images judges {who}" if judge.trials != "none" else "no judging"


def _device_time(seconds: Interval) -> str:
    low, middle, high = seconds
    if high < 5400:
        return f"{_clock(middle)} ({_clock(low)} to {_clock(high)}) of device time"
    low, middle, high = (s / 3600 for s in seconds)
    return f"{_sig(middle)} ({_sig(low)} to {_sig(high)}) device-hours"


def _sig(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.2g}"


def _clock(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds:.1g} s"  # 0.3 s, and not 0 s
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.1f} days"


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
