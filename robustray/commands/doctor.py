"""`python -m robustray doctor`: whether this machine can train, judge and sweep, and what would help it.

Every check is a finding: `ok`, `advice`, or `wrong` where sweeps are impossible. Ray and Optuna are looked at from outside,
by their metadata and in a process of their own: this package knows neither.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal

import typer

from robustray import astray, open_files
from robustray.commands import own_ray, surroundings
from robustray.processors import cores, described, pinned

State = Literal["ok", "advice", "wrong"]
GIB = 2**30
DASHBOARD = 8265
MPS = "nvidia-cuda-mps-control"
_STYLES = {"ok": "green", "advice": "yellow", "wrong": "bold red"}
_RAY_SECONDS = 90
_LISTENS = "all ports of a sweep's own Ray listen on 127.0.0.1 alone"
_START_RAY = """
import ray
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
assert ray.get(ray.remote(lambda: 6 * 7).remote()) == 42
ray.shutdown()
"""


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    what: str
    state: State
    told: str


def doctor(
    ray: Annotated[bool, typer.Option("--ray", help="Also start a local Ray and run one task on it.")] = False,
) -> None:
    """Looks whether this machine can train, judge and sweep: a line each, ok or advice. Exit code 1 where it cannot."""
    from rich.console import Console
    from rich.text import Text

    console, possible = Console(highlight=False), True
    for finding in findings(ray=ray):
        possible &= finding.state != "wrong"
        line = Text.assemble((f"{finding.state:7}", _STYLES[finding.state]), f"{finding.what:18} {finding.told}")
        console.print(line, soft_wrap=True)
    if not possible:
        raise typer.Exit(1)


def findings(*, ray: bool) -> Iterator[Finding]:
    """All checks, in the order they are shown.

    Args:
        ray: also start a local Ray, which takes seconds.
    """
    yield from _versions()
    yield from _packages()
    yield from _devices()
    yield from _sharing()
    yield from _processors()
    yield from _memory()
    yield from _folders()
    yield from (Finding(*said) for said in surroundings.findings())
    yield from _data()
    yield from _ports()
    yield from _leftovers()
    yield from _ray(start=ray)
    yield from _browser()


def _versions() -> Iterator[Finding]:
    yield Finding("python", "ok", f"{platform.python_version()}, {sys.executable}")
    needed, missing = [], []
    for line in metadata.requires("robustray") or []:
        name, extra = re.split(r"[\s\[<>=!~;(]", line, maxsplit=1)[0], "extra ==" in line
        try:
            needed += [] if extra else [f"{name} {metadata.version(name)}"]
        except metadata.PackageNotFoundError:
            missing.append(name)
    yield Finding("packages", "ok", f"robustray {metadata.version('robustray')}; {', '.join(needed)}")
    if missing:
        yield Finding("packages", "wrong", f"missing: {', '.join(missing)}; pip install robustray brings them")


def _packages() -> Iterator[Finding]:
    """`sweeps` and `analysis` are common names: one in the working directory would be imported in place of ours."""
    for name in astray.OURS:
        if (elsewhere := astray.told(name)) is not None:
            yield Finding(name, "wrong", elsewhere.removeprefix(f"{name} "))


def _devices() -> Iterator[Finding]:
    import torch

    driver = _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        about = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        told = f"{about.name}, {free / GIB:.1f} of {total / GIB:.1f} GiB free, compute {about.major}.{about.minor}"
        state: State = "ok" if free > total / 2 else "advice"
        told += f", driver {driver.splitlines()[0]}, CUDA {torch.version.cuda}" if driver else ""
        yield Finding(f"cuda:{index}", state, told + ("" if state == "ok" else "; somebody else is using it"))
    if not torch.cuda.is_available():
        if driver:
            cause = f"torch {torch.__version__} cannot use it; make TORCH_BACKEND=auto installs a build that may"
            yield Finding("devices", "advice", f"there is an NVIDIA driver {driver.splitlines()[0]}, but {cause}")
        else:
            yield Finding("devices", "ok", f"no GPU; trials run on the CPU, torch {torch.__version__}")


def _sharing() -> Iterator[Finding]:
    """CUDA MPS lets the kernels of several processes run at the same time; without it they take turns on a GPU."""
    import psutil
    import torch

    if not torch.cuda.is_available():
        return
    runs = any(process.info["name"] == MPS for process in psutil.process_iter(["name"]))
    yield mps(runs, Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps")), shutil.which(MPS) is not None)  # noqa: S108


def mps(runs: bool, pipes: Path, installed: bool) -> Finding:
    """Whether trials that share a GPU use it at the same time.

    Args:
        runs: whether there is a control daemon. pipes: the folder through which it is reached. installed: whether it is there
            to be started.
    """
    reachable = (pipes / "control").exists()
    if runs and reachable:
        return Finding("CUDA MPS", "ok", "runs: trials that share a GPU use it at the same time")
    if runs:
        remedy = "set CUDA_MPS_PIPE_DIRECTORY to what the daemon was started with"
        return Finding("CUDA MPS", "advice", f"a control daemon runs, but is not reached through {pipes}; {remedy}")
    if reachable:
        told = f"{pipes} is left over from a control daemon that does not run any more; start it again, or remove the folder"
        return Finding("CUDA MPS", "advice", told)
    turns = "trials that share a GPU take turns"
    if installed:
        return Finding(
            "CUDA MPS", "advice", f"does not run: {turns}; `{MPS} -d` before the sweep lets small ones overlap"
        )
    return Finding("CUDA MPS", "ok", f"is not installed: {turns}")


def _output(*command: str) -> str:
    """What a command prints; "" where it is missing, fails or hangs."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ""


