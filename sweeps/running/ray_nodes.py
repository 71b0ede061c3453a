"""What Ray says of its nodes, and what they say themselves: a task on each of them looks before any job is sent there."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from robustray.errors import UserError
from sweeps.running import evidence, wants
from sweeps.running.evidence import Evidence, NodeFault, Seen
from sweeps.running.nodes import Node, NodeNews, Nodes

ANSWER = 180.0
"""Seconds for a node to start a worker and look: a cold torch on a shared disk takes one or two minutes."""
POLL = 1.0
"""Seconds between two looks at the list of nodes."""
PATIENCE = 2.0
"""Seconds in which a cluster usually finds out that a node is lost whose processes have gone."""
SILENCE = 60.0
"""Seconds in which it does where it has to wait for health checks."""
LONGEST = 200
"""Characters of a cause in words."""
_OF_RAY = ("CPU", "GPU", "object_store_memory", "node:")
"""How resources begin that are said elsewhere, or are no amount of anything."""
_CAUSE = re.compile(r"^\s*([A-Za-z_.]*(?:Error|Exception|Fault|Lost)\b): (.+)$")


class RollCall:
    """The nodes of the Ray that this process is connected to."""

    def __init__(
        self,
        asked: Evidence | None = None,
        tell: Callable[[NodeNews], None] = lambda news: None,
        post: Callable[[], str | bool | None] = lambda: "",
    ) -> None:
        """Asks nobody yet.

        Args:
            asked: what nodes have to show; None for nothing. tell: is told of nodes that are lost or avoided.
            post: whether files can travel to nodes that do not see the results: True, or why not; None while it is not known.
        """
        self.asked = asked
        self._post = post
        self._far: dict[str, str] = {}  # nodes that wait for that, and why they do not see the results
        self.nodes = Nodes(tell)
        self.release: Callable[[Iterable[str]], None] = lambda nodes: (
            None
        )  # asks the workers of nodes that leave to stop
        self._answers: dict[Any, tuple[str, float]] = {}  # futures: the node's id, and when it was asked
        self._polled = 0.0
        self._silent: dict[str, float] = {}  # since when, of nodes that are listed and do not answer

    def all(self) -> None:
        """Asks every node that is there, and waits until it has answered, or has had its time."""
        self._ask(self.nodes.seen(_listed()))
        while self._answers or self._far:
            self._collect(1.0)
            self.nodes.seen(_listed())

    def poll(self) -> None:
        """Looks again, if it is time to: who is lost, who is new, who has answered. Waits for nobody."""
        now = time.monotonic()
        if now - self._polled >= POLL:
            self._polled = now
            self._ask(self.nodes.seen(_listed()))
            self._collect(0.0)
            if self.nodes.notice(_noticed()):
                self.release(sorted(self.nodes.leaving))

    def judge(self, error: Exception | None, text: str) -> tuple[str, bool]:
        """Whose fault it is that a worker is gone.

        Args:
            error: that Ray gave; None where it gave none that can be read. text: what was written of it.

        Returns:
            What happened, in words, and whether the job had no part in it.

        Raises:
            UserError: workers cannot be started, and it cannot be told where.
        """
        key, cause = self.where(error), _cause(error)
        why = in_words(error or text)
        if isinstance(cause, NodeFault):
            if cause.key not in self.nodes.leaving:
                self.nodes.avoid(cause.key, why)
            return why, True
        if key is not None and self.gone(key, PATIENCE if self.asked is not None else 0.0):
            return f"its node {self.nodes.named(key)} was lost", True
        if key is not None and isinstance(error, ray.exceptions.ActorUnavailableError):
            first = self._silent.setdefault(key, time.monotonic())  # nobody there says that a process died
            return f"its node {self.nodes.named(key)} does not answer", time.monotonic() - first < SILENCE
        if (error is None and text) or getattr(error, "actor_init_failed", False):
            if self.nodes.strike(key or "", why) and key is None:
                raise UserError(f"workers cannot be started: {why}; mend that and run the same command again")
            return f"no worker could be started: {why}", True
        return why, False

    def free(self) -> str:
        """What the usable nodes have, and how much of the cluster is free, in words."""
        there, now = self.nodes.usable, ray.available_resources()
        cpus, gpus = (sum(getattr(node, kind) for node in there) for kind in ("cpus", "gpus"))
        told = f"of {cpus:g} CPUs and {gpus:g} GPUs, {now.get('CPU', 0.0):g} and {now.get('GPU', 0.0):g} are free"
        besides = self.nodes.share.besides if self.nodes.share is not None else ()
        return told + "".join(f", {wants.amount(name, now.get(name, 0.0))} too" for name, _ in besides)

    def where(self, error: Exception | None) -> str | None:
        """The id of the node on which the actor ran that this error tells of, as far as it is known."""
        if isinstance(fault := _cause(error), NodeFault):
            return fault.key
        actor = getattr(error, "actor_id", None) or getattr(error, "_actor_id", None)
        if not actor:
            return None
        with contextlib.suppress(Exception):  # there is no public way without a dashboard, and this one may change
            from ray._private import state

            return str(state.state.actor_table(actor)["Address"]["NodeID"]) or None
        return None

    def gone(self, key: str, patience: float) -> bool:
        """Whether a node is lost. A process of a node that dies may be missed a moment before its node is."""
        end = time.monotonic() + patience
        while key in self.nodes.alive:
            self.nodes.seen(_listed())
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        return True

    def _ask(self, nodes: list[Node]) -> None:
        if self.asked is None:
            return
        for node in nodes:
            self.nodes.unknown.add(node.key)
            there = NodeAffinitySchedulingStrategy(node.key, soft=False)
            task = ray.remote(num_cpus=0, max_retries=0)(evidence.look).options(scheduling_strategy=there)
            self._answers[task.remote(dict(self.asked))] = node.key, time.monotonic()

    def _collect(self, timeout: float) -> None:
        self._connect(timeout)
        if not self._answers:
            return
        ready, _ = ray.wait(list(self._answers), num_returns=len(self._answers), timeout=timeout)
        for answer in ready:
            key, _ = self._answers.pop(answer)
            seen = _answered(answer)
            if key in self.nodes.alive and seen.lacks is not None:
                self.nodes.avoid(key, seen.lacks)
            elif key in self.nodes.alive and seen.hidden is not None:
                self._far[key] = seen.hidden
            else:
                self.nodes.trust(key)
        self._connect(0.0)
        now = time.monotonic()
        for answer in [answer for answer, (_, since) in self._answers.items() if now - since > ANSWER]:
            key, _ = self._answers.pop(answer)
            ray.cancel(answer, force=True)
            self.nodes.avoid(key, f"has not started a worker within {ANSWER:g} s; its log is in /tmp/ray there")

    def _connect(self, timeout: float) -> None:
        """Lets nodes work that do not see the results, once their files can travel."""
        if not self._far:
            return
        told = self._post()
        if told is None and not self._answers:
            time.sleep(timeout / 10)
        if told is None:
            return
        for key, why in self._far.items():
            if told is True:
                self.nodes.carries(key)
                self.nodes.trust(key)
            else:
                self.nodes.avoid(key, f"{why}{f', and files cannot travel there ({told})' if told else ''}")
        self._far = {}


def kept(pickled: str | None, written: str | None) -> tuple[Exception | None, str]:
    """The last error of a trial that Tune kept in two files, and forgets: errors of some kinds are written only.

    Returns:
        The error, None where there is none that can be read; and what was written of it.
    """
    error, text = None, ""
    with contextlib.suppress(Exception):  # not there, or of a class that is not here
        error = cloudpickle.loads(Path(str(pickled)).read_bytes())
    with contextlib.suppress(OSError):
        text = Path(str(written)).read_text()
    for path in (pickled, written):
        with contextlib.suppress(OSError):
            Path(str(path)).unlink()
    return error, text


def in_words(error: Exception | str | None) -> str:
    """What went wrong in one line: the cause itself, without Ray's account of how it was passed on."""
    cause = _cause(error)
    if isinstance(cause, NodeFault):
        return cause.why
    lines = [line.strip() for line in str(error or "").splitlines() if line.strip()]
    named = [f"{found[1].rpartition('.')[2]}: {found[2]}" for line in lines if (found := _CAUSE.match(line))]
    said = named[-1] if named else lines[-1] if lines else "its process died"
    return said if len(said) <= LONGEST else said.partition(". ")[0][:LONGEST]  # Ray goes on to guess


