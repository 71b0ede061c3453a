"""Ray Tune: trials and judge shards on every core and device of a machine or a cluster.

All of Ray is in this file. Searcher, scheduler and callback are thin: each hook is one call into the queue. Ray's own
checkpoints, restore, loggers and display are off; what has to survive is in the sweep's record and the trials' folders.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import signal
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from robustray._doctor import reached
from robustray.errors import UserError
from sweeps.queues import WAIT, Job, Queue
from sweeps.worker import Task, open_task

# Before ray is imported: workers stay in the working directory, no files and no output of Tune's, tokens on.
os.environ.update(
    {
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
        "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    }
)

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

Amount = float | Literal["auto"]


class Worker(tune.Trainable):  # type: ignore[misc]
    """One actor, reused for job after job: importing torch costs seconds, a job on a warm actor milliseconds."""

    def setup(self, config: dict[str, Any]) -> None:
        """Imports what is slow. A ghost of a finished job may run this, so it touches nothing on disk."""
        import robustray.training._trainer  # noqa: F401

        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._work = json.loads(new_config["work"])
        self._task: Task | None = None
        return True

    def step(self) -> dict[str, Any]:
        if self._task is None:
            self._task = open_task(self._work)
        report = self._task.step()
        # as one string: Tune flattens what it is given
        return {
            "training_iteration": report["training_iteration"],
            "done": report["done"],
            "report": json.dumps(report),
        }


class _Shared:
    """What searcher and scheduler know together. Tune tells the searcher neither who stopped a trial nor why one died."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.jobs: dict[str, Job] = {}  # by Tune's trial id
        self.stopped: set[str] = set()
        self.causes: dict[str, str] = {}
        self.drained = False  # the queue has said that nothing more will come
        self.error: BaseException | None = None

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """An exception in a hook ends the sweep in order; it is raised again once Tune has let go."""
        try:
            yield
        except Exception as error:
            self.error = self.error or error


class _Search(Searcher):  # type: ignore[misc]
    def __init__(self, shared: _Shared) -> None:
        super().__init__()
        self._shared = shared

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        shared = self._shared
        with shared.guard():
            if shared.error is None:
                job = shared.queue.next()
                if job is WAIT:
                    return None
                if isinstance(job, Job):
                    shared.jobs[trial_id] = job
                    return {"work": json.dumps(dict(job.work))}
                shared.drained = True
        finished: str = Searcher.FINISHED
        return finished

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        shared = self._shared
        job = shared.jobs.pop(trial_id)
        cause = shared.causes.pop(trial_id, None)
        with shared.guard():
            report = json.loads(result["report"]) if result and not error else {}
            if shared.error is not None and "outcome" not in report:
                return  # the sweep is being stopped, which is no end of this job: it stays unfinished
            outcome = "stopped" if trial_id in shared.stopped else report.get("outcome", "failed")
            shared.queue.finish(job, outcome, report, cause if outcome == "failed" else None)

    def set_search_properties(self, metric: str | None, mode: str | None, config: Any, **spec: Any) -> bool:
        return True

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the record is elsewhere."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles it, and never reads it back


