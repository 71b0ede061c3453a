"""The nodes of a cluster: who is there, who is avoided and why, who was lost, and when nobody is left. Knows no Ray.

A node's fault is not a trial's: the job goes back with the number and the attempts it had, and the node is named once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from sweeps.running import wants
from sweeps.running.packing import Share
from sweeps.running.queues import Job

STRIKES = 3
"""Workers in a row that a node could not start, before it is avoided."""
PATIENCE = 120.0
"""Seconds for which a slot waits in silence: a worker that is starting on a busy machine waits too."""
GRACE = 30.0
"""Seconds for which a sweep without any node waits for one that was lost."""
LABEL = "ray.io/node-id"


@dataclass(frozen=True)
class Node:
    """One node, as the cluster lists it."""

    key: str  # its id: several may be on one host
    host: str
    address: str
    cpus: float
    gpus: float
    besides: Mapping[str, float] = field(default_factory=dict, hash=False)  # memory in bytes, and what has a name there

    @property
    def name(self) -> str:
        """Host, address, and the beginning of its id."""
        return f"{self.host} ({self.address}, {self.key[:8]})"

    @property
    def has(self) -> str:
        """What there is, in words."""
        return wants.listed(self.cpus, self.gpus, self.besides)

    def jobs(self, share: Share) -> int:
        """How many jobs fit at a time."""
        return share.jobs_on(self.cpus, self.gpus, self.besides)


@dataclass(frozen=True)
class NodeAvoided:
    """A node cannot do the sweep's work: it gets none from now on."""

    node: Node
    why: str


@dataclass(frozen=True)
class NodeFar:
    """A node does not see the results: the files of its jobs go to and fro."""

    node: Node


@dataclass(frozen=True)
class NodeJoined:
    """A node that came later can do the work."""

    node: Node
    slots: int  # jobs at a time on all


@dataclass(frozen=True)
class NodeLeaves:
    """A node has been given notice: its jobs go on elsewhere."""

    node: Node
    slots: int  # jobs at a time on the others


@dataclass(frozen=True)
class NodeLost:
    """A node has gone."""

    node: Node
    slots: int  # jobs at a time on those that are left


@dataclass(frozen=True)
class JobReturned:
    """A job lost its place. It waits for another one, before all that was not begun."""

    job: Job
    why: str


@dataclass(frozen=True)
class JobResumed:
    """It has found one."""

    job: Job


@dataclass(frozen=True)
class JobWaits:
    """A job waits for resources that do not come."""

    job: Job
    seconds: float
    cpus: float  # that it wants; also the next
    gpus: float
    free: str  # what the cluster has to give, in words


NodeNews = NodeAvoided | NodeFar | NodeJoined | NodeLeaves | NodeLost | JobReturned | JobResumed | JobWaits


