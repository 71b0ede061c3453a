"""Sweeps on real Ray nodes that go wrong in every way we know of: `make test-cluster`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from sklearn.datasets import load_digits

from sweeps import record
from tests.sweeps.actors import at_work
from tests.sweeps.nodes import Cluster, cluster, namespaces
from tests.sweeps.small import SPACE, facts, run_quietly, small_sweep
from tests.sweeps.waiting import wait_for

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not namespaces(), reason="nodes of their own need mount namespaces: run it as root on Linux"),
]
ROOT = Path(__file__).parents[2]
OWN = SPACE.replace("{name: digits,", "{name: npz, train: data/train.npz, test: data/test.npz,")
LONGER = (
    "trial.batch.size=5",
    "trial.schedule.epochs=5",  # of a second or so
    "trial.schedule.lr={loguniform: [0.003, 0.03]}",
    "search.trials=6",
)
MORE = "10"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with data in it, to which the space's paths are relative."""
    import numpy as np

    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    (folder / "results").mkdir()
    digits = load_digits()
    images, labels = (digits.images * (255 / 16)).astype(np.uint8), digits.target.astype(np.int64)
    np.savez(folder / "data" / "train.npz", images=images[:1000], labels=labels[:1000])
    np.savez(folder / "data" / "test.npz", images=images[1000:], labels=labels[1000:])
    monkeypatch.chdir(folder)
    small_sweep(folder, *LONGER, text=OWN)
    return folder


def _sweep(there: Cluster, project: Path, *more: str) -> subprocess.Popen[str]:
    longer = [word for override in LONGER for word in ("--set", override)]
    command = [sys.executable, str(ROOT / "run_sweep.py"), "small.yaml", *longer, *more]
    return subprocess.Popen(
        command, cwd=project, env=there.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_a_cluster_falls_apart_and_no_trial_is_lost(tmp_path: Path, project: Path) -> None:
    undisturbed = tmp_path / "undisturbed"
    assert run_quietly(small_sweep(project, *LONGER, text=OWN), undisturbed)
    expected = facts(undisturbed)
    broken = tmp_path / "broken.py"
    broken.write_text("raise ImportError('not installed')\n")
    folder = project / "results" / "small"
    with cluster(tmp_path / "logs") as there:
        good, failing = there.add("good"), there.add("failing")
        results = project / "results"
        there.add("sealed", f"mount --bind {results} {results}", f"mount -o remount,bind,ro {results}")
        there.add("bare", f"mount --bind {broken} {ROOT / 'sweeps' / '__init__.py'}")
        there.add("empty", f"mount -t tmpfs none {project / 'data'}")

        process = _sweep(there, project)
        wait_for(lambda: _epochs(folder) > 1 and at_work(failing.pid), process)
        there.kill(failing)
        said = process.communicate(timeout=400)[0]
        assert process.returncode == 0, said
        assert facts(folder) == expected, "not one trial more, not one less, and the same bits"
        refused = [line for line in said.splitlines() if "gets no work" in line]
        assert len(refused) == 3, said
        for cause in ("cannot write into", "not installed", "lacks data"):
            assert sum(cause in line for line in refused) == 1, said
        assert said.count(" is lost; 1 jobs at a time") <= 1, (
            said
        )  # a quick sweep ends before Ray lists the node as dead
        returned = re.search(
            r"(\S+ \d+) goes back and waits for a place \(its node .* (was lost|does not answer)\)", said
        )
        assert returned is not None, said
        assert f"{returned[1]} goes on" in said[returned.end() :]
        assert "Traceback" not in said

        # The last good one goes too, while there is work.
        before = _epochs(folder)
        process = _sweep(there, project, "--trials", MORE)
        wait_for(lambda: _epochs(folder) > before + 1 and at_work(good.pid), process)
        there.kill(good)
        said = process.communicate(timeout=400)[0]
        assert process.returncode == 2, said
        assert " is lost; 0 jobs at a time" in said
        last = said.strip().splitlines()[-1]
        assert last.startswith("error: no node can do the work ("), said
        for cause in ("was lost", "cannot write into", "not installed", "lacks data"):
            assert cause in last
        assert "Traceback" not in said
        ends = [trial.outcome for trial in record.read(folder).trials]
        assert None in ends, "it is no trial's failure"
        assert set(ends) <= {None, "complete"}

    more = small_sweep(project, *LONGER, f"search.trials={MORE}", text=OWN)
    for each in (folder, undisturbed):
        assert run_quietly(more, each)
    assert facts(folder) == facts(undisturbed), "on any backend it goes on as if nothing had been"


def _epochs(folder: Path) -> int:
    """Whole epochs that all trials together have behind them."""
    return sum(len(path.read_text().splitlines()) - 1 for path in folder.glob("trials/*/metrics.csv"))
