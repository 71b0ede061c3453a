"""What has to hold after a round: nothing lost, doubled or renumbered, every bit as undisturbed, every decision replayed."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from optuna.storages.journal._storage import JournalOperation

from robustray.training import checkpoints
from sweeps import record
from sweeps.record import JOURNAL, Record, provenance
from sweeps.record.journal import SENT
from sweeps.running.queues import Job
from sweeps.search.controller import Controller
from sweeps.search.stopping import policy
from tests.sweeps.small import facts

Found = dict[str, Any]


def found(folder: Path) -> Found:
    """All of a finished sweep that no clock changes: its record, its metrics, and a hash of each trial's tensors."""
    tensors = {}
    for path in sorted(folder.glob("trials/*/last.pt")):
        state = checkpoints.load(path)
        tensors[path.parent.name] = {part: checkpoints.weights_hash(state[part]) for part in ("model", "optimiser")}
    return {**facts(folder), "tensors": tensors}


def whole(folder: Path, trials: int | None) -> list[str]:
    """What is lost, doubled, renumbered or left over. Args: trials: how many there have to be, where that is known before."""
    wrong = []
    snapshot = record.read(folder)
    numbers = [trial.number for trial in snapshot.trials]
    if numbers != list(range(len(numbers))) or (trials is not None and len(numbers) != trials):
        wrong.append(f"trials {numbers}")
    if undone := [trial.number for trial in snapshot.trials if trial.outcome is None]:
        wrong.append(f"unfinished: {undone}")
    folders = sorted(path.name for path in (folder / "trials").iterdir())
    if folders != [f"{number:04d}" for number in numbers]:
        wrong.append(f"folders {folders}")
    settings = Counter(json.dumps([trial.params, trial.seed], sort_keys=True) for trial in snapshot.trials)
    if twice := [text for text, count in settings.items() if count > 1]:
        wrong.append(f"tried twice: {twice}")
    if inexact := [trial.number for trial in snapshot.trials if not trial.exact]:
        wrong.append(f"not gone on with bit for bit: {inexact}")
    if left := [str(path.relative_to(folder)) for path in folder.rglob(".running")]:
        wrong.append(f"left behind: {left}")
    opened = [number for event in snapshot.members for number in event.opened]
    if len(opened) != len(set(opened)):
        wrong.append("test was opened twice for a member")
    return wrong


def apart(ours: Found, theirs: Found, *, but: int | None = None) -> list[str]:
    """Where a sweep differs from the undisturbed one.

    Args:
        but: a trial that had to end otherwise: the frontier without it may be another one, all other trials are the same.
    """
    if but is None:
        return [f"{key}: {ours[key]} != {theirs[key]}" for key in theirs if ours[key] != theirs[key]]
    name = f"{but:04d}"
    wrong = [f"trial {a[0]}: {a} != {b}" for a, b in _pairs(ours, theirs) if a[0] != but and a != b]
    for key in ("epochs", "tensors"):
        wrong += [f"{key} of {n}" for n in theirs[key] if n != name and ours[key].get(n) != theirs[key][n]]
    both = [key for key in ours["judged"] if key in theirs["judged"] and key[0] != but]
    wrong += [f"judgement {key}" for key in both if ours["judged"][key] != theirs["judged"][key]]
    return wrong


def _pairs(ours: Found, theirs: Found) -> list[tuple[Any, Any]]:
    if len(ours["trials"]) != len(theirs["trials"]):
        return [((-1, len(ours["trials"])), (-1, len(theirs["trials"])))]
    return list(zip(ours["trials"], theirs["trials"], strict=True))


def replayed(folder: Path) -> list[str]:
    """Every decision of the search (what to begin, whom to send on) that is not the one made anew from the journal before it.

    For a driver with one job at a time, which asks when nothing is at work: all it decides by is in the journal.
    """
    lines = (folder / JOURNAL).read_bytes().splitlines(keepends=True)
    snapshot = record.read(folder)
    sweep, wrong, number = provenance.sweep_in(folder).settled(), list[str](), -1
    for place, line in enumerate(lines):
        log = json.loads(line)
        created = log["op_code"] == JournalOperation.CREATE_TRIAL
        number += created
        sent = log.get("user_attr", {}).get(SENT) if log["op_code"] == JournalOperation.SET_TRIAL_USER_ATTR else None
        if not created and sent is None:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            (Path(scratch) / JOURNAL).write_bytes(b"".join(lines[:place]))
            with Record(Path(scratch), sweep.objectives, constraints=sweep.constraints) as known:
                controller = Controller(sweep, known, policy(sweep), lambda event: None, session="replayed")
                job = controller.next()
                if not isinstance(job, Job):
                    wrong.append(f"line {place + 1}: nothing to do, where a trial was begun or sent on")
                    continue
                then, now = snapshot.trials[number if created else log["trial_id"]], known.trial(job.number)
                if (now.number, now.params, now.seed) != (then.number, then.params, then.seed):
                    wrong.append(f"line {place + 1}: trial {now.number} {now.params}, not {then.number} {then.params}")
                if sent is not None and (now.sent is None or now.sent.index != sent["index"]):
                    wrong.append(f"line {place + 1}: trial {now.number} sent to {now.sent}, not {sent}")
    return wrong


def traces(log: Path) -> list[str]:
    """A driver that shows a user a stack trace has failed, whatever came of it."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return [f"a stack trace in {log.name}"] if "Traceback (most recent call last)" in text else []
