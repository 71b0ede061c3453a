"""A sweep on real Ray nodes that come and go with notice, differ in what they have, and have none of its code."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from sweeps import record
from tests.plugged import fresh, page
from tests.sweeps.actors import actors, at_work
from tests.sweeps.nodes import cluster, namespaces
from tests.sweeps.small import SPACE, facts, run_quietly, small_sweep
from tests.sweeps.waiting import wait_for

__all__ = ["fresh"]

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(not namespaces(), reason="nodes of their own need mount namespaces: run it as root on Linux"),
]
ROOT = Path(__file__).parents[2]
OWN = "plugins: [own/my_defense.py]\n" + SPACE.replace("natural]}", "{name: mixture}]}")
SHORT = ("trial.batch.size=20", "trial.schedule.epochs=12", "search.trials=4")
LONGER = (
    "trial.batch.size=5",
    "trial.schedule.epochs=12",  # of a second or so: a node takes many to come
    "trial.schedule.lr={loguniform: [0.003, 0.03]}",
    "search.trials=5",
)
TAKES = "resources={cpus: 1, memory: 100 MiB, accelerator_type: T4, custom: {fast: 0.5}, ship_code: true}"
HAS = {"accelerator_type:T4": 1, "fast": 1}


@contextmanager
def _held(node: int) -> Iterator[None]:
    """The actors of a node stand still: whatever comes meanwhile comes in the middle of their jobs, on a busy machine too."""
    held = [psutil.Process(pid) for pid in actors(node)]
    for each in held:
        each.suspend()
    try:
        yield
    finally:
        for each in held:
            each.resume()


@pytest.mark.cluster
@pytest.mark.usefixtures("fresh")
def test_nodes_come_and_go_and_have_no_code_and_the_bits_are_the_same(tmp_path: Path) -> None:
    """Nor have they the file of a defense from outside, which trials here train with."""
    undisturbed, project = tmp_path / "undisturbed", tmp_path / "project"
    (project / "own").mkdir(parents=True)
    (project / "own" / "my_defense.py").write_text(page("my_defense.py"))
    assert run_quietly(small_sweep(project, *SHORT, text=OWN), undisturbed)
    broken = tmp_path / "broken.py"
    broken.write_text("raise ImportError('of another day')\n")
    stale = f"mount --bind {broken} {ROOT / 'sweeps' / '__init__.py'}"
    alone = f"mount -t tmpfs none {project / 'own'}"
    folder = project / "results" / "small"
    longer = [word for override in (*SHORT, TAKES) for word in ("--set", override)]
    command = [sys.executable, str(ROOT / "run_sweep.py"), "small.yaml", *longer]
    with cluster(tmp_path / "logs") as there:
        there.add("plain", cpus=2)
        first = there.add("first", stale, alone, resources=json.dumps({**HAS, "first": 1}))
        process = subprocess.Popen(
            command, cwd=project, env=there.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        wait_for(lambda: at_work(first.pid), process)
        with _held(first.pid):
            second = there.add("second", alone, resources=json.dumps(HAS))
            wait_for(lambda: at_work(second.pid), process)
            there.drain("first")
            wait_for(lambda: "is about to leave" in (folder / "events.log").read_text(), process)
        said = process.communicate(timeout=400)[0]

    assert process.returncode == 0, said
    assert facts(folder) == facts(undisturbed)
    lines = said.splitlines()
    assert "running 1 at a time on Ray" in said, "the node without a T4 has no slots"
    assert sum("gets no work: it has 2 CPUs, 0 GPUs" in line for line in lines) == 1, said
    assert sum(" joins: 2 jobs at a time" in line for line in lines) == 1, (
        "a slot of the second was used while the first had one"
    )
    assert sum("is about to leave: its jobs go on elsewhere, 1 at a time" in line for line in lines) == 1, said
    returned = re.search(r"(\S+ \d+) goes back and waits for a place \(its node is about to leave\)", said)
    assert returned is not None, said
    assert f"{returned[1]} goes on" in said[returned.end() :]
    assert "Traceback" not in said
    assert " is lost" not in said, "who gave notice is not missed"
    assert {trial.outcome for trial in record.read(folder).trials} == {"complete"}
    deaths = [json.loads(path.read_text())["deaths"] for path in folder.glob("trials/*/attempts.json")]
    assert deaths == [0] * 4, "a notice is no attempt"
    assert any("name: mixture" in path.read_text() for path in folder.glob("trials/*/trial.yaml")), "one from outside"


@pytest.mark.long
def test_an_autoscaler_is_asked_while_there_is_work_and_not_a_moment_longer(tmp_path: Path) -> None:
    undisturbed, project = tmp_path / "undisturbed", tmp_path / "project"
    assert run_quietly(small_sweep(project, *LONGER), undisturbed)
    folder = project / "results" / "small"
    longer = [word for override in (*LONGER, "resources={cpus: 1, scale_to: 2}") for word in ("--set", override)]
    command = [sys.executable, str(ROOT / "run_sweep.py"), "small.yaml", *longer]
    small = {
        "resources": {"CPU": 1, "object_store_memory": 80000000},
        "node_config": {},
        "min_workers": 0,
        "max_workers": 3,
    }
    with cluster(tmp_path / "logs", {"small": small}) as there:
        for ends in ("at a Ctrl-C", "by itself"):
            process = subprocess.Popen(
                command, cwd=project, env=there.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            if ends == "at a Ctrl-C":
                wait_for(lambda: bool(list(folder.glob("trials/*/metrics.csv"))), process)
                process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=400)[0]
            assert process.returncode == (130 if ends == "at a Ctrl-C" else 0), said
            assert "waiting for the autoscaler to bring a node with 1 CPUs and 0 GPUs" in said
            deadline = time.monotonic() + 240
            while there.count():
                assert time.monotonic() < deadline, "what is no longer asked for idles, and goes"
        assert " joins: 2 jobs at a time" in said or "running 2 at a time" in said, said
    assert facts(folder) == facts(undisturbed)
