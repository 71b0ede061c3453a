"""What runs in a worker, whatever backend started it: one job, step by step. Knows neither Ray nor Optuna.

Expected ends are results, not exceptions: a diverged trial, a full device, a bug in a plug-in. Only a broken process
raises, so that whoever runs it replaces the process.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from robustray.errors import UserError
from robustray.files import disk_trouble, write_whole
from sweeps.running import packing
from sweeps.running.packing import Share

if TYPE_CHECKING:
    from robustray.training import Trainer
    from robustray.training.script import ScriptTrainer
    from robustray.trial import TrialConfig

log = logging.getLogger("robustray")
BLOCKED = "blocked"
"""The outcome of a job that is stopped by what the user can mend: the sweep stops, and the job stays unfinished."""
Report = dict[str, Any]
CACHE = "TORCHINDUCTOR_CACHE_DIR"
USERS_CACHE = os.environ.get(CACHE)
"""Where compiled networks go if the user says so; torch itself puts a folder of its own there once it is imported."""


class Task(Protocol):
    """A job at work."""

    def step(self) -> Report:
        """Works until there is something to report. `done: True` marks the last report, which carries an `outcome`."""
        ...

    def interrupt(self) -> bool:
        """Asks a running step to stop soon, keeping what it did; False where it cannot be asked."""
        ...


def open_task(work: Mapping[str, Any]) -> Task:
    """The task of a job. Touches nothing on disk: that is the first step's business (a ghost actor may open it too)."""
    kinds: dict[str, Callable[[Mapping[str, Any]], Task]] = {
        "train": TrainTask,
        "derive": DeriveTask,
        "judge": JudgeTask,
        "probe": ProbeTask,
        "measure": MeasureTask,
        "explain": ExplainTask,
    }
    return _Timed(kinds[work["kind"]](work))


