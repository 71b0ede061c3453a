"""The house: no circle of files, no private thing used from outside, nothing that declares options needs torch."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("robustray", "sweeps", "analysis")


@cache
def graph() -> grimp.ImportGraph:
    """Every import, inside functions and for type checkers too."""
    return grimp.build_graph(*PACKAGES, cache_dir=None)


def circles(follows: dict[str, set[str]]) -> list[list[str]]:
    """Sets of more than one file in which each leads to each (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    path: list[str] = []
    found: list[list[str]] = []

    def visit(here: str) -> None:
        index[here] = low[here] = len(index)
        path.append(here)
        for there in follows[here]:
            if there not in index:
                visit(there)
            if there in path:
                low[here] = min(low[here], low[there])
        if low[here] == index[here]:
            component = path[path.index(here) :]
            del path[path.index(here) :]
            found.extend([sorted(component)] * (len(component) > 1))

    for start in follows:
        if start not in index:
            visit(start)
    return found


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_circle_of_files() -> None:
    """A package's own file stands for its front: what it fetches later is no import."""
    known = graph().modules
    follows = {name: set(graph().find_modules_directly_imported_by(name)) & known for name in known}
    fronts = {name for name in known if any(other.startswith(f"{name}.") for other in known)}
    for front in fronts:  # the names a front gives away, for type checkers and on first use
        follows[front] = set()
    assert circles(follows) == []


def _files() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def _imports(path: Path) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


@pytest.mark.parametrize(("name", "path"), [pytest.param(name, path, id=name) for name, path in _files()])
def test_the_underscore_is_for_private_alone(name: str, path: Path) -> None:
    """What begins with one is used in its own package only; in a package's root, in all of the package."""
    for module, what in _imports(path):
        if module.partition(".")[0] not in PACKAGES:
            continue
        full = f"{module}.{what}" if what else module
        parts = full.split(".")
        private = next(
            (at for at, part in enumerate(parts) if part.startswith("_") and not part.startswith("__")), None
        )
        if private is not None:
            home = ".".join(parts[:private])
            assert name == home or name.startswith(f"{home}."), f"{full} is private to {home}"


def floors(package: str) -> list[list[str]]:
    """The layers of a package as import-linter checks them, from the top."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (each["layers"] for each in contracts if each.get("containers") == [package])
    return [layer.split(" | ") for layer in layers]


@pytest.mark.parametrize("package", ["robustray", "sweeps"])
def test_the_picture_of_the_floors_is_what_is_checked(package: str) -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    (drawn,) = re.findall(rf"<!-- floors: {package} -->\n```text\n(.*?)```", page, re.DOTALL)
    joined = re.sub(r" \|\n\s+", " | ", drawn)
    assert [line.split(" | ") for line in joined.splitlines()] == floors(package)


@pytest.mark.parametrize("package", ["robustray", "sweeps"])
def test_every_file_has_its_floor(package: str) -> None:
    rooms = [f"{package}.{room}" for floor in floors(package) for room in floor]
    files = {name for name, _ in _files() if name.startswith(f"{package}.")}
    homes = {name: [room for room in rooms if name == room or name.startswith(f"{room}.")] for name in files}
    fronts = {name for name in files if any(other.startswith(f"{name}.") for other in files)}
    assert {name for name, home in homes.items() if len(home) != 1 and name not in fronts} == set()
    assert {room for room in rooms if room not in files} == set(), "a floor without a file"


def test_json_of_files_and_of_others_is_read_in_one_place() -> None:
    """`files.from_json` answers text that is nested without end by a ValueError. What this process wrote itself needs none."""
    own = r"(?!json\.dumps|[\w.]*model_dump_json|[\w.]*to_json|(?:new_)?config\[|result\[)"
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for package in ("robustray", "sweeps", "analysis")
        for path in sorted((ROOT / package).rglob("*.py"))
        for line in path.read_text().splitlines()
        if re.search(rf"json\.loads?\({own}", line) and path != ROOT / "robustray" / "files.py"
    ]
    assert found == []


def test_pictures_are_drawn_in_one_place() -> None:
    """Where a browser dies as it starts, kaleido's threads wait for it for ever: `picture` gives it a process of its own."""
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for package in ("robustray", "sweeps", "analysis", "benchmarks", "tests")
        for path in sorted((ROOT / package).rglob("*.py"))
        for line in path.read_text().splitlines()
        if re.search(r"\bimport kaleido|from kaleido|\.(to|write)_image\(", line)
        and path not in (ROOT / "analysis" / "picture.py", Path(__file__))
    ]
    assert found == []


def test_slow_tests_are_where_the_makefile_looks_for_them() -> None:
    """It finds the files of a suite by the mark in their text."""
    suites = [
        str(line).partition(":")[0]
        for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["markers"]
    ]
    looks = f"mark\\.({'|'.join(suites)})\\b"
    found = {path for path in (ROOT / "tests").rglob("*.py") if re.search(looks, path.read_text())}
    assert {path.name for path in found if not path.name.startswith("test_")} == set()
    assert set(re.findall(r"call with,(\w+)", (ROOT / "Makefile").read_text())) == set(suites)