def _cause(error: Exception | str | None) -> BaseException | None:
    """The fault of a node that an error was raised from; else the error."""
    each = error if isinstance(error, Exception) else None
    while isinstance(each, Exception) and not isinstance(each, NodeFault):
        each = getattr(each, "cause", None)
    return each or (error if isinstance(error, Exception) else None)


def _answered(answer: Any) -> Seen:
    """What a node says of itself. One with another version of this code may say it in another way."""
    try:
        said: object = ray.get(answer)
    except ray.exceptions.RayError as error:
        why = in_words(error)
        packages = "No module named" in why or "ImportError" in why
        return Seen(f"cannot start a worker: {why}{'; install this version of robustray there' if packages else ''}")
    return said if isinstance(said, Seen) else Seen(str(said))


def _noticed() -> list[str]:
    """Ids of nodes that somebody is about to stop: `ray drain-node`, a cloud's notice, SIGTERM to a node's `ray start`."""
    with contextlib.suppress(Exception):  # there is no public way, and this one may change
        from ray._private import state

        return list(state.state.get_draining_nodes())
    return []


def _listed() -> Iterator[Node]:
    for node in ray.nodes():
        if node["Alive"]:
            has = node["Resources"]
            yield Node(
                node["NodeID"],
                node["NodeManagerHostname"],
                node["NodeManagerAddress"],
                has.get("CPU", 0.0),
                has.get("GPU", 0.0),
                {name: amount for name, amount in has.items() if not name.startswith(_OF_RAY)},
            )


def shown_as(job: str) -> None:
    """Names what this worker is at: its process in Ray's dashboard, `ps` and `top`, and the lines that it prints.

    Ray gives the process its own name again when the call ends. Where a version of it has no such handle, nothing is named.
    """
    with contextlib.suppress(AttributeError):
        ray._raylet.setproctitle(f"ray::{job}")
        print(f"{ray._private.ray_constants.LOG_PREFIX_ACTOR_NAME}{job}", flush=True)
