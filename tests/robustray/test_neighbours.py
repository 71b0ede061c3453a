"""A user's own packages may have our names: his factory finds his, everybody else finds ours."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import analysis
from robustray.errors import UserError
from robustray.subjects import load
from robustray.subjects.neighbours import OURS

HEADS = "from torch import nn\ndef head(n): return nn.Linear(n, 10)\nWHOSE = 'his'\n"


@pytest.fixture(autouse=True)
def _as_it_was(tmp_path: Path) -> Iterator[None]:
    """Paths and modules of the process, which a factory changes on purpose."""
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name, module in list(sys.modules.items()):
        held = vars(module) if isinstance(module, ModuleType) else {}
        if str(tmp_path) in f"{held.get('__file__')} {held.get('__path__')}":
            del sys.modules[name]


def _factory(folder: Path, package: str, inner: bool) -> str:
    """A factory that imports `package.heads`, a package with or without `__init__.py`, or a single module."""
    folder.mkdir(exist_ok=True)
    (folder / package).mkdir()
    (folder / package / "heads.py").write_text(HEADS)
    if inner:
        (folder / package / "__init__.py").write_text("from torch import nn\n")
    (folder / "net.py").write_text(
        f"from torch import nn\nfrom {package}.heads import WHOSE, head\n"
        "assert WHOSE == 'his'\n"
        "def make():\n"
        f"    from {package}.heads import WHOSE\n"
        "    return nn.Sequential(nn.Flatten(), head(64))\n"
    )
    return f"{folder}/net.py:make"


@pytest.mark.parametrize("inner", [True, False], ids=["a package", "a folder"])
@pytest.mark.parametrize("package", ["analysis", "sweeps", "tests", "benchmarks", "data", "utils", "own_heads"])
def test_packages_beside_a_factory_are_the_users(package: str, inner: bool, tmp_path: Path) -> None:
    """Whether ours of that name is loaded already (`analysis`, `tests`) or only found on the path."""
    found = load(_factory(tmp_path / "his", package, inner), architecture=None, data=None, norm="linf")
    assert found.architecture == "Sequential"
    assert sys.modules["analysis"] is analysis
    assert Path(str(sys.modules["tests.robustray"].__file__)).is_relative_to(OURS)
    import sweeps.frontier

    assert Path(str(sweeps.frontier.__file__)).is_relative_to(OURS)


def test_modules_of_one_file_too_and_packages_by_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "analysis.py").write_text(HEADS)
    (tmp_path / "own_nets").mkdir()
    (tmp_path / "own_nets" / "net.py").write_text(
        "from torch import nn\nfrom analysis import head\ndef make(): return nn.Sequential(nn.Flatten(), head(64))\n"
    )
    monkeypatch.chdir(tmp_path)
    assert load("own_nets.net:make", architecture=None, data=None, norm="linf").architecture == "Sequential"
    assert sys.modules["analysis"] is analysis


def test_a_factory_may_use_ours(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from analysis.pareto import dominates\nfrom robustray.data.digits import Digits\nfrom torch import nn\n"
        "def make(): return nn.Flatten()\n"
    )
    assert load(f"{tmp_path}/net.py:make", architecture=None, data=None, norm="linf").architecture == "Flatten"


def test_a_package_called_as_this_one_is_told_whose_was_found(tmp_path: Path) -> None:
    spec = _factory(tmp_path / "his", "robustray", True)
    with pytest.raises(
        UserError, match=r"No module named 'robustray.heads'; robustray is the package in .*another name"
    ):
        load(spec, architecture=None, data=None, norm="linf")


def test_what_lies_beside_a_factory_hides_nobody_elses_package_afterwards(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise ImportError('hidden')\n")
    (tmp_path / "wave.py").write_text("raise ImportError('hidden')\n")
    (tmp_path / "net.py").write_text("from torch import nn\ndef make(): return nn.Flatten()\n")
    load(f"{tmp_path}/net.py:make", architecture=None, data=None, norm="linf")
    sys.modules.pop("wave", None)
    import wave

    assert "hidden" not in str(wave.__file__)
    assert sys.path[-1] == str(tmp_path)


@pytest.mark.parametrize("here", ["the project's folder", "the user's folder"])
def test_the_command_finds_both(here: str, tmp_path: Path) -> None:
    spec = _factory(tmp_path / "his", "analysis", True)
    command = [sys.executable, "-m", "robustray", "judge", spec, "--data", "digits", "--eps", "0.05", "--images", "10"]
    command += ["--version", "apgd-ce", "--device", "cpu", "--results", str(tmp_path / "results")]
    place = OURS if here == "the project's folder" else tmp_path / "his"
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, cwd=place)
    assert done.returncode == 0, done.stderr