class _Timed:
    """A task whose reports say how long this process has worked on it."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._seconds = 0.0

    def step(self) -> Report:
        begun = time.monotonic()
        try:
            report = self._task.step()
        finally:
            self._seconds += time.monotonic() - begun
        return {**report, "device_seconds": self._seconds}

    def interrupt(self) -> bool:
        return self._task.interrupt()


class TrainTask:
    """Trains one trial, an epoch a step."""

    def __init__(self, work: Mapping[str, Any]) -> None:
        self.work = work
        self.folder = Path(work["folder"])
        self.trainer: Trainer | ScriptTrainer | None = None
        self._interrupted = False

    def step(self) -> Report:
        from robustray.errors import Paused

        try:
            with _logging_to(self.folder / "log.txt"):
                return self._step()
        except Paused:
            raise
        except Exception as error:
            return _failure(error, self.folder / "log.txt", self.trainer.completed if self.trainer else 0)

    def _step(self) -> Report:
        from robustray.errors import Paused

        if self._interrupted:  # what the step before this one did is on disk
            if self.trainer is not None:
                self.trainer.halt()
            raise Paused
        if self.trainer is None:
            died = self._count_attempt()
            if died > self.work["max_failures"]:
                cause = f"its process died {died} times in a row without writing a checkpoint"
                log.error(cause)
                return {"outcome": "failed", "cause": cause, "done": True, "epoch": 0, "training_iteration": 0}
            self.trainer = self._open()
            if self.trainer.report is not None:  # said before, but it may never have arrived
                return self._measured(self.trainer.report)
        return self._measured(self.trainer.epoch())

    def _measured(self, report: Report) -> Report:
        """A last report with the measures of the space that are taken of every trial."""
        return _with_measures(report, self.folder, self.work, self._heed)

    def _heed(self, _: object) -> None:
        from robustray.errors import Paused

        if self._interrupted:
            raise Paused

    def _open(self) -> Trainer | ScriptTrainer:
        from robustray.training import Trainer
        from robustray.training.script import ScriptTrainer
        from robustray.trial import TrialConfig

        config = TrialConfig.recorded((self.folder / "trial.yaml").read_text(encoding="utf-8"), self.folder)
        threads = _settle(self.work).threads
        if config.compile != "off":
            _settle_compiler(self.folder, threads)
        kind = Trainer if config.script is None else ScriptTrainer
        trainer = kind(config, self.folder, threads=threads)
        if self._interrupted:
            trainer.stop.set()
        log.info("at %s", trainer.place)
        return trainer

    def _count_attempt(self) -> int:
        kept = [path for name in ("last.pt", "script/state.pt") if (path := self.folder / name).exists()]
        written = max((path.stat().st_mtime_ns for path in kept), default=0)
        return deaths(self.folder / "attempts.json", self.work["session"], written)

    def interrupt(self) -> bool:
        self._interrupted = True
        if self.trainer is not None:
            self.trainer.stop.set()
        return True


class DeriveTask:
    """Makes one derived point and measures it as training measures its last epoch."""

    def __init__(self, work: Mapping[str, Any]) -> None:
        self.work = work
        self.folder = Path(work["folder"])
        self._stop = threading.Event()

    def step(self) -> Report:
        from robustray.errors import Paused

        try:
            with _logging_to(self.folder / "log.txt"):
                return self._make()
        except Paused:
            raise
        except UserError as error:  # these parents do not go together, say: no reason to stop the others
            return {"outcome": "failed", "cause": str(error), "done": True, "training_iteration": 1}
        except Exception as error:
            return _failure(error, self.folder / "log.txt", 1)

    def _make(self) -> Report:
        from robustray.subjects import derived

        _settle(self.work)
        died = deaths(self.folder / "attempts.json", self.work["session"], 0)
        if died > self.work["max_failures"]:
            cause = f"its process died {died} times in a row"
            return {"outcome": "failed", "cause": cause, "done": True, "training_iteration": 1}
        found = derived.made(self.folder, Path(self.work["kept"]), stop=self._stop)
        report = {"outcome": "complete", "done": True, "training_iteration": 1, **found}
        return _with_measures(report, self.folder, self.work, self._heed)

    def _heed(self, _: object) -> None:
        from robustray.errors import Paused

        if self._stop.is_set():
            raise Paused

    def interrupt(self) -> bool:
        self._stop.set()
        return True


class JudgeTask:
    """Runs one attack on one shard of one trial's images. Interrupted, the shard in flight is given up, and begins anew."""

    def __init__(self, work: Mapping[str, Any]) -> None:
        self.work = work
        self._interrupted = False

    def step(self) -> Report:
        from robustray.errors import Paused

        try:
            return self._judge()
        except Paused:
            raise
        except UserError as error:  # this trial's checkpoint, say: no reason to stop the others
            return {"outcome": "failed", "cause": str(error), "done": True, "training_iteration": 1}
        except Exception as error:
            return _failure(error, Path(self.work["folder"]) / "log.txt", 1)

    def _judge(self) -> Report:
        from robustray.judging.case import Case

        _settle(self.work)
        version = self.work["version"] or "own"
        name = "-".join([version, *(str(self.work[key]) for key in ("split", "attack", "shard"))])
        died = deaths(Path(self.work["judgements"]) / f"attempts-{name}.json", self.work["session"], 0)
        if died > self.work["max_failures"]:
            cause = f"its process died {died} times in a row"
            return {"outcome": "failed", "cause": cause, "done": True, "training_iteration": 1}
        case = Case.of_trial(
            Path(self.work["folder"]),
            Path(self.work["judgements"]),
            self.work["split"],
            shard_size=self.work["shard_size"],
            weights=self.work["weights"],
            version=self.work["version"],
            square_early=self.work["square_early"],
            shared=Path(self.work["judgements"]).parents[1] / "derived",
        )
        heeding = case.model.register_forward_pre_hook(self._heed)  # an attack is the authors' code, the model is ours
        try:
            verdicts = case.shard(self.work["attack"], self.work["shard"])
        finally:
            heeding.remove()
        return {
            "outcome": "complete",
            "done": True,
            "training_iteration": 1,
            "broken": case.broken_first(verdicts),
            "fgsm": verdicts.info.get("fgsm"),
            "seconds": float(verdicts.info["seconds"]),
            "flags": list(verdicts.info.get("flags", ())),
        }

    def _heed(self, *_: object) -> None:
        from robustray.errors import Paused

        if self._interrupted:
            raise Paused

    def interrupt(self) -> bool:
        self._interrupted = True
        return True


