"""The notebook runs from its first cell to its last on a real sweep, and is kept without outputs."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.sweeps.small import run_quietly, small_sweep

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a notebook lies beside the results of a sweep of four trials, judged and tested."""
    root = tmp_path_factory.mktemp("notebook")
    sweep = small_sweep(root, "name=trades_beta", "search.trials=4", "trial.schedule.epochs=2")
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


@every_notebook
def test_outputs_are_stripped(path: Path) -> None:
    for cell in cells(path):
        assert (cell["outputs"], cell["execution_count"]) == ([], None)


@every_notebook
def test_every_cell_shows_something(path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    names: dict[str, Any] = {}
    for cell in cells(path):
        shown = run("".join(cell["source"]), names)
        if isinstance(shown, pd.DataFrame):
            assert shown.select_dtypes("number").notna().to_numpy().any(), "a table without a number"
        else:
            assert len(shown.data) > 0
            assert any(trace["y"] is not None and len(trace["y"]) > 1 for trace in shown.data), (
                "nothing but points of a legend"
            )


@every_notebook
@pytest.mark.e2e
def test_it_runs_in_jupyter(path: Path, home: Path) -> None:
    nbclient = pytest.importorskip("nbclient", reason="nbclient comes with the dev extra")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel", reason="ipykernel comes with the dev extra")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(home)}}).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert {output.output_type for output in cell.outputs} & {"execute_result", "display_data"}, cell.source
