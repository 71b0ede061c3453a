"""Runs a sweep: opens the record, drives training and judging through a backend, says how it ended."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from robustray import astray, open_files, plugins
from robustray.attacks.versions import misfit
from robustray.data.doubts import doubts
from robustray.derived.base import Maker
from robustray.disks import disk_trouble
from robustray.errors import UserError
from robustray.processors import cores
from sweeps.deriving import parents
from sweeps.deriving.queue import Deriving, ask
from sweeps.events import (
    BudgetLeft,
    Bus,
    Concluded,
    Event,
    JobEnded,
    JobHeard,
    Listener,
    Placed,
    Said,
    Watched,
)
from sweeps.judging.measuring import Measuring
from sweeps.judging.queue import Judging
from sweeps.judging.shards import FILES, Shards
from sweeps.listeners import opening
from sweeps.listeners.accounts import Accounts
from sweeps.record import Record, Snapshot, provenance, quota, shared
from sweeps.record.journal import JOURNAL
from sweeps.record.ledger import Ledger
from sweeps.record.lives import Lives
from sweeps.record.lock import FolderLock
from sweeps.record.points import derived
from sweeps.record.quota import Quota
from sweeps.record.waiting import with_room
from sweeps.running import evidence, packing, stop_file
from sweeps.running.packing import Share
from sweeps.running.place import Place
from sweeps.running.queues import Beside, Chain, Following, Job, Looking, Primed, Queue, Sized
from sweeps.search import warm_start
from sweeps.search.budget import Budget
from sweeps.search.controller import Controller
from sweeps.search.field import Policy
from sweeps.search.looks import Looks
from sweeps.search.stopping import policy as policy_of
from sweeps.space import Sweep
from sweeps.space.stopping import too_early
from sweeps.standing import SELECTION, nearest, shortfalls
from sweeps.view.console import Console, Show

BackendName = Literal["ray", "local"]


def run(
    sweep: Sweep,
    folder: Path,
    backend: BackendName = "ray",
    *,
    fresh: bool = False,
    write: Callable[[str], None] | None = None,
    show: Show = "plain",
    until: Callable[[], float] | None = None,
    derive: Sequence[Maker] = (),
    beside: Callable[[Callable[[str], None]], None] = lambda say: None,
) -> bool:
    """Runs a sweep in its folder, or goes on with it.

    Args:
        folder: where everything lies; made when it is not there.
        backend: `ray` (Ray Tune) or `local` (this process, one job after another).
        fresh: rename what lies in the folder and start anew.
        write: gets the progress, line by line; standard output where it is not given.
        show: how much is said: the outcome only, a line per event, all, or a live view on a terminal.
        until: seconds until a deadline that will send SIGTERM; shown, no more.
        derive: points to make besides those of the space; the record keeps the requests.
        beside: is given what says a line among the sweep's own, from any thread: for whoever works beside it.

    Returns:
        True if the sweep ran to its end, False if it was interrupted: the same call goes on.

    Raises:
        UserError: the folder holds another sweep, another driver is at work, the disk is full, Ray cannot be reached.
        AtOnce: a second signal came while the first was being heeded; trials go on from their last checkpoints.
    """
    sweep, asked = provenance.settled(sweep, folder, fresh=fresh), sweep
    console = Console(write, show, until=until)
    beside(lambda line: console(Said(line, timed=True)))
    for plugin in plugins.loaded(sweep.plugins.values()):
        console(Said(plugin.told))
    for warning in look_ahead(sweep):
        console(Said(f"warning: {warning}"))
    shared.demand(folder)
    if told := asked.stops_as(sweep):
        console(Said(told))
    if backend == "ray" and (hidden := astray.in_the_way_of_workers(Path.cwd())) is not None:
        raise UserError(hidden)
    opening.check(sweep)
    opening.named(sweep, folder, here=not derive)

    def say(line: str) -> None:
        console(Said(line))

    # Before anything is written: a folder named wrongly must not leave one that holds another sweep.
    ready = None if (folder / JOURNAL).exists() and not fresh else warm_start.found(sweep, say)
    with _clear_errors(folder), FolderLock(folder) as held:
        if told := quota.check(sweep, folder, fresh=fresh):
            console(Said(f"warning: {told}"))
        moved = provenance.prepare(sweep, folder, fresh=fresh)
        stop_file.forget(folder)  # not before: what lies in a folder of something else is not ours
        if moved is not None:
            console(Said(f"the old results are in {moved}"))

        def live() -> bool:
            provenance.prepare(sweep, folder, fresh=False)
            with Record(folder, sweep.objectives, constraints=sweep.constraints, held=held) as record:
                provenance.check_trained(sweep, folder, record.trials())
                warm_start.take_in(sweep, record, ready, say)
                for maker in derive:
                    maker.trust()
                    ask(record, maker)
                with opening.opened(sweep, record, say) as ears:
                    heard = [ear.heard for ear in ears]
                    with console.watching(sweep, record, noisy=backend == "ray", others=heard):
                        bus = Bus(console, *ears)
                        if told := shared.warning(folder):
                            bus(Said(f"warning: {told}"))
                        return drive(sweep, record, partial(_place, backend, console, sweep, folder), tell=bus)

        return with_room(live, folder, sweep.disk.wait, say)


def drive(
    sweep: Sweep,
    record: Record,
    place: Callable[[], Place],
    *,
    tell: Listener = lambda event: None,
    shards: Shards = FILES,
    policy: Policy | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Searches and judges a sweep, over any place: what `run` does in a folder that is prepared, and simulations too.

    Args:
        place: opens where jobs run; not called where nothing is left to do.
        tell: is told of all that happens.
        shards: where verdicts come from: files, or memory where no worker writes any.
        policy: decides who is paused and who goes on, in place of the one that the sweep asks for.
        clock: seconds that only grow: what a budget of wall time is measured by.

    Returns:
        True if the sweep ran to its end, False if it was interrupted.
    """
    sweep, session = sweep.settled(), uuid.uuid4().hex
    bus = Bus(tell)
    ledger, lives = Ledger(record.folder), Lives(record.folder, session, clock=clock)
    accounts = Accounts(ledger, lives)
    slots = 1

    def training() -> list[int]:
        return [*controller.running, *controller.unfinished]

    budget = Budget(
        sweep,
        record,
        ledger.spent,
        lives,
        heard=lambda: accounts.under_way,
        training=training,
        waiting=lambda: () if controller.pausing is None else controller.pausing.paused,
        slots=lambda: slots,
    )
    controller = Controller(
        sweep, record, policy or policy_of(sweep), bus, session=session, spent=budget.spent, left=budget.seconds
    )

    def judged(event: Event) -> None:
        controller.heard(event)  # no listener that may fail: what it learns decides what is tried next
        bus(event)

    def accounted(event: Event) -> None:
        nonlocal slots
        if isinstance(event, Placed):
            slots = event.slots
        elif isinstance(event, JobHeard | JobEnded):
            bus(BudgetLeft(budget.left()))

    def at_work() -> bool:
        return bool(controller.running) or deriving.pending

    judging = Judging(sweep, record, judged, session=session, training=at_work, shards=shards)
    deriving = Deriving(
        sweep,
        record,
        bus,
        session=session,
        settled=lambda: not controller.running and judging.idle(),
    )
    resumed = bool(record.trials())
    bus(Said(f"{sweep.name}: {amount(sweep, done_before(record), pauses=controller.pausing is not None)}"))
    if waiting := str(controller.taken_back):
        bus(Said(waiting))
    measuring = Measuring(sweep, record, bus, session=session, members=lambda: judging.members)
    searched = Beside(controller, Following(deriving, judging), pressing=lambda: bool(controller.unfinished))
    queue = Chain(searched, measuring)
    first = queue.next()
    interrupted = False
    if isinstance(first, Job):  # else everything is done, and no cluster need be started to say so
        if resumed:
            provenance.note_resume(record.folder)
        with ledger, lives, accounts:
            bus.add(accounts)
            if budget.options.limited:
                bus.add(accounted)
            interrupted = _work(sweep, record, place(), Primed(first, queue), first, bus)
    if not interrupted:
        _conclude(record, bus)
        if budget.options.limited:
            bus(Concluded(f"budget: {budget.spent() or f'{budget.left()}; none was spent before the trials were'}"))
    return not interrupted