class _Schedule(FIFOScheduler):  # type: ignore[misc]
    def __init__(self, shared: _Shared) -> None:
        super().__init__()
        self._shared = shared

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        shared = self._shared
        with shared.guard():
            verdict = shared.queue.report(shared.jobs[trial.trial_id], json.loads(result["report"]))
            if shared.error is None and verdict == "stop":
                shared.stopped.add(trial.trial_id)
                return str(TrialScheduler.STOP)
        return str(TrialScheduler.STOP if shared.error else TrialScheduler.CONTINUE)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        lines: list[str] = []
        with contextlib.suppress(OSError, TypeError):
            lines = Path(trial.error_file).read_text().strip().splitlines()
        self._shared.causes[trial.trial_id] = lines[-1] if lines else "its process died"

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The stock one walks all trials ever made, at every step."""
        for status in (Trial.PENDING, Trial.PAUSED):
            for trial in tune_controller.get_live_trials():
                if trial.status == status:
                    return trial
        return None

    def __getstate__(self) -> dict[str, Any]:
        return {}


class RayTune:
    """Runs a queue on Ray Tune: a cluster where RAY_ADDRESS names one, else a local one for the time of the sweep."""

    def __init__(self, cpus: Amount, gpus: Amount, *, talks: bool = False) -> None:
        """Connects to Ray.

        Args:
            cpus, gpus: per job. `auto`: one CPU; one GPU where the cluster has any.
            talks: let Ray and the workers print, since their output is kept in a file.

        Raises:
            UserError: the cluster cannot be reached, or no job fits on it.
        """
        self._connect(talks)
        there = ray.cluster_resources()
        self._per_job = {
            "cpu": 1.0 if cpus == "auto" else float(cpus),
            "gpu": min(1.0, there.get("GPU", 0.0)) if gpus == "auto" else float(gpus),
        }
        self.slots = sum(jobs_on(node["Resources"], self._per_job) for node in ray.nodes() if node["Alive"])
        if self.slots < 1:
            ray.shutdown()
            raise UserError(
                f"no job fits on one node: each wants {self._per_job['cpu']:g} CPUs and {self._per_job['gpu']:g} GPUs, all "
                f"nodes together have {there.get('CPU', 0):g} and {there.get('GPU', 0):g}"
            )

    @property
    def described(self) -> str:
        return f"{self.slots} at a time on Ray"

    def _connect(self, talks: bool) -> None:
        address = os.environ.get("RAY_ADDRESS")
        if address and (found := reached(address)).state == "wrong":  # Ray would try for a minute
            raise UserError(f"RAY_ADDRESS: {found.told}")
        with_dashboard = all(
            importlib.util.find_spec(name) for name in ("aiohttp_cors", "opencensus", "prometheus_client")
        )
        said: dict[str, Any] = {"log_to_driver": talks, "logging_level": "INFO" if talks else "ERROR"}
        local: dict[str, Any] = {} if address else {"include_dashboard": with_dashboard, "dashboard_host": "127.0.0.1"}
        logging.getLogger("ray.tune.analysis").setLevel("ERROR")  # it misses Tune's own result files, which are off
        terminate = signal.getsignal(signal.SIGTERM)
        try:
            context = ray.init(address=address or "local", **said, **local)
        except Exception as error:
            where = f"the cluster at {address}" if address else "a local Ray"
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise UserError(
                f"cannot start on {where}: {lines[0]} (tokens are on: RAY_AUTH_MODE=token on both sides, the same token)"
            ) from error
        signal.signal(signal.SIGTERM, terminate)  # Ray puts its own in place, which leaves with a stack trace
        url = getattr(context, "dashboard_url", None)
        self.dashboard = f"http://{url}" if url else None

    def run(self, queue: Queue) -> bool:
        """Drives the queue to its end; True if SIGINT or SIGTERM ended it before."""
        shared = _Shared(queue)
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}  # Tune leaves its own
        signal.signal(signal.SIGTERM, _forward)
        try:
            with tempfile.TemporaryDirectory(prefix="robustray-") as scratch:
                self._fit(shared, scratch)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            ray.shutdown()
        if shared.error is not None:
            raise shared.error
        return bool(shared.jobs) or not shared.drained

    def _fit(self, shared: _Shared, scratch: str) -> None:
        tuner = tune.Tuner(
            tune.with_resources(Worker, self._per_job),
            tune_config=tune.TuneConfig(
                search_alg=_Search(shared),
                scheduler=_Schedule(shared),
                num_samples=-1,
                max_concurrent_trials=self.slots,  # unset, one slot is all that short trials ever get
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                storage_path=scratch,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=-1),  # attempts are counted in the trial's own folder
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            ),
        )
        tuner.fit()


def jobs_on(node: Mapping[str, float], per_job: Mapping[str, float]) -> int:
    """How many jobs fit on a node at a time; ten of 0.1 on one device, whatever the rounding."""
    return min(int(node.get(name.upper(), 0.0) / share + 1e-9) for name, share in per_job.items() if share > 0)


def _forward(number: int, frame: FrameType | None) -> None:
    os.kill(os.getpid(), signal.SIGINT)
