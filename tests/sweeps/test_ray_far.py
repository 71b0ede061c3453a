"""A sweep on real Ray nodes none of which sees its results, killed in every place: `make test-cluster`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sweeps import record
from sweeps.running.scratch import PREFIX
from tests.sweeps.actors import at_work
from tests.sweeps.nodes import Cluster, cluster, namespaces
from tests.sweeps.small import facts, run_quietly, small_sweep
from tests.sweeps.waiting import wait_for

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not namespaces(), reason="nodes of their own need mount namespaces: run it as root on Linux"),
]
ROOT = Path(__file__).parents[2]
LONGER = (
    "trial.batch.size=5",
    "trial.schedule.epochs=5",  # of a second or so
    "trial.schedule.lr={loguniform: [0.003, 0.03]}",
    "search.trials=5",
)


def _sweep(there: Cluster, project: Path) -> subprocess.Popen[str]:
    longer = [word for override in LONGER for word in ("--set", override)]
    command = [sys.executable, str(ROOT / "run_sweep.py"), "small.yaml", *longer]
    return subprocess.Popen(
        command, cwd=project, env=there.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _epochs(folder: Path) -> int:
    """Whole epochs that all trials together have behind them, as far as the driver has them."""
    return sum(len(path.read_text().splitlines()) - 1 for path in folder.glob("trials/*/metrics.csv"))


def _judged(folder: Path) -> int:
    return len(list(folder.glob("judgements/*/*/*.parquet")))


def test_nodes_that_do_not_see_the_results_train_and_judge_and_the_bits_are_the_same(tmp_path: Path) -> None:
    undisturbed, project = tmp_path / "undisturbed", tmp_path / "project"
    (project / "results").mkdir(parents=True)
    assert run_quietly(small_sweep(project, *LONGER), undisturbed)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    folder = project / "results" / "small"
    hidden = f"mount -t tmpfs none {project / 'results'}"
    with cluster(tmp_path / "logs") as there:
        there.env["TMPDIR"] = str(scratch)
        first, second, _ = (there.add(name, hidden) for name in ("first", "second", "third"))

        # The driver is killed in the middle: what it has is all that there is.
        process = _sweep(there, project)
        wait_for(lambda: _epochs(folder) > 2 and at_work(first.pid), process)
        process.kill()
        process.communicate()
        left = _epochs(folder)
        assert None in {trial.outcome for trial in record.read(folder).trials}, "in the middle"

        # So are a node at its training, and another one once others judge.
        process = _sweep(there, project)
        wait_for(lambda: _epochs(folder) > left + 1 and at_work(first.pid), process)
        there.kill(first)
        wait_for(lambda: _judged(folder) > 1 and at_work(second.pid), process)
        there.kill(second)
        said = process.communicate(timeout=600)[0]
        assert process.returncode == 0, said
        deadline = time.monotonic() + 120
        while left_over := list(scratch.glob(f"{PREFIX}*")):
            assert time.monotonic() < deadline, left_over
            time.sleep(0.1)

    assert facts(folder) == facts(undisturbed), "not one trial more, not one less, and the same bits"
    lines = said.splitlines()
    far = [line for line in lines if "does not see the results: its trials travel through Ray's object store" in line]
    assert len(far) == 3, said
    assert not [line for line in lines if "gets no work" in line], said
    returned = re.search(r"(\S+ \d+) goes back and waits for a place", said)
    assert returned is not None, said
    assert "Traceback" not in said
    assert {trial.outcome for trial in record.read(folder).trials} == {"complete"}
    kept = {path.name for path in folder.glob("trials/*/.*")}
    assert not kept, "nothing of the way there is left"


@pytest.mark.long
def test_a_notice_to_such_a_node_brings_its_checkpoint_back_first(tmp_path: Path) -> None:
    undisturbed, project, scratch = (tmp_path / name for name in ("undisturbed", "project", "scratch"))
    (project / "results").mkdir(parents=True)
    scratch.mkdir()
    assert run_quietly(small_sweep(project, *LONGER), undisturbed)
    folder = project / "results" / "small"
    hidden = f"mount -t tmpfs none {project / 'results'}"
    with cluster(tmp_path / "logs") as there:
        there.env["TMPDIR"] = str(scratch)
        leaves = there.add("leaves", hidden, resources=json.dumps({"leaves": 1}))
        there.add("stays", hidden)
        process = _sweep(there, project)
        wait_for(lambda: _epochs(folder) > 2 and at_work(leaves.pid), process)
        there.drain("leaves")
        said = process.communicate(timeout=600)[0]
    assert process.returncode == 0, said
    assert facts(folder) == facts(undisturbed)
    assert said.count("does not see the results: its trials travel through Ray's object store") == 2, said
    assert "is about to leave: its jobs go on elsewhere, 1 at a time" in said
    returned = re.search(r"(\S+ \d+) goes back and waits for a place \(its node is about to leave\)", said)
    assert returned is not None, said
    assert f"{returned[1]} goes on" in said[returned.end() :]
    assert "Traceback" not in said
    assert " is lost" not in said
    deaths = [json.loads(path.read_text())["deaths"] for path in folder.glob("trials/*/attempts.json")]
    assert deaths == [0] * 5, "a notice is no attempt"
