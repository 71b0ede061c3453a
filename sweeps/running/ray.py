"""Ray Tune: trials and judge shards on every core and device of a machine or a cluster.

All of Ray is in this file, and what it says of its nodes in `ray_nodes.py`. Searcher, scheduler and callback are thin: each
hook is one call into the queue. Ray's own checkpoints, restore, loggers and display are off; what has to survive is in the
sweep's record and the trials' folders.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from robustray import home
from robustray.commands import own_ray
from robustray.commands.doctor import reached
from robustray.errors import UserError
from robustray.processors import cores
from robustray.stopping import AtOnce, Stops, unheard
from sweeps.running.evidence import Evidence, NodeFault, lacking, settle, unseen
from sweeps.running.nodes import NodeNews, selector
from sweeps.running.packing import Machine, Share
from sweeps.running.queues import WAIT, End, Job, Queue
from sweeps.running.returned import Returned
from sweeps.running.stop_file import StopFile, heeding
from sweeps.running.worker import BLOCKED, Report, Task, open_task

# Before ray is imported: workers stay in the working directory, no files, no output and no signals of Tune's.
os.environ.update(
    {
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
        "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
        **own_ray.environment(),
    }
)

os.environ.update(home.ray_token())

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from sweeps.running import ray_nodes
from sweeps.running.ray_nodes import RollCall


class Worker(tune.Trainable):  # type: ignore[misc]
    """One actor, reused for job after job: importing torch costs seconds, a job on a warm actor milliseconds."""

    def setup(self, config: dict[str, Any]) -> None:
        """Imports what is slow. A ghost of a finished job may run this, so it touches nothing on disk."""
        import torch._dynamo  # noqa: F401  the first optimiser of a process would

        import robustray.training.trainer  # noqa: F401

        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._work = json.loads(new_config["work"])
        self._stop = Path(new_config["stop"])
        self._asked: Evidence | None = json.loads(new_config["asked"])
        self._task: Task | None = None
        return True

    def step(self) -> dict[str, Any]:
        if self._task is None:
            self._check_node(unseen)
            self._task = open_task(self._work)
        report = heeding(self._task, self._stop)
        if report.get("outcome") in (BLOCKED, "failed"):
            self._check_node(lacking)  # a trial's failure is none where its node has lost sight of the results
        # as one string: Tune flattens what it is given
        return {
            "training_iteration": report["training_iteration"],
            "done": report["done"],
            "report": json.dumps(report),
            "node": ray.get_runtime_context().get_node_id(),
        }

    def _check_node(self, fault: Callable[[Evidence], str | None]) -> None:
        """Raises NodeFault where this node does not have what it has to."""
        if self._asked is None:
            return
        settle(self._asked)
        if (why := fault(self._asked)) is not None:
            raise NodeFault(ray.get_runtime_context().get_node_id(), why)


class _Shared:
    """What searcher and scheduler know together. Tune tells the searcher neither who stopped a trial nor why one died."""

    def __init__(
        self,
        queue: Queue,
        stop: Path = Path(),
        say: Callable[[str], None] = lambda line: None,
        *,
        roll: RollCall | None = None,
        tell: Callable[[NodeNews], None] = lambda news: None,
    ) -> None:
        self.queue = queue
        self.stop = stop
        self.say = say
        self.roll = roll or RollCall()
        self.returned = Returned(tell)
        self.jobs: dict[str, Job] = {}  # by Tune's trial id
        self.stopped: set[str] = set()
        self.causes: dict[str, str] = {}
        self.drained = False  # the queue has said that nothing more will come
        self.again: list[Job] = []  # those that Tune has given up, and we have not
        self.error: BaseException | None = None
        self.stopping = False  # somebody has asked for it
        self.told = False  # and knows what is waited for
        self.died = False  # a process, before it had stopped
        self.left: list[Job] = []  # jobs that were stopped so: unfinished, but on disk as far as they came
        self.stranded = False  # no node is left that could do anything

    @property
    def halting(self) -> bool:
        """Whether nothing more is begun, and a job that stops has not ended."""
        return self.stopping or self.error is not None

    def look(self) -> None:
        """Looks after the nodes; where none is left, the sweep ends."""
        with self.guard():
            self.roll.poll()
            why = self.roll.nodes.verdict(time.monotonic())
            if why is not None:
                self.stranded = True
                raise UserError(why)

    def config(self, job: Job) -> dict[str, Any]:
        """What a worker is given."""
        return {
            "work": json.dumps(dict(job.work)),
            "stop": str(self.stop),
            "asked": json.dumps(self.roll.asked),
            "shunned": ",".join(self.roll.nodes.shunned),
        }

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
            if not shared.halting:
                if shared.again:
                    shared.jobs[trial_id] = shared.again.pop(0)
                    return shared.config(shared.jobs[trial_id])
                if shared.returned.waiting:
                    return None  # those go first
                job = shared.queue.next()
                if job is WAIT:
                    return None
                if isinstance(job, Job):
                    shared.jobs[trial_id] = job
                    return shared.config(job)
                shared.drained = True
        finished: str = Searcher.FINISHED
        return finished

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        shared = self._shared
        job = shared.jobs.pop(trial_id)
        cause = shared.causes.pop(trial_id, None)
        if (
            error
        ):  # a worker that was kept for the next job had died: Tune retries all but this, which is no end of the job
            (shared.left if shared.halting else shared.again).append(job)
            return
        shared.returned.forget(job.name)
        with shared.guard():
            report = json.loads(result["report"]) if result and not error else {}
            if shared.halting and "outcome" not in report:
                shared.left.append(job)
                return  # the sweep is being stopped, which is no end of this job: it stays unfinished
            outcome = "stopped" if trial_id in shared.stopped else report.get("outcome", "failed")
            shared.queue.finish(job, End.of(report, outcome=outcome, cause=cause if outcome == "failed" else None))

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
            shared.roll.nodes.trust(result.get("node", ""))
            verdict = shared.queue.report(shared.jobs[trial.trial_id], json.loads(result["report"]))
            if verdict == "stop" and shared.error is None:
                shared.stopped.add(trial.trial_id)
                return str(TrialScheduler.STOP)
        return str(TrialScheduler.STOP if shared.halting else TrialScheduler.CONTINUE)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        shared = self._shared
        with shared.guard():
            why, spared = shared.roll.judge(*ray_nodes.kept(trial.pickled_error_file, trial.error_file))
            shared.causes[trial.trial_id] = why
            shared.died |= shared.stopping and not spared
            job = shared.returned.take(shared.jobs[trial.trial_id], why, spared=spared)
            shared.jobs[trial.trial_id] = job
            before, config = trial.config, shared.config(job)
            trial.set_config({**before, **config})
            if config["shunned"] != before["shunned"]:
                trial.placement_group_factory = _wanted(config)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Those first that had a place before. The stock one walks all trials ever made, at every step.

        A stop ends with the last one at work.
        """
        shared = self._shared
        if shared.stopping:
            self._wait_for([trial for trial in tune_controller.get_live_trials() if trial.status == Trial.RUNNING])
            return None
        shared.look()
        live = list(tune_controller.get_live_trials())
        waiting = [trial for trial in live if trial.status in (Trial.PENDING, Trial.PAUSED)]
        jobs = {trial.trial_id: shared.jobs[trial.trial_id] for trial in live if trial.trial_id in shared.jobs}
        at_work = {
            jobs[trial.trial_id].name for trial in live if trial.status == Trial.RUNNING and trial.trial_id in jobs
        }
        places = [jobs[trial.trial_id] for trial in waiting if trial.trial_id in jobs]
        with shared.guard():
            shared.returned.look(at_work, places, time.monotonic(), shared.roll.free)
        known = [trial for trial in waiting if trial.trial_id in jobs]
        return min(known, key=lambda trial: shared.returned.rank(jobs[trial.trial_id].name), default=None)

    def _wait_for(self, at_work: list[Trial]) -> None:
        """Raises _Halt: none is at work, and those that wait for a place have nothing to lose."""
        shared = self._shared
        if not at_work:
            raise _Halt
        if not shared.told:
            shared.told = True
            jobs = "a job ends its" if len(at_work) == 1 else f"{len(at_work)} jobs end their"
            shared.say(f"stopping: {jobs} step; once more stops at once")

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Halt(BaseException):
    """Ends Tune's loop, which takes an Exception of a hook for one of its own."""