class ExplainTask:
    """Takes one measure of one member of the frontier on one split. Interrupted, the piece in flight is given up."""

    def __init__(self, work: Mapping[str, Any]) -> None:
        self.work = work
        self.folder = Path(work["folder"])
        self._interrupted = False

    def step(self) -> Report:
        from robustray.errors import Paused

        try:
            return self._measure()
        except Paused:
            raise
        except UserError as error:  # it does not fit this model, say: no reason to stop the others
            return {"outcome": "failed", "cause": str(error), "done": True, "training_iteration": 1}
        except Exception as error:
            return _failure(error, self.folder / "log.txt", 1)

    def _measure(self) -> Report:
        from sweeps.running import measured

        _settle(self.work)
        name, split = self.work["name"], self.work["split"]
        counted = self.folder / measured.FOLDER / f"attempts-{split}-{name}.json"
        died = deaths(counted, self.work["session"], 0)
        if died > self.work["max_failures"]:
            cause = f"its process died {died} times in a row"
            return {"outcome": "failed", "cause": cause, "done": True, "training_iteration": 1}
        found = measured.of_member(
            self.folder, self.work["measure"], split, self.work["images"], self.work["weights"], self._heed
        )
        return {"outcome": "complete", "done": True, "training_iteration": 1, **found}

    def _heed(self, _: object) -> None:
        from robustray.errors import Paused

        if self._interrupted:
            raise Paused

    def interrupt(self) -> bool:
        self._interrupted = True
        return True


