"""Real Ray nodes on this machine that fail as nodes of clusters do: each in a mount namespace of its own."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil

_RAY = shlex.join([sys.executable, "-m", "ray.scripts.scripts"])

_DRAIN = """
import subprocess, sys
import ray
address, resource = sys.argv[1:]
ray.init(address, log_to_driver=False, logging_level="ERROR")
[node] = [node["NodeID"] for node in ray.nodes() if node["Alive"] and resource in node["Resources"]]
command = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", address, "--node-id", node]
command += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot", "--deadline-remaining-seconds", "600"]
subprocess.run(command, check=True)
"""

_COUNT = """
import sys
import ray
ray.init(sys.argv[1], log_to_driver=False, logging_level="ERROR")
print(sum(node["Alive"] for node in ray.nodes()) - 1)
"""


def _autoscaler(types: Mapping[str, object], address: str) -> dict[str, object]:
    """What Ray's own fake of a cloud is configured by: its machines are raylets on this one."""
    head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
    lists = ("cluster_synced_files", "rsync_exclude", "rsync_filter", "initialization_commands", "setup_commands")
    commands = [f"{whose}_{what}_commands" for whose in ("head", "worker") for what in ("setup", "start_ray")]
    nothing: dict[str, object] = {key: [] for key in (*lists, *commands)}
    return {
        **nothing,
        "cluster_name": "fake",
        "max_workers": 4,
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 0.05,
        "docker": {},
        "provider": {
            "type": "fake_multinode",
            "gcs_address": address,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "use_node_id_as_ip": True,  # else all are one node to it, which is never idle and never old
        },
        "auth": {"ssh_user": "nobody"},
        "available_node_types": {"ray.head.default": head, **types},
        "head_node_type": "ray.head.default",
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
    }


def namespaces() -> bool:
    """Whether this user may have mount namespaces."""
    return (
        shutil.which("unshare") is not None and subprocess.run(["unshare", "-m", "true"], check=False).returncode == 0
    )


class Cluster:
    """A head without CPUs, and nodes to come and go; with types of nodes, an autoscaler that starts and stops them."""

    def __init__(self, folder: Path, types: Mapping[str, object] | None = None) -> None:
        self.folder = folder
        self.env = {  # without what a sweep of this process, run before, has set for its own Ray
            **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_raylet_start_wait_time_s": "120",
            "RAY_worker_niceness": "0",  # of 15, workers would stand still for minutes beside other work on this machine
            "OMP_NUM_THREADS": "1",
        }
        self.temporary = tempfile.mkdtemp(prefix="rn-", dir="/tmp")
        self.nodes: list[subprocess.Popen[bytes]] = []
        [port] = _free_ports(1)
        start = f"{_RAY} start --head --port={port} --num-cpus=0 --include-dashboard=false --temp-dir={self.temporary}"
        if types is not None:
            (folder / "autoscaler.yaml").write_text(json.dumps(_autoscaler(types, f"127.0.0.1:{port}")))
            start += f" --autoscaling-config={folder / 'autoscaler.yaml'}"
            self.env |= {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
        self._start(f"{start} --object-store-memory=80000000 --block", "head")
        found = Path(self.temporary, "ray_current_cluster")
        _wait(found.exists)
        _wait(lambda: bool(found.read_text().strip()))
        self.env["RAY_ADDRESS"] = self.address = found.read_text().strip()

    def add(self, name: str, *mounts: str, cpus: int = 1, resources: str = "{}") -> subprocess.Popen[bytes]:
        """A node, after these commands in its namespace, which nobody else sees the effect of.

        Args:
            resources: what has a name there, as JSON.
        """
        start = f"{_RAY} start --address={self.address} --num-cpus={cpus} --object-store-memory=80000000 --block"
        start += f" --resources={shlex.quote(resources)}"
        own = f"mount -t tmpfs none {self.temporary}"
        # a raylet waits 15 s for agents to say their ports, which is not enough on a busy machine: they are told them
        agents = ("dashboard-agent-grpc-port", "dashboard-agent-listen-port", "runtime-env-agent-port")
        start += "".join(f" --{agent}={port}" for agent, port in zip(agents, _free_ports(len(agents)), strict=True))
        for _ in range(3):
            node = self._start(" && ".join([own, *mounts, f"cd / && exec {start}"]), name)
            deadline = time.monotonic() + 150
            while node.poll() is None and time.monotonic() < deadline:
                if "Ray runtime started" in (self.folder / f"{name}.log").read_text():
                    return node
                time.sleep(0.1)
            self.kill(node)
        raise TimeoutError((self.folder / f"{name}.log").read_text())

    def _start(self, command: str, name: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("wb") as log:
            node = subprocess.Popen(
                ["unshare", "-m", "--propagation", "private", "sh", "-c", command],
                env=self.env,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.nodes.append(node)
        return node

    def count(self) -> int:
        """Nodes that are there besides the head."""
        command = [sys.executable, "-c", _COUNT, self.address]
        return int(subprocess.run(command, env=self.env, cwd="/", check=True, capture_output=True, text=True).stdout)

    def drain(self, resource: str) -> None:
        """Gives the node that has this resource notice, as clouds do before they take a machine away: `ray drain-node`."""
        subprocess.run([sys.executable, "-c", _DRAIN, self.address, resource], env=self.env, cwd="/", check=True)

    @staticmethod
    def kill(node: subprocess.Popen[bytes]) -> None:
        """As when its power fails."""
        with contextlib.suppress(psutil.NoSuchProcess):
            there = psutil.Process(node.pid)
            for process in [there, *there.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGKILL)
        node.wait()


@contextlib.contextmanager
def cluster(folder: Path, types: Mapping[str, object] | None = None) -> Iterator[Cluster]:
    """A cluster, gone without a trace afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Cluster(folder, types)
    try:
        yield made
    finally:
        for node in reversed(made.nodes):
            made.kill(node)
        shutil.rmtree(made.temporary, ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in opened:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in opened]


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
