"""Ray Tune: trials and judge shards on every core and device of a machine or a cluster.

All of Ray is in this file, what it says of its nodes in `ray_nodes.py`, and the way to those that do not see the results in
`ray_far.py`. Searcher, scheduler and callback are thin: each
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
from typing import Any, NoReturn

from robustray import home, plugins
from robustray.commands import own_ray
from robustray.commands.doctor import reached
from robustray.errors import UserError
from robustray.processors import cores
from robustray.stopping import AtOnce, Stops, unheard
from sweeps.running import wants, watch
from sweeps.running.evidence import FILES, Evidence, NodeFault, lacking, settle, unseen, unwritable
from sweeps.running.far import Far, Unable
from sweeps.running.head import OTHERS, OWN, Headless, HeadWatch
from sweeps.running.in_flight import Halt, InFlight
from sweeps.running.nodes import NodeNews, selector
from sweeps.running.packing import Machine, Share
from sweeps.running.queues import DONE, Job, Queue
from sweeps.running.shipping import staged
from sweeps.running.starting import started
from sweeps.running.stop_file import PAUSED, StopFile, asked, asking, heeding
from sweeps.running.tasks.base import BLOCKED, Report, Task, failed
from sweeps.running.worker import open_task
from sweeps.space.resources import Resources

# Before ray is imported: workers stay in the working directory, no files, no output and no signals of Tune's.
os.environ.update(
    {
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
        "TUNE_MAX_PENDING_TRIALS_PG": "1000000",  # how many there are is ours to say: as many as the nodes have slots for
        "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
        **own_ray.environment(),
    }
)

os.environ.update(home.ray_token())

import ray
from ray import tune
from ray.tune.execution import class_cache
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from sweeps.running import ray_far, ray_nodes
from sweeps.running.ray_far import Post
from sweeps.running.ray_nodes import RollCall
from sweeps.running.ray_scaling import ARRIVAL, Scaling

# Tune hands these to its workers as a runtime environment, which Ray writes into logs that all users of a machine may read. On
# this machine workers have them from us; on a cluster each node has its own.
class_cache.ENV_VARS_TO_PROPAGATE.difference_update(
    [name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")]
)

LEAVES = "its node is about to leave"
"""Why a job goes back that has stopped in time."""


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
        self._name: str = new_config["name"]
        self._task: Task | None = None
        plugins.arrived(json.loads(new_config["plugins"]))
        return True

    def __repr__(self) -> str:
        # in Ray's dashboard, as it was when Ray asked; its process and its lines have the name of the job at hand
        return f"worker of {self._stop.parent.name} since {self._name}"

    def step(self) -> dict[str, Any]:
        ray_nodes.shown_as(self._name)
        node = ray.get_runtime_context().get_node_id()
        try:
            if self._task is None:
                self._task = _opened(self._name, self._work, self._asked)
            report = self._heeding(self._task, node)
            if report.get("outcome") in (BLOCKED, "failed"):
                self._check_node()  # a trial's failure is none where its node has lost sight of the results
        except Unable as unable:
            raise NodeFault(node, str(unable)) from None
        # as one string: Tune flattens what it is given
        return {
            "training_iteration": report["training_iteration"],
            "done": report["done"],
            "report": json.dumps(report),
            "node": node,
            "far": isinstance(self._task, Far),
        }

    def cleanup(self) -> None:
        ray_far.clear()

    def _heeding(self, task: Task, node: str) -> Report:
        """A step of the task, or `PAUSED`.

        Raises:
            NodeFault: its node is about to leave.
        """
        if isinstance(task, Far):
            report = heeding(task, lambda: any(task.heard(node)), ray_far.LOOK)
            leaves = report is PAUSED and not task.heard(node)[0]
        else:
            report = heeding(task, asking(self._stop, node))
            leaves = report is PAUSED and not asked(self._stop)
        if leaves:
            raise NodeFault(node, LEAVES)
        return report

    def _check_node(self) -> None:
        """Raises Unable where this node does not have what it has to."""
        if self._asked is None:
            return
        settle(self._asked)
        why = None if isinstance(self._task, Far) else unseen(self._asked)
        if (why := why or lacking(self._asked)) is not None:
            raise Unable(why)


class _Search(Searcher):  # type: ignore[misc]
    def __init__(self, flight: InFlight, roll: RollCall, stop: Path) -> None:
        super().__init__()
        self._flight = flight
        self._roll = roll
        self._stop = stop

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self._flight.processes >= max(1, self._roll.nodes.processes) and not self._flight.halting:
            return None  # Tune's own limit is that of the nodes that a sweep begins with
        job = self._flight.begin(trial_id)
        if isinstance(job, Job):
            shared = {
                "asked": json.dumps(_without_files(self._roll.asked)),
                "plugins": json.dumps(plugins.travelling()),
            }
            return {"stop": str(self._stop), **shared, **_config(job, self._roll)}
        finished: str = Searcher.FINISHED
        return finished if job is DONE else None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if error:  # a worker that was kept for the next job had died: Tune tries again after all deaths but this one
            self._flight.give_up(trial_id)
        else:
            self._flight.end(trial_id, json.loads(result["report"]) if result else {})

    def set_search_properties(self, metric: str | None, mode: str | None, config: Any, **spec: Any) -> bool:
        return True

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the record is elsewhere."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles it, and never reads it back


class _Schedule(FIFOScheduler):  # type: ignore[misc]
    def __init__(self, flight: InFlight, roll: RollCall, scaling: Scaling) -> None:
        super().__init__()
        self._flight = flight
        self._roll = roll
        self._frozen = watch.Frozen()
        self._scaling = scaling

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        if result.get("far"):
            self._roll.nodes.carries(result["node"])
        stops = self._flight.progress(trial.trial_id, json.loads(result["report"]), result.get("node", ""))
        return str(TrialScheduler.STOP if stops else TrialScheduler.CONTINUE)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        with self._flight.guard():
            why, spared = self._roll.judge(*ray_nodes.kept(trial.pickled_error_file, trial.error_file))
            job = self._flight.lose(trial.trial_id, why, spared=spared)
            before, now = trial.config, _config(job, self._roll)
            trial.set_config({**before, **now})
            if now["shunned"] != before["shunned"]:
                trial.placement_group_factory = _wanted(now)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The stock one walks all trials ever made, at every step."""
        if not self._flight.halting:
            with self._flight.guard():
                self._roll.poll()
                if self._scaling and self._roll.nodes.share is not None:
                    self._scaling.want(_bundle(self._roll.nodes.share), left=self._flight.left)
        live = {trial.trial_id: trial for trial in tune_controller.get_live_trials()}
        at_work = [key for key, trial in live.items() if trial.status == Trial.RUNNING]
        waiting = [key for key, trial in live.items() if trial.status in (Trial.PENDING, Trial.PAUSED)]
        works = {key: self._flight.jobs[key].work for key in at_work if key in self._flight.jobs}
        for key in self._frozen.silent(works, time.monotonic()):
            _kill(tune_controller, live[key])
        chosen = self._flight.choose(at_work, waiting, time.monotonic(), self._roll.free)
        return None if chosen is None else live[chosen]

    def __getstate__(self) -> dict[str, Any]:
        return {}


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
        resources: Resources | None = None,
    ) -> None:
        """Connects to Ray, and lets every node of a cluster show that it can do the work.

        Args:
            folder: the sweep's. say: takes a line for the user.
            asked: what nodes have to show; None for nothing.
            tell: is told of nodes that cannot, of those that are lost, and of their jobs.
            talks: let Ray and the workers print, since their output is kept in a file.
            resources: what the space says that a job takes, and what of a cluster.

        Raises:
            UserError: the cluster cannot be reached, or no node of it can do the work.
        """
        self._folder = folder
        self._say = say
        self._tell = tell
        asks = resources or Resources()
        given = own_ray.cluster() is not None
        self._connect(talks, ships=asks.ship_code and given)
        shown = asked if os.environ.get("RAY_ADDRESS") else None
        self._roll = RollCall(shown, tell, Post(shown).open)
        self._roll.all()
        self._besides = asks.besides
        self._scaling = Scaling(asks.scale_to if given else None)
        if self._scaling:
            self._roll.nodes.arrival = ARRIVAL
            self._await_first(asks)
        there = self._roll.nodes.usable
        if not any(node.cpus or node.gpus for node in there):
            self._end(self._roll.nodes.none_left())
        fit = self._fit_nodes()
        if not fit:
            self._end(f"resources: no node has what a job takes: {wants.short(self._besides, there)}")
        gpus, cpus = max(fit)
        self.machine = Machine(max(1, int(cpus)), int(gpus))
        self.slots = 0
        self.described = "on Ray"

    def measure(self, work: Mapping[str, Any]) -> Report:
        """Does a piece of work before any queue, on a node of its own or a whole GPU. A process that dies is a failure."""
        wanted: dict[str, Any] = {"num_gpus": 1} if self.machine.gpus else {"num_cpus": self.machine.cores}
        named = dict(self._besides)
        if memory := named.pop("memory", 0):
            wanted["memory"] = memory
        if named:
            wanted["resources"] = named
        where = {"label_selector": avoiding} if (avoiding := selector(self._roll.nodes.shunned)) else {}
        try:
            away = ray.remote(max_retries=0, **wanted, **where)(_measured)
            shown = _without_files(self._roll.asked)
            said: Report = ray.get(away.remote(dict(work), plugins.travelling(), shown))
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
        self._scaling.want(_bundle(share))
        wanted = wants.listed(share.cpus, share.gpus, dict(share.besides))
        if self.slots < 1:
            self._end(f"no job fits on one node: each takes {wanted}; {wants.there(nodes.usable)}")
        for node in nodes.usable:
            if (node.cpus or node.gpus) and not node.jobs(share):
                self._say(f"node {node.name} gets no work: it has {node.has}, and each job takes {wanted}")
        each = f", {share.processes} processes each" if share.processes > 1 else ""
        each += f", {share.threads} threads each" if share.threads > 1 else ""
        each += f", {share.sharers} to a GPU" if share.sharers > 1 else ""
        self.described = f"{self.slots} at a time on Ray{each}"

    def _fit_nodes(self) -> list[tuple[float, float]]:
        """GPUs and CPUs of nodes that have what every job takes besides."""
        usable = [node for node in self._roll.nodes.usable if node.cpus or node.gpus]
        return [(node.gpus, node.cpus) for node in usable if not wants.lacking(self._besides, node.besides)]

    def _await_first(self, asks: Resources) -> None:
        """Waits until an autoscaler has brought a node, where there is none yet."""
        cpus, gpus = (1.0 if asks.cpus == "auto" else asks.cpus), (0.0 if asks.gpus == "auto" else asks.gpus)
        bundle = {"CPU": cpus, "GPU": gpus, **self._besides}
        self._scaling.want(bundle)
        began = time.monotonic()
        if not self._fit_nodes():
            self._say(f"waiting for the autoscaler to bring a node with {wants.listed(cpus, gpus, self._besides)}")
        try:
            while not self._fit_nodes():
                if time.monotonic() - began > ARRIVAL:
                    self._end(f"no node has come in {ARRIVAL / 60:g} minutes; {self._roll.nodes.none_left()}")
                self._roll.poll()
                time.sleep(0.5)
        except BaseException:
            self._scaling.over()
            raise

    def _end(self, why: str) -> NoReturn:
        self._scaling.over()
        ray.shutdown()
        raise UserError(why)

    def _connect(self, talks: bool, *, ships: bool) -> None:
        address = own_ray.cluster()
        if address and (found := reached(address)).state == "wrong":  # Ray would try for a minute
            raise UserError(f"RAY_ADDRESS: {found.told}")
        with_dashboard = all(
            importlib.util.find_spec(name) for name in ("aiohttp_cors", "opencensus", "prometheus_client")
        )
        said: dict[str, Any] = {"log_to_driver": talks, "logging_level": "INFO" if talks else "ERROR"}
        local: dict[str, Any] = {"dashboard_host": "127.0.0.1", "num_cpus": cores()}
        logging.getLogger("ray.tune.analysis").setLevel("ERROR")  # it misses Tune's own result files, which are off
        terminate = signal.getsignal(signal.SIGTERM)
        try:
            with contextlib.nullcontext() if address else unheard(), _code(ships=ships) as code:
                said |= code

                def begin(dashboard: bool) -> Any:
                    try:
                        return ray.init(
                            address="local", include_dashboard=with_dashboard and dashboard, **local, **said
                        )
                    finally:
                        signal.signal(signal.SIGTERM, terminate)  # Ray's own one leaves with a stack trace

                if address:
                    context = ray.init(address=address, **said)
                    signal.signal(signal.SIGTERM, terminate)
                else:
                    context = started(begin, Path(ray.__file__).parent, self._say)
        except UnicodeEncodeError:  # it writes down how it was called, and where
            raise UserError(
                "Ray takes no names that are not in UTF-8, and there is one in the command line, the working directory or "
                "PYTHONPATH; give it another name, or --backend local"
            ) from None
        except Exception as error:
            raise UserError(own_ray.refused(error, address)) from error
        if address and (told := own_ray.exposed(str(node.get("NodeManagerAddress", "")) for node in ray.nodes())):
            self._say(f"warning: {told}")
        url = getattr(context, "dashboard_url", None)
        self.dashboard = f"http://{url}" if url else None

    def run(self, queue: Queue) -> bool:
        """Drives the queue to its end; True if SIGINT or SIGTERM ended it before.

        Trials are stopped after the optimiser step in flight, with a checkpoint, and shards in flight are given up.

        Raises:
            AtOnce: a second signal came before that, or a process died before it had stopped.
            UserError: Ray's head is gone, or no node is left.
        """
        stop = StopFile(self._folder)
        flight = InFlight(queue, self._roll.nodes, stop.ask, say=self._say, tell=self._tell)
        self._roll.release = stop.release
        with _headed(self._say) as rest, stop, Stops(flight.stop):
            try:
                with contextlib.suppress(Halt), tempfile.TemporaryDirectory(prefix="robustray-") as scratch:
                    self._fit(flight, stop.path, scratch)
            finally:
                rest()  # a local head goes with the next lines, process by process
                self._scaling.over()
                ray.shutdown()
        if flight.error is not None:
            raise flight.error
        if flight.died:
            raise AtOnce
        return not flight.through

    def _fit(self, flight: InFlight, stop: Path, scratch: str) -> None:
        tuner = tune.Tuner(
            tune.with_resources(Worker, _wanted),
            tune_config=tune.TuneConfig(
                search_alg=_Search(flight, self._roll, stop),
                scheduler=_Schedule(flight, self._roll, self._scaling),
                num_samples=-1,
                reuse_actors=True,
                trial_name_creator=lambda trial: trial.config["name"].replace(" ", "_"),
            ),
            run_config=tune.RunConfig(
                storage_path=scratch,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=-1),  # attempts are counted in the trial's own folder
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            ),
        )
        tuner.fit()


