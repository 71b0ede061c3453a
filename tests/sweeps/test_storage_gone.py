"""A network file system that comes loose for a while: an empty folder lies where the sweep was, and later ours again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sweeps
from robustray.errors import UserError
from sweeps import record
from sweeps.running.tasks.base import BLOCKED, Report
from sweeps.running.worker import open_task
from tests.sweeps.small import facts, run_quietly, small_sweep


class Loose:
    """Takes the folder away once, where a file is to be renamed to its name."""

    def __init__(self, folder: Path, at: str, *, soon_back: bool) -> None:
        self.folder, self.at, self.soon_back = folder, at, soon_back
        self.away = folder.with_name("away")
        self.happened = False
        self.left: list[Path] = []
        self._honest: Callable[..., Any] = os.replace

    def replace(self, source: Any, target: Any, **more: Any) -> None:
        now = not self.happened and Path(target).match(self.at)
        if now:
            self.happened = True
            self.folder.rename(self.away)
            self.folder.mkdir()
        try:
            self._honest(source, target, **more)
        finally:
            if now and self.soon_back:
                self.back()

    def back(self) -> None:
        """Ours again, with what was written meanwhile told of."""
        if self.away.exists():
            self.left += self.folder.rglob("*")
            for path in sorted(self.left, reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            self.folder.rmdir()
            self.away.rename(self.folder)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run_quietly(small_sweep(folder, "search.trials=2"), folder / "small")
    return facts(folder / "small")


@pytest.mark.parametrize(
    ("at", "soon_back"),
    [
        ("trials/0001/trial.yaml", False),
        ("trials/0001/trial.yaml", True),
        ("trials/0000/last.pt", False),
        ("trials/0001/metrics.csv", True),
        ("judgements/0001/*/judgement.json", False),
        ("judgements/0000/test-*/clean-0000.parquet", True),
    ],
)
def test_a_sweep_whose_storage_goes_away_stops_in_a_line_and_goes_on(
    at: str,
    soon_back: bool,
    tmp_path: Path,
    undisturbed: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Trials being described, trained, judged: no outcome is written down that is the storage's, and nothing in its place."""
    sweep, folder = small_sweep(tmp_path, "search.trials=2"), tmp_path / "small"
    loose = Loose(folder, at, soon_back=soon_back)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", loose.replace)
        with pytest.raises(UserError, match="run the same command again"):
            sweeps.run(sweep, folder, "local", write=lambda line: None)
    loose.back()
    assert loose.happened
    assert not [path for path in loose.left if path.suffix != ".lock"]
    assert not [told for told in caplog.records if told.exc_info], "a trace is no line"
    assert all(trial.outcome in (None, "complete") for trial in record.read(folder).trials)
    assert sweeps.run(sweep, folder, "local", write=lambda line: None)
    assert facts(folder) == undisturbed


@pytest.mark.parametrize(
    "work",
    [
        {"kind": "train", "session": "one", "max_failures": 1},
        {"kind": "judge", "session": "one", "max_failures": 1, "split": "validation", "attack": "clean", "shard": 0},
        {"kind": "probe"},
        {"kind": "derive", "kept": "derived", "session": "one", "max_failures": 1},
    ],
    ids=lambda work: work["kind"],
)
def test_a_job_whose_folder_is_not_there_makes_none_and_has_not_failed(work: dict[str, Any], tmp_path: Path) -> None:
    more = {"judgements": str(tmp_path / "judgements" / "0000"), "version": None}
    report: Report = open_task(
        {**work, **more, "folder": str(tmp_path / "trials" / "0000"), "cpus": 1, "gpus": 0}
    ).step()
    assert report["outcome"] == BLOCKED
    assert "the disk went away" in report["cause"]
    assert not list(tmp_path.iterdir())
