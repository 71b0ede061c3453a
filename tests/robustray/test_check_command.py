"""`python -m robustray check`: every promise of what a plugin brings, a line each, from the installed package alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import robustray
from robustray.__main__ import main
from robustray.testing import contracts
from tests.plugged import fresh, page

__all__ = ["fresh"]
DEFENSE = page("my_defense.py")
SCHEDULE = '''
"""To half the rate."""
from typing import Literal
from robustray.registry import Count, Real, register
from robustray.training.schedules import Schedule
from pydantic import Field

@register
class Half(Schedule):
    """Falls linearly to a share of the rate."""
    name: Literal["half"] = "half"
    share: Real = Field(gt=0, le=1, description="of the rate")

    def factor(self, step: int, total: int) -> float:
        return 1 - (1 - self.share) * step / total
'''


def said(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[int | str | None, list[str], str]:
    monkeypatch.setattr(sys, "argv", ["robustray", *command])
    code: int | str | None = 0
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
    told = capsys.readouterr()
    return code, told.out.splitlines(), told.err


@pytest.mark.usefixtures("fresh")
def test_a_line_for_each_promise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_defense.py").write_text(DEFENSE)
    code, lines, err = said(["check", "my_defense.py"], capsys, monkeypatch)
    asked = [each.name for kind in ("part", "defense") for each in contracts(kind)]
    assert (code, err) == (0, "")
    assert lines[0].startswith("plugin my_defense.py (")
    assert lines[1:-1] == [f"ok      defense mixture: {name}" for name in asked]
    assert lines[-1] == f"{len(asked)} of {len(asked)} promises kept"


@pytest.mark.usefixtures("fresh")
def test_a_broken_promise_is_told_and_the_exit_code_is_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(DEFENSE.replace("return step.attack()", "return (step.x + 1).clamp(0, 1)"))
    code, lines, _ = said(["check", str(tmp_path / "mine.py"), "-q"], capsys, monkeypatch)
    assert code == 1
    assert [line for line in lines if line.startswith("ok")] == []
    assert any(line.startswith("BROKEN  defense mixture: perturbed_images_are_inside-linf: ") for line in lines)
    asked = sum(len(contracts(kind)) for kind in ("part", "defense"))
    assert lines[-1] == f"{asked - len(lines) + 2} of {asked} promises kept"


@pytest.mark.usefixtures("fresh")
def test_options_that_a_part_cannot_do_without_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "half.py"
    path.write_text(SCHEDULE)
    code, _, err = said(["check", str(path)], capsys, monkeypatch)
    assert (code, err) == (
        2, "error: schedule half: share is missing; say --with '{name: half, share: ...}'\n")  # fmt: skip
    code, lines, _ = said(["check", str(path), "--with", "{name: half, share: 0.5}"], capsys, monkeypatch)
    assert code == 0
    assert len(lines) > 5
    for wrong, words in (
        ("{name: cosine}", "names none of the plugin's parts"),
        ("{name: half, share: 3}", "at most 1"),
    ):
        code, _, err = said(["check", str(path), "--with", wrong], capsys, monkeypatch)
        assert code == 2
        assert words in err


@pytest.mark.usefixtures("fresh")
def test_a_file_that_is_no_plugin_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text("x = (\n")
    code, lines, err = said(["check", str(tmp_path / "mine.py")], capsys, monkeypatch)
    assert (code, lines) == (2, [])
    assert err == f"error: {tmp_path / 'mine.py'}:1: SyntaxError: '(' was never closed\n"


@pytest.mark.cluster  # no Ray, but torch anew
def test_it_works_from_the_package_alone(tmp_path: Path) -> None:
    """Neither tests, sweeps nor pytest: as in an environment that has the wheel."""
    shutil.copytree(
        Path(robustray.__file__).parent, tmp_path / "robustray", ignore=shutil.ignore_patterns("__pycache__")
    )
    (tmp_path / "my_schedule.py").write_text(SCHEDULE.replace("Field(gt", "Field(0.5, gt"))
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('pytest', 'sweeps', 'analysis', 'tests')));"
        "sys.argv[1:] = ['check', 'my_schedule.py']; from robustray.__main__ import main; main()"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith("promises kept")