def _bundle(share: Share) -> dict[str, float]:
    """What a job takes, by Ray's names."""
    return {"CPU": share.cpus, "GPU": share.gpus, **dict(share.besides)}


@contextlib.contextmanager
def _code(*, ships: bool) -> Iterator[dict[str, Any]]:
    """What `ray.init` is told of code that goes to the nodes. A job that was submitted with its folder has sent it already."""
    if not ships or "working_dir" in os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", ""):
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="robustray-code-") as folder:
        staged(Path(folder), [name for name, _, _ in plugins.travelling() if name])
        yield {"runtime_env": {"working_dir": folder}}


@contextlib.contextmanager
def _headed(say: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """Looks after Ray's head while the block runs, or until it calls what it is given.

    Raises:
        UserError: it is gone.
    """
    given = own_ray.cluster()
    if given is not None and given.startswith("ray://"):  # a client of it, which has no more than its own connection
        yield lambda: None
        return
    address = str(ray.get_runtime_context().gcs_address)
    whose = f"the head of the cluster at {address}" if given else "the head of the local Ray"
    words = f"{whose} is gone; what was reported is kept, and the same command goes on"
    try:
        with HeadWatch(address, OTHERS if given else OWN, words, say) as watched:
            yield watched.rest
    except Headless as error:
        raise UserError(str(error)) from None


def _measured(work: dict[str, Any], known: list[tuple[str, str, str]], asks: Evidence | None) -> Report:
    plugins.arrived(known)
    try:
        return _opened("measure", work, asks).step()
    except Unable as unable:
        return failed(str(unable))
    finally:
        ray_far.clear()


def _opened(name: str, work: Mapping[str, Any], asks: Evidence | None) -> Task:
    """The task of a job, here or with its files elsewhere.

    Raises:
        Unable: this node may not write the results, or does not see them while files cannot travel.
    """
    folder = Path(work["folder"])
    if asks is not None:
        settle(asks)
        if (why := unwritable(asks)) is not None:
            raise Unable(why)
        if (why := unseen(asks)) is not None:
            home = Path(asks["marker"]).parent
            return Far(name, work, home, ray_far.Calls(why), ray_far.scratch(home.name), _opened_far)
    return open_task(work, watch.leaving(folder), shown=True)


def _opened_far(work: Mapping[str, Any], hung: Callable[[float], None], counted: Callable[[], None]) -> Task:
    return open_task(work, hung, shown=True, counted=counted)


def _without_files(asks: Evidence | None) -> Evidence | None:
    """What nodes have to show once they have shown it: the plugins come with each trial."""
    return None if asks is None else {key: value for key, value in asks.items() if key != FILES}


def _kill(tune_controller: Any, trial: Trial) -> None:
    """Ends the actor of a trial, which is then tried again as where it had died. Tune itself has no such call."""
    tracked = tune_controller._trial_to_actor.get(trial)
    handle, _ = tune_controller._actor_manager._live_actors_to_ray_actors_resources.get(tracked, (None, None))
    if handle is not None:
        ray.kill(handle)


def _config(job: Job, roll: RollCall) -> dict[str, Any]:
    """What of a trial of Tune's may change when it is tried again."""
    return {"name": job.name, "work": json.dumps(dict(job.work)), "shunned": ",".join(roll.nodes.shunned)}


def _wanted(config: dict[str, Any]) -> tune.PlacementGroupFactory:
    """What a job asks Ray for. Tune keeps an actor for jobs that ask for the same."""
    work = json.loads(config["work"])
    where = selector(filter(None, config["shunned"].split(",")))
    there = {"bundle_label_selector": [where]} if where else {}
    return tune.PlacementGroupFactory([{"CPU": work["cpus"], "GPU": work["gpus"], **work.get("besides", {})}], **there)
