"""The script for Slurm: what is printed, what is refused, and a job of two nodes that really runs through a Slurm of ours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robustray.errors import UserError
from sweeps.commands.slurm import script
from tests.sweeps.small import facts, run_quietly, small_sweep

ROOT = Path(__file__).parents[2]
COMMAND = ["/a b/python", "/c/run_sweep.py", "it's.yaml", "--set", "search.trials=3"]
SLURM = {  # what the script asks of it
    "sbatch": """#!/bin/bash
nodes=$(sed -n 's/^#SBATCH --nodes=//p' "$1")
export SLURM_JOB_ID=${FAKE_JOB} SLURM_JOB_NUM_NODES=$nodes SLURM_CPUS_ON_NODE=1 SLURMD_NODENAME=node0
exec bash "$1"
""",
    "srun": """#!/bin/bash
echo "$@" >> "$FAKE_LOG"
while [ "${1#-}" != "$1" ]; do shift; done
exec "$@"
""",
    "scontrol": """#!/bin/bash
echo "scontrol $*" >> "$FAKE_LOG"
""",
}


def test_the_script_holds_the_options_and_the_very_command(tmp_path: Path) -> None:
    text = script("first", "--nodes=2 --time 1:00:00 --comment='two words' -o out.log --requeue", COMMAND)
    head = [line for line in text.splitlines() if line.startswith("#SBATCH")]
    for option in ("--job-name=first", "--nodes=2", "--time 1:00:00", '--comment="two words"', "--signal=B:TERM@120"):
        assert head.count(f"#SBATCH {option}") == 1
    assert sum("output" in line or "-o " in line for line in head) == 1, "said once, as the user says it"
    assert text.startswith("#!/bin/bash\n")
    printed = [line for line in text.splitlines() if line.startswith("set -- ")]
    shown = subprocess.run(
        ["bash", "-c", f"{printed[0]}; printf '%s\\n' \"$@\""], capture_output=True, text=True, check=True
    )
    assert shown.stdout.splitlines() == COMMAND
    path = tmp_path / "job.sh"
    path.write_text(text)
    for checks in (["bash", "-n"], [str(Path(sys.executable).with_name("shellcheck"))]):
        if Path(checks[0]).name != "shellcheck" or Path(checks[0]).exists():
            done = subprocess.run([*checks, str(path)], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("nodes=2", "write --nodes=2, not nodes=2"),
        ("--nodes='2", "No closing quotation"),
        ("--array=0-3", "cannot run with it"),
        ("--signal=USR1@5", "sets --signal itself"),
        ("--nodes=2\n#SBATCH", "is no option of sbatch"),
    ],
)
def test_options_that_are_none_are_refused(options: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        script("first", options, COMMAND)
    assert said in str(caught.value)


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_a_job_of_two_nodes_is_preempted_and_queues_itself_again(tmp_path: Path) -> None:
    longer = (
        "trial.batch.size=5",
        "trial.schedule.epochs=5",
        "trial.schedule.lr={loguniform: [0.003, 0.03]}",
        "search.trials=4",
    )
    sweep = small_sweep(tmp_path, *longer)
    assert run_quietly(sweep, tmp_path / "undisturbed")
    (tmp_path / "bin").mkdir()
    for name, text in SLURM.items():
        path = tmp_path / "bin" / name
        path.write_text(text)
        path.chmod(0o755)
    log = tmp_path / "log"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "RAY_raylet_start_wait_time_s": "240",
        "RAY_OBJECT_STORE": "80000000",
        "FAKE_JOB": str(os.getpid()),
        "FAKE_LOG": str(log),
    }
    words = [word for override in longer for word in ("--set", override)]
    command = [sys.executable, str(ROOT / "run_sweep.py"), "small.yaml", *words, "--slurm=--nodes=2"]
    printed = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    (tmp_path / "job.sh").write_text(printed.stdout)
    folder = tmp_path / "results" / "small"

    def submit() -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["sbatch", "job.sh"],
            executable=str(tmp_path / "bin" / "sbatch"),
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    job = submit()
    deadline = time.monotonic() + 300
    while not list(folder.glob("trials/*/metrics.csv")):
        assert job.poll() is None, job.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(job.pid, signal.SIGTERM)  # as `--signal=B:TERM@120` has Slurm do, to the script alone
    said = job.communicate(timeout=200)[0]
    assert job.returncode == 130, said
    asked = log.read_text()
    assert f"scontrol requeue {environment['FAKE_JOB']}" in asked
    assert "--nodes=1 --ntasks=1 --ntasks-per-node=1 --exclude=node0 --overlap" in asked, (
        "one node besides that of the head"
    )
    assert "every step and every whole shard is kept" in said

    job = submit()
    said = job.communicate(timeout=500)[0]
    assert job.returncode == 0, said
    assert "running 2 at a time on Ray" in said or " joins: 2 jobs at a time" in said, said
    assert facts(folder) == facts(tmp_path / "undisturbed")
    assert asked.count("requeue") == log.read_text().count("requeue") == 1, "a job that is done stays so"
    assert (folder / "report" / "index.html").exists()