def done_before(record: Record) -> int:
    """How many trials have ended: points that were derived are none."""
    return sum(not derived(record.trial(number)) for number in record.ended())


def amount(sweep: Sweep, done: int, *, pauses: bool) -> str:
    """How much a sweep is to do, and how much of it was done before: `24 trials, 8 done before`.

    Args:
        pauses: whether trials wait at rungs: then epochs are counted.
    """
    if pauses:
        asked = f"{sweep.trials} whole trainings' worth of epochs"
    elif done > sweep.wanted:  # it was extended, and is asked for as it was at first
        return f"{done} trials done before, more than the {sweep.wanted} asked for"
    else:
        asked = f"{sweep.wanted} trials"
    return asked + (f", {done} done before" if done else "")


def _work(sweep: Sweep, record: Record, place: Place, queue: Queue, first: Job, tell: Listener) -> bool:
    """Drives the queue to its end at a place; True if it was interrupted before."""
    share = replace(_share(sweep, record, place, first, tell), besides=tuple(sweep.resources.besides.items()))
    place.settle(share)
    queue = Looking(queue, Quota(record, sweep.disk.quota, lambda line: tell(Said(line, timed=True))).look)
    tell(Placed(place.described, place.slots, place.dashboard))
    patience = sweep.resources.patience
    return place.run(Watched(Sized(queue, share, lambda line: tell(Said(line, timed=True)), patience), tell))