class Nodes:
    """What is known of the nodes.

    Attributes:
        alive: those that the cluster lists, by id. avoided: why, by id. lost: those that have gone. unknown: ids of those that
            have not shown yet that they can do the work. leaving: ids of those that were given notice. far: ids of
            those that do not see the results, and do the work all the same.
    """

    def __init__(self, tell: Callable[[NodeNews], None]) -> None:
        """Args: tell: is told of nodes that are lost or avoided, once each."""
        self.alive: dict[str, Node] = {}
        self.avoided: dict[str, str] = {}
        self.lost: dict[str, Node] = {}
        self.unknown: set[str] = set()
        self.leaving: set[str] = set()
        self.far: set[str] = set()
        self.share: Share | None = None
        self.arrival: float | None = None  # seconds for which a node that was asked for may take to come
        self._known: dict[str, Node] = {}
        self._tell = tell
        self._strikes: Counter[str] = Counter()
        self._empty_since: float | None = None

    @property
    def usable(self) -> list[Node]:
        """Those that may get work."""
        return [node for key, node in self.alive.items() if not self._shuns(key)]

    @property
    def slots(self) -> int:
        """Jobs at a time on the usable ones."""
        share = self.share
        return 0 if share is None else sum(node.jobs(share) for node in self.usable)

    @property
    def processes(self) -> int:
        """Processes at a time on them."""
        return self.slots * (1 if self.share is None else self.share.processes)

    @property
    def shunned(self) -> tuple[str, ...]:
        """Ids of nodes that are there and must not get work, or not yet."""
        return tuple(sorted(key for key in self.alive if self._shuns(key)))

    def _shuns(self, key: str) -> bool:
        return key in self.avoided or key in self.unknown or key in self.leaving

    def seen(self, listed: Iterable[Node]) -> list[Node]:
        """The cluster's list as it is now.

        Returns:
            Nodes that were never seen before; those without CPUs and GPUs, which get no work, left out.
        """
        now = {node.key: node for node in listed}
        new = [node for key, node in now.items() if key not in self._known and (node.cpus or node.gpus)]
        gone = [node for key, node in self.alive.items() if key not in now]
        self.alive = now
        self._known |= now
        for node in gone:
            self.lost[node.key] = node
            self.unknown.discard(node.key)
            if node.key not in self.avoided and node.key not in self.leaving:
                self._tell(NodeLost(node, self.slots))
        return new

    def named(self, key: str) -> str:
        """The name of a node."""
        return self._known[key].name if key in self._known else key[:8]

    def avoid(self, key: str, why: str) -> None:
        """A node cannot do the work; said once."""
        self.unknown.discard(key)
        if key in self._known and key not in self.avoided:
            self.avoided[key] = why
            self._tell(NodeAvoided(self._known[key], why))

    def carries(self, key: str) -> None:
        """A node does not see the results, and can do the work; said once."""
        if key in self._known and key not in self.far:
            self.far.add(key)
            self._tell(NodeFar(self._known[key]))

    def notice(self, keys: Iterable[str]) -> bool:
        """Nodes are about to leave; each is told of once.

        Returns:
            Whether there is one among them that was not known to.
        """
        new = [key for key in keys if key in self.alive and key not in self.leaving]
        for key in new:
            self.leaving.add(key)
            self.unknown.discard(key)
            if key not in self.avoided:
                self._tell(NodeLeaves(self.alive[key], self.slots))
        return bool(new)

    def trust(self, key: str) -> None:
        """A node can do the work, or has done some."""
        if key in self.unknown:
            self.unknown.discard(key)
            if self.share is not None and key in self.alive:  # before that, none has come later than others
                self._tell(NodeJoined(self.alive[key], self.slots))
        self._strikes.pop(key, None)
        self._strikes.pop("", None)

    def strike(self, key: str, why: str) -> bool:
        """A node could not start a worker.

        Args:
            key: its id, "" where it is not known which it was.

        Returns:
            Whether that was once too often. The node is avoided then.
        """
        self._strikes[key] += 1
        if self._strikes[key] < STRIKES:
            return False
        self.avoid(key, f"cannot start a worker: {why}")
        return True

    def verdict(self, now: float) -> str | None:
        """Why the sweep has to stop: no job fits on what is left. None while one does, or while lost nodes may come back.

        Args:
            now: seconds of a clock that only grows.
        """
        if self.slots or self.unknown:
            self._empty_since = None
            return None
        since = self._empty_since = now if self._empty_since is None else self._empty_since
        lost = [key for key in {*self.lost, *self.leaving} if key not in self.avoided]
        patience = self.arrival if self.arrival is not None else GRACE if lost else 0.0
        return None if now - since < patience else self.none_left()

    def none_left(self) -> str:
        """The same in words: every node with its reason."""
        reasons = [f"{self._known[key].name} {why}" for key, why in self.avoided.items()]
        reasons += [f"{node.name} was lost" for key, node in self.lost.items() if key not in self.avoided]
        reasons += [f"{self.alive[key].name} is about to leave" for key in sorted(self.leaving) if key in self.alive]
        small = [node for node in self.usable if node.cpus or node.gpus]
        reasons += [f"{node.name} has {node.has}, too few for a job" for node in small]
        listed = "; ".join(reasons[:5]) + (f"; and {len(reasons) - 5} more" if len(reasons) > 5 else "")
        why = listed or "none has CPUs"
        return f"no node can do the work ({why}); mend one and run the same command again: nothing is lost"


def selector(shunned: Iterable[str]) -> dict[str, str]:
    """A label selector that keeps work off these nodes."""
    listed = ",".join(shunned)
    return {LABEL: f"!in({listed})"} if listed else {}
