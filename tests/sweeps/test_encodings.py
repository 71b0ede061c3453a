"""Names that are in no encoding, as old file servers have them, and terminals that cannot show every letter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import analysis.report
from sweeps import record
from sweeps.record import JOURNAL
from tests.sweeps.small import run_quietly, small_sweep

ROOT = Path(__file__).parents[2]
TERMINALS = {
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "ASCII": {"PYTHONIOENCODING": "ascii"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


@pytest.fixture
def latin(tmp_path: Path) -> Path:
    """A folder whose name is a byte that is no UTF-8."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/r\xfc"))
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes only names in UTF-8")
    return folder


def test_a_sweep_in_a_folder_with_such_a_name(latin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named on the command line, which is written down."""
    monkeypatch.setattr(sys, "argv", ["run_sweep.py", "small.yaml", "--results", str(latin)])
    sweep = small_sweep(tmp_path, "search.trials=2", "trial.schedule.epochs=1")
    folder = latin / "small"
    assert run_quietly(sweep, folder)
    assert run_quietly(sweep, folder), "the same command again"
    known = record.read(folder)
    assert [trial.outcome for trial in known.trials] == ["complete"] * 2
    assert not known.unjudged
    assert known.judged, "verdicts were read again"
    written = analysis.report.publish(folder, picture=False)
    for path in [written.index, folder / JOURNAL, *folder.glob("*.log"), *folder.glob("*.yaml"), *folder.glob("*.csv")]:
        path.read_text(encoding="utf-8")


@pytest.mark.parametrize("terminal", TERMINALS)
@pytest.mark.e2e
def test_a_terminal_that_cannot_show_every_letter(latin: Path, terminal: str) -> None:
    """The mistake names the folder, and a letter that few terminals have."""
    (latin / "\u0142.yaml").write_text("name: x\n\u0142: 1\n", encoding="utf-8")
    for command in (
        ["run_sweep.py", str(latin / "\u0142.yaml"), "--backend", "local"],
        ["-m", "analysis", "report", str(latin / "\u0142")],
        ["-m", "sweeps", "repair", str(latin / "\u0142")],
        ["-m", "robustray", "judge", str(latin / "\u0142"), "--data", "digits", "--eps", "0.1"],
    ):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env={**os.environ, **TERMINALS[terminal]},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 2, done.stderr
        assert b"Traceback" not in done.stderr
        assert done.stderr.startswith(b"error: /")
        assert len(done.stderr.splitlines()) == 1
