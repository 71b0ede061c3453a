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
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

_RAY = shlex.join([sys.executable, "-P", str(Path(__file__).with_name("patient_ray.py"))])

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
    """A head without CPUs, and nodes to come and go; with types of nodes, an autoscaler that starts and stops them.

    Attributes:
        jobs: where the head takes jobs, as `ray job submit --address` has it; empty without a dashboard.
    """

    def __init__(self, folder: Path, types: Mapping[str, object] | None = None, *, dashboard: bool = False) -> None:
        self.folder = folder
        self.env = {  # without what a sweep of this process, run before, has set for its own Ray
            **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_raylet_start_wait_time_s": "240",
            "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "240",
            "RAY_worker_niceness": "0",  # of 15, workers would stand still for minutes beside other work on this machine
            "OMP_NUM_THREADS": "1",
        }
        self.temporary = tempfile.mkdtemp(prefix="rn-", dir="/tmp")
        self.nodes: list[subprocess.Popen[bytes]] = []
        port, board = _free_ports(2)
        self.jobs = f"http://127.0.0.1:{board}" if dashboard else ""
        start = f"{_RAY} start --head --port={port} --num-cpus=0 --temp-dir={self.temporary}"
        start += f" --include-dashboard={str(dashboard).lower()} --dashboard-host=127.0.0.1 --dashboard-port={board}"
        if types is not None:
            (folder / "autoscaler.yaml").write_text(json.dumps(_autoscaler(types, f"127.0.0.1:{port}")))
            start += f" --autoscaling-config={folder / 'autoscaler.yaml'}"
            self.env |= {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
        self._run(f"{start}{_agents()} --object-store-memory=80000000 --block", "head")
        self.env["RAY_ADDRESS"] = self.address = Path(self.temporary, "ray_current_cluster").read_text().strip()

    def add(
        self, name: str, *mounts: str, cpus: int = 1, gpus: int = 0, resources: str = "{}"
    ) -> subprocess.Popen[bytes]:
        """A node, after these commands in its namespace, which nobody else sees the effect of.

        Args:
            gpus: how many it says that it has. resources: what has a name there, as JSON.
        """
        start = f"{_RAY} start --address={self.address} --num-cpus={cpus} --num-gpus={gpus}"
        start += " --object-store-memory=80000000 --block"
        start += f" --resources={shlex.quote(resources)}"
        own = f"mount -t tmpfs none {self.temporary}"
        start += _agents()
        return self._run(" && ".join([own, *mounts, f"cd / && exec {start}"]), name)

    def _run(self, command: str, name: str) -> subprocess.Popen[bytes]:
        """Starts a node; once more where a busy machine has not let it come up."""
        for _ in range(2):
            node = self._start(command, name)
            deadline = time.monotonic() + 300
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

    def job(self, *words: str) -> subprocess.Popen[str]:
        """`ray job WORDS`, as who hands in jobs from elsewhere types it: the address of the head's dashboard, and the token."""
        given = {name: value for name, value in self.env.items() if name != "RAY_ADDRESS"}
        command = [*shlex.split(_RAY), "job", words[0], "--address", self.jobs, *words[1:]]
        return subprocess.Popen(
            command, env=given, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

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
def cluster(folder: Path, types: Mapping[str, object] | None = None, *, dashboard: bool = False) -> Iterator[Cluster]:
    """A cluster, gone without a trace afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Cluster(folder, types, dashboard=dashboard)
    try:
        yield made
    finally:
        for node in reversed(made.nodes):
            made.kill(node)
        shutil.rmtree(made.temporary, ignore_errors=True)


def _agents() -> str:
    """Ports for a node's agents: its raylet waits 15 s for them to say theirs, which is not enough on a busy machine."""
    names = (
        "dashboard-agent-grpc-port",
        "dashboard-agent-listen-port",
        "runtime-env-agent-port",
        "metrics-export-port",
    )
    return "".join(f" --{name}={port}" for name, port in zip(names, _free_ports(len(names)), strict=True))


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in opened:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in opened]
