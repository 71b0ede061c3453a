"""Every shell command of the README, the tutorial and the how-to pages is run, in a copy of the checkout.

A page is read from top to bottom: a block of YAML or Python whose first line is `# name` becomes that file, a block of `sh` is
run. Blocks after `<!-- not run: why -->` are not. Sweeps run in one process with little training and one attack.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml

from sweeps import record
from sweeps.record.points import derived
from sweeps.space import Sweep
from tests.plugged import fresh

__all__ = ["fresh"]
ROOT = Path(__file__).parents[1]
QUICK, TASKS = ROOT / "docs" / "tutorial.md", ROOT / "docs" / "tasks.md"
PAGES = [ROOT / "README.md", QUICK, TASKS, *sorted((ROOT / "docs" / "howto").glob("*.md"))]
SMALL = "--backend local --set 'judge.version=[apgd-ce]' --set 'judge.images={validation: 40, test: 40}' --set trial."
EPOCHS = {"own_training_script": "script.config.epochs=1"}
MORE = {"README": "--trials 2"}
AS_THEY_STAND = {"tasks": "--backend local"}
"""Pages whose sweeps are small enough, and what alone is added to their commands."""
RUN = re.compile(r"^python (?:\.\./)?run_sweep\.py \S+\.yaml\b[^#|\n]*", re.MULTILINE)
FENCE = re.compile(
    r"^(?:<!-- not run: (?P<why>[^>]+) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    language: str
    text: str
    not_run: str | None

    @property
    def file(self) -> str | None:
        """The name in the first line of a file's block."""
        found = re.match(r"# ([\w/.]+\.(?:yaml|py))\n", self.text)
        return found[1] if found and self.language in ("yaml", "python") else None


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [Block(found["language"], found["text"], found["why"]) for found in FENCE.finditer(text)]


def copied(folder: Path) -> None:
    """What the commands need of the checkout."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("robustray", "sweeps", "analysis", "search_spaces", "cluster"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "run_sweep.py", folder)


def images(folder: Path) -> None:
    """The files that the README's example names: 2,300 images to train on and hold out, a bright row tells the class."""
    draw = np.random.default_rng(0)
    for name, count in (("train", 2300), ("test", 100)):
        pixels, labels = draw.integers(0, 200, (count, 6, 6, 1), dtype=np.uint8), np.arange(count) % 4
        pixels[np.arange(count), labels] = 255
        np.savez(folder / f"{name}.npz", images=pixels, labels=labels)


def follow(page: Path, folder: Path, at_most: int = 100) -> str:
    """Does what a page says, in a folder, up to so many blocks of commands, and gives back what they print."""
    copied(folder)
    images(folder)
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "BROWSER_PATH": "/bin/false",  # pictures have tests of their own
    }
    printed: list[str] = []
    for block in blocks(page):
        if block.file:
            (folder / block.file).write_text(block.text)
        elif block.language == "sh" and block.not_run is None and len(printed) < at_most:
            added = AS_THEY_STAND.get(page.stem) or (
                f"{SMALL}{EPOCHS.get(page.stem, 'schedule.epochs=1')} {MORE.get(page.stem, '')}"
            )
            script = RUN.sub(rf"\g<0> {added.replace(chr(92), chr(92) * 2)} ", block.text)
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", script],
                cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
            printed.append(done.stdout)
    return "\n".join(printed)


@pytest.mark.e2e
def test_the_tutorial_works_as_far_as_its_report(tmp_path: Path) -> None:
    printed = follow(QUICK, tmp_path, at_most=2)
    assert "arXiv:1901.08573" in printed
    assert "8 of 8" in printed
    assert (tmp_path / "results" / "tutorial" / "report" / "index.html").exists()


@pytest.mark.cluster  # no Ray, but a minute and a half of one core
@pytest.mark.timeout(1200)
def test_the_ten_tasks_come_out_as_the_page_says(tmp_path: Path) -> None:
    printed = follow(TASKS, tmp_path)
    assert "export it: python -m robustray export results/x/trials/" in printed
    stopped = [trial for trial in record.read(tmp_path / "results" / "mart").trials if trial.outcome == "stopped"]
    assert len({trial.cause for trial in stopped}) == len(stopped) > 1
    hashes = re.findall(r"SHA-256 ([0-9a-f]{64})", printed)
    assert len(hashes) == 2
    assert hashes[0] == hashes[1]
    assert "x: 6 whole trainings' worth of epochs, " in printed
    assert "that were stopped when the budget was spent may go on" in printed
    for name in ("x", "mart", "weighted"):
        assert any(trial.outcome == "complete" for trial in record.read(tmp_path / "results" / name).trials), name
    assert sum(derived(trial) for trial in record.read(tmp_path / "results" / "x").trials) == 2
    assert "of 6h of wall time" in printed
    assert not (tmp_path / "results" / "six").exists()


@pytest.mark.cluster  # no Ray, but minutes
@pytest.mark.parametrize("page", [page for page in PAGES if page != TASKS], ids=lambda page: page.stem)
def test_every_page_works(page: Path, tmp_path: Path) -> None:
    """What fails is told by the command; some print nothing, for their output goes into a file."""
    commands = [block for block in blocks(page) if block.language == "sh"]
    assert commands
    if any(block.not_run is None for block in commands):
        follow(page, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_command_escapes(page: Path) -> None:
    """Every fence is read, every file has a name, and no command hides in an indented block."""
    text = page.read_text(encoding="utf-8")
    assert text.count("```") == 2 * len(blocks(page))
    assert not re.search(r"^ {4}(python|make|ray|\.venv)", text, re.MULTILINE)
    for block in blocks(page):
        assert block.language in ("sh", "yaml", "python", "text")
        assert block.language != "python" or block.file


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
@pytest.mark.usefixtures("fresh")
def test_every_space_on_a_page_is_valid(page: Path, tmp_path: Path) -> None:
    for number, block in enumerate(blocks(page)):
        if block.language == "python" and block.file:
            (tmp_path / block.file).write_text(block.text)
        if block.language == "yaml":
            path = tmp_path / f"{number}.yaml"
            path.write_text(block.text)
            sweep = Sweep.from_yaml(path)
            assert block.file is None or block.file == f"{sweep.name}.yaml"
            assert yaml.safe_load(block.text)


@pytest.mark.parametrize("page", [*PAGES, *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target