def _conclude(record: Record, tell: Listener) -> None:
    snapshot = record.snapshot()
    counts = Counter(str(trial.outcome) for trial in snapshot.trials)
    parts = [f"{count} {outcome}" for outcome, count in sorted(counts.items())]
    lost = _lost(snapshot)
    if lost:
        cause, _ = Counter(lost.values()).most_common(1)[0]
        parts.append(f"{len(lost)} {'judgements' if len(lost) > 1 else 'judgement'} failed: {cause}")
    tell(Concluded("all done: " + ", ".join(parts)))
    closest = nearest(snapshot)
    if closest is not None:
        why = "; ".join(shortfalls(snapshot, closest))
        tell(Concluded(f"no trial keeps to the constraints; the nearest is trial {closest.number:04d}: {why}"))
        full = nearest(snapshot, full=True)
        if full is not None and full is not closest:
            why = "; ".join(shortfalls(snapshot, full))
            tell(Concluded(f"of those judged in full it is trial {full.number:04d}: {why}"))
    if snapshot.trials and not counts["complete"]:
        cause, times = Counter(str(trial.cause) for trial in snapshot.trials).most_common(1)[0]
        number = next(trial.number for trial in snapshot.trials if str(trial.cause) == cause)
        log = record.trial_folder(number) / "log.txt"
        where = f"  (see {log})" if log.exists() else ""
        tell(Concluded(f"no trial completed; {times} times: {cause}{where}"))


def falls_short(snapshot: Snapshot) -> bool:
    """Whether a sweep that has ended did not give what was asked for: no trial completed, or a judgement failed."""
    return not any(trial.outcome == "complete" for trial in snapshot.trials) or bool(_lost(snapshot))


def _lost(snapshot: Snapshot) -> dict[tuple[int, str], str]:
    """Judgements that failed, and were not needless in the end."""
    return {
        (number, split): cause
        for (number, split), cause in snapshot.unjudged.items()
        if split != SELECTION or number not in snapshot.skipped
    }