class _Stranded(tune.Stopper):  # type: ignore[misc]
    """Ends Tune where nothing runs and nothing ever would."""

    def __init__(self, shared: _Shared) -> None:
        self._shared: _Shared | None = shared

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._shared is not None and self._shared.stranded

    def __getstate__(self) -> dict[str, Any]:
        return {"_shared": None}


class RayTune:
    """Runs a queue on Ray Tune: a cluster where RAY_ADDRESS names one, else a local one for the time of the sweep."""

    def __init__(
        self,
        folder: Path,
        say: Callable[[str], None] = lambda line: None,
        *,
        asked: Evidence | None = None,
        tell: Callable[[NodeNews], None] = lambda news: None,
        talks: bool = False,
    ) -> None:
        """Connects to Ray, and lets every node of a cluster show that it can do the work.

        Args:
            folder: the sweep's. say: takes a line for the user.
            asked: what nodes have to show; None for nothing.
            tell: is told of nodes that cannot, of those that are lost, and of their jobs.
            talks: let Ray and the workers print, since their output is kept in a file.

        Raises:
            UserError: the cluster cannot be reached, or no node of it can do the work.
        """
        self._folder = folder
        self._say = say
        self._tell = tell
        self._connect(talks)
        self._roll = RollCall(asked if os.environ.get("RAY_ADDRESS") else None, tell)
        self._roll.all()
        usable = [(node.gpus, node.cpus) for node in self._roll.nodes.usable]
        if not any(map(any, usable)):
            ray.shutdown()
            raise UserError(self._roll.nodes.none_left())
        gpus, cpus = max(usable)
        self.machine = Machine(max(1, int(cpus)), int(gpus))
        self.slots = 0
        self.described = "on Ray"

    def measure(self, work: Mapping[str, Any]) -> Report:
        """Does a piece of work before any queue, on a node of its own or a whole GPU. A process that dies is a failure."""
        wanted = {"num_gpus": 1} if self.machine.gpus else {"num_cpus": self.machine.cores}
        where = {"label_selector": avoiding} if (avoiding := selector(self._roll.nodes.shunned)) else {}
        try:
            said: Report = ray.get(ray.remote(max_retries=0, **wanted, **where)(_measured).remote(dict(work)))
        except ray.exceptions.RayError as error:
            return {"outcome": "failed", "cause": str(error).strip().splitlines()[0]}
        return said

    def settle(self, share: Share) -> None:
        """Takes the share that most jobs will have: it decides how many run at a time.

        Raises:
            UserError: no job fits.
        """
        nodes = self._roll.nodes
        nodes.share = share
        self.slots = nodes.slots
        if self.slots < 1:
            ray.shutdown()
            cpus, gpus = (sum(getattr(node, kind) for node in nodes.usable) for kind in ("cpus", "gpus"))
            raise UserError(
                f"no job fits on one node: each wants {share.cpus:g} CPUs and {share.gpus:g} GPUs, all nodes together have "
                f"{cpus:g} and {gpus:g}"
            )
        each = f", {share.threads} threads each" if share.threads > 1 else ""
        each += f", {share.sharers} to a GPU" if share.sharers > 1 else ""
        self.described = f"{self.slots} at a time on Ray{each}"

    def _connect(self, talks: bool) -> None:
        address = own_ray.cluster()
        if address and (found := reached(address)).state == "wrong":  # Ray would try for a minute
            raise UserError(f"RAY_ADDRESS: {found.told}")
        with_dashboard = all(
            importlib.util.find_spec(name) for name in ("aiohttp_cors", "opencensus", "prometheus_client")
        )
        said: dict[str, Any] = {"log_to_driver": talks, "logging_level": "INFO" if talks else "ERROR"}
        local: dict[str, Any] = {
            "include_dashboard": with_dashboard,
            "dashboard_host": "127.0.0.1",
            "num_cpus": cores(),
        }
        logging.getLogger("ray.tune.analysis").setLevel("ERROR")  # it misses Tune's own result files, which are off
        terminate = signal.getsignal(signal.SIGTERM)
        try:
            with contextlib.nullcontext() if address else unheard():
                context = ray.init(address=address or "local", **said, **({} if address else local))
                signal.signal(signal.SIGTERM, terminate)  # Ray puts its own in place, which leaves with a stack trace
        except UnicodeEncodeError:  # it writes down how it was called, and where
            raise UserError(
                "Ray takes no names that are not in UTF-8, and there is one in the command line, the working directory or "
                "PYTHONPATH; give it another name, or --backend local"
            ) from None
        except Exception as error:
            raise UserError(own_ray.refused(error, address)) from error
        url = getattr(context, "dashboard_url", None)
        self.dashboard = f"http://{url}" if url else None

    def run(self, queue: Queue) -> bool:
        """Drives the queue to its end; True if SIGINT or SIGTERM ended it before.

        Trials are stopped after the optimiser step in flight, with a checkpoint, and shards in flight are given up.

        Raises:
            AtOnce: a second signal came before that, or a process died before it had stopped.
        """
        stop = StopFile(self._folder)
        shared = _Shared(queue, stop.path, self._say, roll=self._roll, tell=self._tell)

        def soon() -> None:
            shared.stopping = True
            stop.ask()

        with stop, Stops(soon):
            try:
                with contextlib.suppress(_Halt), tempfile.TemporaryDirectory(prefix="robustray-") as scratch:
                    self._fit(shared, scratch)
            finally:
                ray.shutdown()
        if shared.error is not None:
            raise shared.error
        if shared.died:
            raise AtOnce
        return bool(shared.jobs or shared.left) or not shared.drained

    def _fit(self, shared: _Shared, scratch: str) -> None:
        tuner = tune.Tuner(
            tune.with_resources(Worker, _wanted),
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
                stop=_Stranded(shared),
                failure_config=tune.FailureConfig(max_failures=-1),  # attempts are counted in the trial's own folder
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            ),
        )
        tuner.fit()


def _measured(work: dict[str, Any]) -> Report:
    return open_task(work).step()


def _wanted(config: dict[str, Any]) -> tune.PlacementGroupFactory:
    """What a job asks Ray for. Tune keeps an actor for jobs that ask for the same."""
    work = json.loads(config["work"])
    where = selector(filter(None, config["shunned"].split(",")))
    there = {"bundle_label_selector": [where]} if where else {}
    return tune.PlacementGroupFactory([{"CPU": work["cpus"], "GPU": work["gpus"]}], **there)
