"""A user's own packages may have our names: his factory finds his, everybody else finds ours."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from torch import nn

import analysis
from robustray import astray
from robustray.errors import UserError
from robustray.subjects import load
from robustray.subjects.neighbours import OURS, first
from sweeps import driver
from tests.sweeps.small import small_sweep

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
    """Whether ours of that name is loaded already (`analysis`, `tests`) or only found on the path (`benchmarks`)."""
    found = load(_factory(tmp_path / "his", package, inner), architecture=None, data=None, norm="linf")
    assert found.architecture == "Sequential"
    assert sys.modules["analysis"] is analysis
    assert Path(str(sys.modules["tests.robustray"].__file__)).is_relative_to(OURS)
    from sweeps.running import deadline

    assert Path(str(deadline.__file__)).is_relative_to(OURS)


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


def test_two_factories_each_have_a_module_of_one_name(tmp_path: Path) -> None:
    """The parents of a derived point, say: the second one's `layers` is not the first one's, nor the other way later on."""
    for name, width in (("a", 3), ("b", 5), ("a", 3)):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "layers.py").write_text(f"from torch import nn\ndef make(): return nn.Linear(64, {width})\n")
        (tmp_path / name / "net.py").write_text(
            "from torch import nn\nfrom layers import make as layer\ndef make(): return nn.Sequential(nn.Flatten(), layer())\n"
        )
        found = load(f"{tmp_path}/{name}/net.py:make", architecture=None, data=None, norm="linf")
        assert [layer.out_features for layer in found.model.modules() if isinstance(layer, nn.Linear)] == [width]


def test_this_package_stays_wherever_factories_lie(tmp_path: Path) -> None:
    """Beside it, or in a folder above it: it is nobody's neighbour, nor is what lies deeper than a file's own folder."""
    for folder in (OURS, OURS.parent):
        with first(folder):
            pass
    spec = _factory(tmp_path / "his", "robustray", True)
    with pytest.raises(UserError, match=r"No module named 'robustray\.heads'"):
        load(spec, architecture=None, data=None, norm="linf")
    (tmp_path / "his" / "torch.py").write_text("raise ImportError('hidden')\n")
    with first(tmp_path / "his"):
        import torch
    assert torch.nn is nn


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
@pytest.mark.e2e
def test_the_command_finds_both(here: str, tmp_path: Path) -> None:
    spec = _factory(tmp_path / "his", "analysis", True)
    command = [sys.executable, "-m", "robustray", "judge", spec, "--data", "digits", "--eps", "0.05", "--images", "10"]
    command += ["--version", "apgd-ce", "--device", "cpu", "--results", str(tmp_path / "results")]
    place = OURS if here == "the project's folder" else tmp_path / "his"
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, cwd=place)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", ["analysis", "sweeps"])
def test_a_package_in_the_place_of_ours_is_told_before_a_sweep_begins(package: str, tmp_path: Path) -> None:
    """Where the folder one stands in comes first on the path, as for `python -m`."""
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").touch()
    command = [sys.executable, "-m", "run_sweep", str(OURS / "search_spaces" / "trades_beta.yaml"), "--trials", "1"]
    done = subprocess.run(
        [*command, "--backend", "local"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(OURS)},
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"error: {package} is {tmp_path / package}, not the one in {OURS}; rename")
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == [package], "nothing was begun"


def test_a_folder_of_our_name_that_is_no_package_is_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "analysis").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert [astray.told(name) for name in (*astray.OURS, "numpy")] == [None] * 4


def test_a_package_that_workers_of_ray_would_find_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They look into the working directory first, which the driver does not: it finds ours, and they would wait for ever."""
    (tmp_path / "sweeps").mkdir()
    assert astray.in_the_way_of_workers(tmp_path) is None, "a folder alone hides no package"
    (tmp_path / "sweeps" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    wanted = small_sweep(tmp_path.parent / "space")
    with pytest.raises(
        UserError, match=r"workers would take .*sweeps for the package sweeps of this project.*--backend local"
    ):
        driver.run(wanted, tmp_path / "results", "ray", write=lambda line: None)
    assert [path.name for path in tmp_path.iterdir()] == ["sweeps"]
    assert astray.in_the_way_of_workers(OURS) is None
