"""Every notebook runs from first cell to last on real sweeps, made small by its parameters, and is kept without outputs."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import pytest

from tests.sweeps.small import run_quietly, small_sweep

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
PARAMETERS = "parameters"
"""The tag of the cell that names them, as papermill has it."""
SMALL: Mapping[str, Mapping[str, Any]] = {
    "comparing_defenses": {"trials": 2, "epochs": 2, "images": 40},
    "flatness_and_robustness": {"most": 4, "images": 20, "draws": 2, "steps": 1, "points": 3},
    "more_points": {"trials": 2, "epochs": 2, "images": 40, "alphas": (0.4, 0.7), "keeps": (0.9,)},
    "pareto_frontier": {},
    "separation": {},
    "splines": {"sizes": (40, 60), "seeds": 1, "along": (20, 40), "draws": 1},
    "sweep_from_python": {"trials": 2, "epochs": 2, "images": 40, "radii": [0.05, 0.1]},
}
"""Values of parameters with which a notebook takes seconds: the same work on less."""
SLOW = ("comparing_defenses", "more_points")  # several sweeps each, and in Jupyter below
quick_notebook = pytest.mark.parametrize(
    "path", [path for path in NOTEBOOKS if path.stem not in SLOW], ids=lambda path: path.stem
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where notebooks lie beside the results of a sweep of four trials, all judged in full, its members tested."""
    root = tmp_path_factory.mktemp("notebook")
    sweep = small_sweep(root, "name=trades_beta", "search.trials=4", "trial.schedule.epochs=2", "judge.trials=all")
    assert run_quietly(sweep, root / "results" / "trades_beta")
    (root / "notebooks").mkdir()
    return root / "notebooks"


def cells(path: Path) -> list[dict[str, Any]]:
    """The code cells."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def run(source: str, names: dict[str, Any]) -> Any:
    """Runs a cell, and gives back what Jupyter would show: the value of its last line, an expression in every cell here."""
    *before, last = ast.parse(source).body
    assert isinstance(last, ast.Expr)
    exec(compile(ast.Module(before, []), "<cell>", "exec"), names)
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)


def assigned(cell: Mapping[str, Any]) -> set[str]:
    """The names that a cell gives values."""
    found = ast.walk(ast.parse("".join(cell["source"])))
    return {node.id for node in found if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def test_every_notebook_is_known_and_listed() -> None:
    assert [path.stem for path in NOTEBOOKS] == sorted(SMALL)
    page = (Path(__file__).parents[1] / "docs" / "notebooks.md").read_text(encoding="utf-8")
    for path in NOTEBOOKS:
        assert f"notebooks/{path.name}" in page, f"docs/notebooks.md does not name {path.name}"


@every_notebook
def test_outputs_are_stripped(path: Path) -> None:
    for cell in cells(path):
        assert (cell["outputs"], cell["execution_count"]) == ([], None)


@every_notebook
def test_its_first_cell_names_its_parameters(path: Path) -> None:
    first, *others = cells(path)
    assert first["metadata"].get("tags") == [PARAMETERS]
    assert not any(PARAMETERS in cell["metadata"].get("tags", ()) for cell in others)
    assert set(SMALL[path.stem]) <= assigned(first)


@quick_notebook
def test_every_cell_shows_something(path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    names: dict[str, Any] = {}
    first, *others = cells(path)
    exec(compile("".join(first["source"]), "<parameters>", "exec"), names)
    names |= SMALL[path.stem]
    for cell in others:
        shown = run("".join(cell["source"]), names)
        if isinstance(shown, pd.DataFrame):
            numbers = shown.select_dtypes("number")
            told = shown if numbers.empty else numbers
            assert told.notna().to_numpy().any(), f"{cell['id']}: a table without a value"
        else:
            assert isinstance(shown, go.Figure), f"{cell['id']} shows neither a table nor a figure"
            assert any(_drawn(trace) for trace in shown.data), f"{cell['id']}: nothing but points of a legend"


def _drawn(trace: Any) -> bool:
    """Whether there is more of it than a mark of the legend."""
    return any(trace[axis] is not None and len(trace[axis]) > 1 for axis in ("x", "y"))


@every_notebook
@pytest.mark.e2e
def test_it_runs_in_jupyter(path: Path, home: Path) -> None:
    nbclient = pytest.importorskip("nbclient", reason="nbclient comes with the dev extra")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel", reason="ipykernel comes with the dev extra")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    at = next(n for n, cell in enumerate(notebook.cells) if PARAMETERS in cell.metadata.get("tags", ()))
    small = "\n".join(f"{name} = {value!r}" for name, value in SMALL[path.stem].items())
    notebook.cells.insert(at + 1, nbformat.v4.new_code_cell(small))
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(home)}}).execute()
    for cell in notebook.cells[at + 2 :]:
        if cell.cell_type == "code":
            assert {output.output_type for output in cell.outputs} & {"execute_result", "display_data"}, cell.source