def _processors() -> Iterator[Finding]:
    there = cores()
    told = f"{described()} for this process, {os.cpu_count()} in the machine"
    yield Finding("cores", "ok", f"{told}; a sweep measures how many a trial takes")
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        asked = os.environ.get(variable, "")
        if asked and (not asked.isdecimal() or int(asked) > there):
            yield Finding("threads", "advice", f"{variable} is {asked!r}, but there are {there} cores; unset it")
    if pinned() > min(there, 8) and "OMP_NUM_THREADS" not in os.environ:
        told = (
            f"OMP_NUM_THREADS is not set: a process that is told no number of threads takes {pinned()}; ours are told"
        )
        yield Finding("threads", "advice", f"{told}, for your own scripts set it to {1 if there > 8 else there}")
    yield Finding("open files", *open_files.told(there))


def _memory() -> Iterator[Finding]:
    import psutil

    memory = psutil.virtual_memory()
    state: State = "ok" if memory.available > 2 * GIB else "advice"
    told = f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB free"
    yield Finding("memory", state, told + ("" if state == "ok" else "; a worker with torch takes about half a GiB"))
    limit = _text(Path("/sys/fs/cgroup/memory.max"))
    if limit.isdecimal() and int(limit) < memory.total:
        yield Finding("memory", "ok", f"this container may use {int(limit) / GIB:.1f} GiB")


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _folders() -> Iterator[Finding]:
    here = Path.cwd()
    try:
        with tempfile.NamedTemporaryFile(dir=here, prefix=".robustray-doctor-") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield Finding("working directory", "ok", f"{here} can be written and locked")
    except OSError as error:
        yield Finding("working directory", "wrong", f"{here}: {error.strerror}; results/ could not be written here")
    for what, path, enough in (
        ("disk", here, 5 * GIB),
        ("temporary files", Path(tempfile.gettempdir()), 2 * GIB),
        ("shared memory", Path("/dev/shm"), GIB // 2),  # noqa: S108
    ):
        if path.exists():
            free = shutil.disk_usage(path).free
            state: State = "ok" if free >= enough else "advice"
            told = f"{free / GIB:.1f} GiB free in {path}"
            yield Finding(what, state, told + ("" if state == "ok" else f"; {enough / GIB:g} are a good reserve"))


def _data() -> Iterator[Finding]:
    from robustray.data.base import DataSource
    from robustray.errors import UserError
    from robustray.registry import parts

    ready, absent = [], []
    for name, cls in parts("data").items():
        if any(field.is_required() for field in cls.model_fields.values()):
            continue  # lies where its options say
        source = cls.model_validate({})
        assert isinstance(source, DataSource)
        try:
            source.check()
            ready.append(name)
        except UserError:
            absent.append(name)
    told = f"found: {', '.join(ready)}" + (f"; not here: {', '.join(absent)}" if absent else "")
    yield Finding("data", "ok", f"{told} (`python -m robustray data` says where each is looked for)")


def _ports() -> Iterator[Finding]:
    try:
        with socket.socket() as any_port:
            any_port.bind(("127.0.0.1", 0))
    except OSError as error:
        yield Finding("ports", "wrong", f"nothing can listen on 127.0.0.1 ({error.strerror}); Ray needs that")
        return
    with socket.socket() as dashboard:
        dashboard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            dashboard.bind(("127.0.0.1", DASHBOARD))
            yield Finding("ports", "ok", f"{DASHBOARD} is free for Ray's dashboard; {_LISTENS}")
        except OSError:
            taken = f"{DASHBOARD} is taken; Ray's dashboard takes the next free port and says so"
            yield Finding("ports", "advice", f"{taken}; {_LISTENS}")


def _leftovers() -> Iterator[Finding]:
    import psutil

    left = []
    for process in psutil.process_iter(["pid", "name", "uids"]):
        uids = process.info["uids"]
        if process.info["name"] in ("raylet", "gcs_server") and (uids is None or uids.real == os.getuid()):
            left.append(str(process.info["pid"]))
    if left:
        told = f"Ray is running (processes {', '.join(left)}); if no sweep of yours is, `ray stop` ends it"
        yield Finding("Ray processes", "advice", told)
    else:
        yield Finding("Ray processes", "ok", "none left over")


def _ray(*, start: bool) -> Iterator[Finding]:
    if importlib.util.find_spec("ray") is None:
        yield Finding("ray", "wrong", "not installed; --backend local sweeps without it, one job at a time")
        return
    address = own_ray.cluster()
    if address:
        yield reached(address)
        yield from guarded(os.environ)
    if start:
        yield started(_RAY_SECONDS)


def reached(address: str) -> Finding:
    """Whether something listens where RAY_ADDRESS points; who it is, only Ray can tell."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return Finding("RAY_ADDRESS", "ok", f"is {address!r}")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
        return Finding("RAY_ADDRESS", "ok", f"something listens on {address}")
    except OSError as error:
        return Finding("RAY_ADDRESS", "wrong", f"nothing answers on {address} ({error}); unset it to start a local Ray")


def guarded(environment: Mapping[str, str]) -> Iterator[Finding]:
    """What is to be known of a cluster of the user's own: others reach its ports, so it should ask for a token."""
    if environment.get("RAY_AUTH_MODE", "").lower() != "token":
        reach = "whoever reaches the cluster's ports runs code on it"
        told = f"RAY_AUTH_MODE is not token here: {reach}, unless it asks for tokens; see docs/howto/cluster.md"
        yield Finding("tokens", "advice", told)
    told = "a cluster listens on all interfaces of its machines, and its metrics ask for no token: keep it behind a firewall"
    yield Finding("cluster ports", "advice", told)


def started(seconds: float) -> Finding:
    """Whether a local Ray starts and runs a task, in a process of its own that has so many seconds."""
    import psutil

    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **own_ray.OWN}
    environment.pop("RAY_ADDRESS", None)
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", _START_RAY], env=environment, stdout=subprocess.DEVNULL, stderr=errors
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            children = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            process.wait()
            for child in children:
                child.kill()
            return Finding(
                "ray", "wrong", f"no local Ray within {seconds:g} s; its logs are in /tmp/ray/session_latest/logs"
            )
        errors.seek(0)
        lines = errors.read().strip().splitlines() or ["no message"]
    if code:
        return Finding("ray", "wrong", f"a local Ray does not start: {lines[-1]}")
    return Finding("ray", "ok", "a local Ray starts and runs a task")


def _browser() -> Iterator[Finding]:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    if importlib.util.find_spec("kaleido") is None:
        yield Finding("pictures", "advice", "kaleido is not installed: reports come without frontier.png")
    elif not any(map(shutil.which, names)) and sys.platform == "linux":
        yield Finding("pictures", "advice", "no Chrome or Chromium on the path: reports may come without frontier.png")
    else:
        yield Finding("pictures", "ok", "a browser draws frontier.png")