def look_ahead(sweep: Sweep) -> list[str]:
    """What would stop every trial, found before anything is written: data, batch sizes, attacks. Test is not read.

    Returns:
        Warnings, a line each: what is odd about the labels, or about rungs.

    Raises:
        UserError: the data is missing or broken, or does not fit the space.
    """
    data = sweep.judge.data
    data.check()
    parents.check(sweep.derive)
    train = data.load("train")
    images, (height, width, _) = len(train), train.shape
    for config in sweep.examples():
        drawn = config.batch.among(images)
        if config.script is None and drawn > images:
            raise UserError(f"trial.batch.images is {drawn}, but there are only {images} training images")
        if config.script is None and config.batch.size > drawn:
            few = "only" if drawn == images else "by batch.images only"
            raise UserError(f"trial.batch.size is {config.batch.size}, but there are {few} {drawn} training images")
        if config.script is not None:
            config.network()
        config.model.check()
        if config.batch.mix is not None:
            config.batch.mix.check()
    _can_begin(sweep)
    _can_look(sweep)
    attacks = sweep.judge.attacks if sweep.judge.trials != "none" else ()
    found = misfit(attacks, sweep.judge.threat.norm, height, width, data.classes, data.name)
    if found is not None and data.classes < 2:
        raise UserError(f"judge.version: {found.why}")
    if found is not None:
        raise UserError(f"judge.version: {found.why}; list other attacks: [{', '.join(found.instead)}]")
    early = too_early(sweep.settled().stopping, sweep.examples())
    return [*doubts(data), *([] if early is None else [early])]


def _can_look(sweep: Sweep) -> None:
    """Sees whether looks are cheaper than trainings, and have images enough.

    Raises:
        UserError: one is not, or has not.
    """
    if sweep.fidelity is None:
        return
    looks, images = Looks(sweep, sweep.fidelity), len(sweep.judge.data.load("train"))
    for config in sweep.examples():
        few, size = looks.config(config).batch.among(images), config.batch.size
        if few < size:
            raise UserError(
                f"fidelity.images: a look has {few} training images, but trial.batch.size is {size}; give more"
            )
        looks.cost(config)


def _can_begin(sweep: Sweep) -> None:
    """Sees whether every network of the space can begin with the weights that it names.

    Raises:
        UserError: a file is missing, has changed, or does not fit.
    """
    beginning = {
        (config.model, config.defense.aux_outputs): config
        for config in sweep.examples()
        if config.model.source is not None
    }
    if beginning:
        from robustray.subjects import start

        for config in beginning.values():
            start.check(config)


def _share(sweep: Sweep, record: Record, place: Place, first: Job, tell: Listener) -> Share:
    """What each job gets: as the space says, else as it was measured when the sweep began: a resumed trial needs the same."""
    machine = place.machine
    share = packing.asked(sweep.resources, machine)
    if share is not None:
        return share
    name = packing.setting(machine)
    number = record.setting(name)
    if number is None:
        tell(Said("timing a few steps ..."))
        folder = first.work["folder"]
        described = (Path(folder) / "trial.yaml").read_text(encoding="utf-8")
        said = place.measure({"kind": "measure", "folder": folder, "trial": described, "cores": machine.cores_per_gpu})
        number = record.setting(name, packing.found(said.get("trials"), machine))
        why = f" (could not be measured: {said.get('cause')})" if said["outcome"] != "complete" else ""
        tell(Said(f"{packing.described(number, machine)}{why}"))
    return packing.kept(number, machine)


def _place(name: BackendName, console: Console, sweep: Sweep, folder: Path) -> Place:
    if name == "local":
        from sweeps.running.local import Local

        return Local(console)
    console(Said("starting Ray ..."))
    if importlib.util.find_spec("ray") is None:
        raise UserError("Ray is not installed; --backend local runs without it, one trial after another")
    if not os.environ.get("RAY_ADDRESS"):  # else its processes are another's
        state, told = open_files.told(cores())
        if state == "wrong":  # its core would leave without a word, and take this process along
            raise UserError(told)
    from sweeps.running.ray import RayTune

    asked = evidence.of(sweep, folder)
    said, talks = (lambda line: console(Said(line))), console.keeps_output
    return RayTune(folder, said, asked=asked, tell=console, talks=talks, resources=sweep.resources)


@contextlib.contextmanager
def _clear_errors(folder: Path) -> Iterator[None]:
    """What the disk says, in words that help."""
    try:
        yield
    except OSError as error:
        if (disk := disk_trouble(error, folder)) is not None:
            raise UserError(f"{folder}: {disk}") from error
        if error.errno in (errno.EACCES, errno.EPERM):
            raise UserError(f"{folder}: cannot be written ({error.strerror})") from error
        raise
