"""A cluster of the user's own as its nodes are given: with GPUs, and taking sweeps as jobs of Ray's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps import record
from tests.plugged import fresh
from tests.sweeps.nodes import cluster, namespaces
from tests.sweeps.small import SPACE, facts, run_quietly, small_sweep
from tests.sweeps.waiting import wait_for

__all__ = ["fresh"]
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not namespaces(), reason="nodes of their own need mount namespaces: run it as root on Linux"),
]
ROOT = Path(__file__).parents[2]
LONGER = ("trial.batch.size=20", "trial.schedule.epochs=12", "search.trials=6")
HALVES = "resources={cpus: 1, gpus: 0.5}"
NOTING = '''
import logging
import os
from typing import Literal

from robustray._later import Tensor
from robustray.defenses.base import Defense
from robustray.defenses.step import Loss, Step
from robustray.registry import register


@register
class Noting(Defense):
    """Natural training that writes into the trial's log which GPU it has been given."""

    name: Literal["noting"] = "noting"

    def perturb(self, step: Step) -> Tensor:
        logging.getLogger("robustray").info("given GPU %s of %s", os.environ["CUDA_VISIBLE_DEVICES"], step.x.device)
        return step.x

    def loss(self, step: Step, x_adv: Tensor) -> Loss:
        return Loss(clean=step.cross_entropy(step.logits(x_adv)))
'''
OWN = "plugins: [noting.py]\n" + re.sub(r"defense: .*", "defense: noting", SPACE)


@pytest.mark.usefixtures("fresh")
def test_halves_of_gpus_and_a_sweep_that_is_handed_in_as_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/howto/cluster.md says, where a token is asked for. The GPUs are said and not there: trials train on CPUs."""
    undisturbed, project = tmp_path / "undisturbed", tmp_path / "project"
    project.mkdir()
    (project / "noting.py").write_text(NOTING)
    with monkeypatch.context() as without:
        without.setenv("CUDA_VISIBLE_DEVICES", "")
        assert run_quietly(small_sweep(project, *LONGER, text=OWN), undisturbed)
    folder = project / "results" / "small"
    sets = [word for override in (*LONGER, HALVES) for word in ("--set", override)]
    sweep = [sys.executable, str(ROOT / "run_sweep.py"), str(project / "small.yaml"), *sets]
    sweep += ["--results", str(folder.parent)]
    with cluster(tmp_path / "logs", dashboard=True) as there:
        node = there.add("gpus", cpus=4, gpus=2)
        handed = there.job("submit", "--no-wait", "--", *sweep)
        said = handed.communicate(timeout=300)[0]
        assert handed.returncode == 0, said
        name = re.search(r"raysubmit_\w+", said)
        assert name is not None, said
        wait_for(lambda: bool(list(folder.glob("trials/*/metrics.csv"))))
        stopped = there.job("stop", name[0])
        said = stopped.communicate(timeout=300)[0]
        assert stopped.returncode == 0, said
        log = there.job("logs", name[0])
        said = log.communicate(timeout=300)[0]
        assert "4 at a time on Ray, 2 to a GPU" in said, said
        assert "Traceback" not in said
        assert record.read(folder).trials, "begun"
        assert not all(trial.outcome for trial in record.read(folder).trials), "and not done"

        again = there.job("submit", "--", *sweep)  # follows it to its end
        said = again.communicate(timeout=600)[0]
        assert again.returncode == 0, said
        assert "succeeded" in said
        assert node.poll() is None
    assert facts(folder) == facts(undisturbed)
    shown = subprocess.run(
        [sys.executable, "-m", "sweeps", "status", str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, shown.stderr
    noted = "".join(path.read_text() for path in folder.glob("trials/*/log.txt"))
    assert set(re.findall(r"given GPU (\S+) of (\S+)", noted)) == {("0", "cpu"), ("1", "cpu")}


@pytest.mark.usefixtures("fresh")
def test_who_has_no_token_hands_in_nothing(tmp_path: Path) -> None:
    with cluster(tmp_path / "logs", dashboard=True) as there:
        there.env["RAY_AUTH_TOKEN"] = "0" * 64
        handed = there.job("submit", "--no-wait", "--", "touch", str(tmp_path / "touched"))
        said = handed.communicate(timeout=300)[0]
    assert handed.returncode != 0, said
    assert not (tmp_path / "touched").exists()