class ProbeTask:
    """Finds out how many images a shard of the judge may have on this worker's device."""

    def __init__(self, work: Mapping[str, Any]) -> None:
        self.work = work

    def step(self) -> Report:
        import numpy as np

        from robustray.data.device import DeviceImages
        from robustray.devices import pick_device
        from robustray.judging.shard_size import size
        from robustray.processors import cores
        from robustray.subjects.spec import in_folder

        try:
            share = _settle(self.work)
            found, device = in_folder(Path(self.work["folder"])), pick_device()
            assert found.judge is not None
            model, data = found.model.to(device), found.judge.data
            few = data.load("validation").take(np.arange(min(8, data.validation)))
            sharers = share.sharers if device.type == "cuda" else max(1, cores() // share.threads)
            shard = size(model, DeviceImages(few, device).batch(slice(None))[0], device, sharers)
        except UserError as error:  # this trial's checkpoint, say: the queue goes on with the usual size
            return {"outcome": "failed", "cause": str(error), "done": True, "training_iteration": 1}
        except Exception as error:
            return _failure(error, Path(self.work["folder"]) / "log.txt", 1)
        return {"outcome": "complete", "done": True, "training_iteration": 1, "shard_size": shard}

    def interrupt(self) -> bool:
        return False


class MeasureTask:
    """Finds out how many trials should run at a time on this worker's device, from a few steps of one."""

    def __init__(self, work: Mapping[str, Any]) -> None:
        self.work = work

    def step(self) -> Report:
        from robustray.devices import pick_device
        from robustray.trial import TrialConfig

        try:
            config = TrialConfig.recorded(self.work["trial"], Path(self.work.get("folder", "")))
            if config.script is not None:
                raise UserError("a training script's steps are its own")
            if config.compile != "off" and "folder" in self.work:
                _settle_compiler(Path(self.work["folder"]), self.work["cores"])
            measured = _measured_on_gpu if pick_device().type == "cuda" else _measured_on_cores
            trials = measured(config, self.work["cores"])
        except Exception as error:  # the trial itself will say it better
            return {"outcome": "failed", "cause": str(error), "done": True, "training_iteration": 1}
        return {"outcome": "complete", "done": True, "training_iteration": 1, "trials": trials}

    def interrupt(self) -> bool:
        return False


def _measured_on_cores(config: TrialConfig, cores: int) -> int:
    import psutil

    from robustray.measures.threads import halved

    rates = dict[int, float]()
    for trials in halved(cores):
        rates[trials] = config.batch.size / _seconds(config, cores // trials)
        if trials * rates[trials] < packing.NEIGHBOURS * max(n * rate for n, rate in rates.items()):
            break  # still more threads are no better
    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return packing.on_cores(cores, rates, process, psutil.virtual_memory().available)


def _measured_on_gpu(config: TrialConfig, cores: int) -> int:
    import torch

    size = config.batch.size
    free, _ = torch.cuda.mem_get_info()
    torch.cuda.reset_peak_memory_stats()
    whole = _seconds(config, 1)
    peak = torch.cuda.max_memory_reserved()
    halved = config.model_copy(update={"batch": config.batch.model_copy(update={"size": size // 2})})
    half = _seconds(halved, 1) if size >= 4 else whole  # batches of one have no statistics
    return packing.on_gpu(cores, peak, free, whole, half)


def _seconds(config: TrialConfig, threads: int) -> float:
    """Of an optimiser step."""
    from robustray.measures.threads import quickest
    from robustray.training import cost

    return quickest(lambda: cost.trial(config, threads=threads).step, 0.5)


def _with_measures(report: Report, folder: Path, work: Mapping[str, Any], heed: Callable[[float], None]) -> Report:
    """The report of a trial that completed, with the space's measures of all."""
    asked = work.get("measures")
    if not asked or report.get("outcome") != "complete":
        return report
    from sweeps.running import measured

    return {**report, **measured.as_training_ends(folder, asked, work["measured_images"], heed)}


def _settle_compiler(folder: Path, threads: int) -> None:
    """One trial compiles for all, on every node that sees the results, and so does what is measured before them.

    Args:
        folder: a trial's. threads: processes that may compile beside this one; of itself torch takes one for each core.
    """
    if USERS_CACHE is None:
        os.environ[CACHE] = str(folder.resolve().parents[2] / ".compiled")
    if "TORCHINDUCTOR_COMPILE_THREADS" not in os.environ:
        import torch._inductor.config

        torch._inductor.config.compile_threads = threads


def _settle(work: Mapping[str, Any]) -> Share:
    """Keeps this process to its job's share of the machine."""
    import torch

    share = Share(work["cpus"], work["gpus"])
    torch.set_num_threads(share.threads)
    if torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(share.memory)
    return share


def deaths(path: Path, session: str, place: int) -> int:
    """How often this life of the driver has begun at this very place before: each time, a process died there.

    Args:
        path: where it is counted. session: names the life of the driver. place: changes with every progress.
    """
    here = {"session": session, "place": place}
    try:
        last = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        last = {}
    count: int = last["deaths"] + 1 if last.get("here") == here else 0
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps({"here": here, "deaths": count}))
    return count


def _failure(error: Exception, log_file: Path, epoch: int) -> Report:
    """The report of a job that ended in an exception; re-raised where the process itself is broken."""
    import torch

    from robustray.errors import Diverged
    from robustray.training.script import ScriptFailed

    broken = getattr(torch, "AcceleratorError", None)
    if isinstance(error, torch.cuda.OutOfMemoryError):
        outcome = "out_of_memory"
        torch.cuda.empty_cache()
    elif (disk := disk_trouble(error)) is not None:
        cause = f"{log_file.parent}: {disk}"
        return {"outcome": BLOCKED, "cause": cause, "done": True, "epoch": epoch, "training_iteration": epoch}
    elif isinstance(error, UserError):
        return {"outcome": BLOCKED, "cause": str(error), "done": True, "epoch": epoch, "training_iteration": epoch}
    elif (broken is not None and isinstance(error, broken)) or "CUDA error" in str(error):
        raise error
    else:
        outcome = "diverged" if isinstance(error, Diverged) else "failed"
    with _logging_to(log_file):
        log.error("%s\n%s", outcome, "".join(traceback.format_exception(error)))
    lines = str(error).strip().splitlines() or [""]
    cause = lines[0] if isinstance(error, Diverged | ScriptFailed) else f"{type(error).__name__}: {lines[0]}"
    return {"outcome": outcome, "cause": cause, "done": True, "epoch": epoch, "training_iteration": epoch}


class _LogFile(logging.FileHandler):
    """A log whose disk may be full: what it cannot take is no reason to end a trial in another way than it did."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):  # of opening it
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Says nothing: logging would print a trace."""


class _logging_to:
    """Sends the `robustray` logger to a file while the block runs."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.handler = _LogFile(self.path, delay=True, encoding="utf-8", errors="backslashreplace")
        self.handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(self.handler)
        log.setLevel(logging.INFO)

    def __exit__(self, *_: object) -> None:
        log.removeHandler(self.handler)
        with contextlib.suppress(OSError):
            self.handler.close()
