"""What holds of every exhibit of the registry: of rows that are made up, and of a real sweep."""

from __future__ import annotations

import io
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from typer.testing import CliRunner

from analysis import picture
from analysis.__main__ import app
from analysis.papers.exhibit import Exhibit, publish
from analysis.papers.latex import latex
from analysis.papers.registry import EXHIBITS
from analysis.papers.sources import missing
from robustray.errors import UserError
from tests.analysis.papers.made import LABELS, ROWS

NAMES = list(EXHIBITS)
_ESCAPED = re.compile(r"(?<!\\)[%#&_$^~]")


@pytest.fixture(params=[*((name, "made") for name in NAMES), *((name, "real") for name in NAMES)], ids="-".join)
def rows(request: pytest.FixtureRequest) -> tuple[Exhibit, pd.DataFrame]:
    """An exhibit and rows of it."""
    name, kind = request.param
    exhibit = EXHIBITS[name]
    if kind == "made":
        return exhibit, ROWS[name]()
    whole: Path = request.getfixturevalue("whole")
    return exhibit, exhibit.read([whole], lambda note: None)


def test_every_exhibit_has_rows_that_are_made_up() -> None:
    assert list(ROWS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_rows_that_are_made_up_have_the_columns_of_real_ones(name: str, whole: Path) -> None:
    assert set(ROWS[name]().columns) == set(EXHIBITS[name].read([whole], lambda note: None).columns)


def test_a_figure_has_titled_axes_and_something_to_see(rows: tuple[Exhibit, pd.DataFrame]) -> None:
    exhibit, df = rows
    before = df.copy()
    figure = exhibit.figure(df)
    pd.testing.assert_frame_equal(df, before)
    assert figure.to_json() == exhibit.figure(df).to_json(), "a pure function"
    assert figure.layout.width == 760, "fits a page"
    assert figure.to_json() != exhibit.figure(df, theme="dark").to_json()
    for name, axis in _axes(figure):
        assert axis.title.text or axis.matches, f"{name} has no title, and is no other's"
    for trace in figure.data:
        seen = [np.asarray(values, dtype=float) for values in (trace.x, trace.y) if _numeric(values)]
        assert seen
        assert all(np.isfinite(values).any() for values in seen), trace.name
    assert "<script>" not in figure.to_json().replace("\\u003c", "<"), "labels are text"


def _axes(figure: go.Figure) -> Iterator[tuple[str, Any]]:
    for name in figure.layout.to_plotly_json():
        if re.fullmatch(r"[xy]axis\d*", name):
            yield name, figure.layout[name]


def _numeric(values: Any) -> bool:
    return values is not None and len(values) > 0 and all(isinstance(value, int | float | None) for value in values)


def test_series_are_told_apart_without_colour(rows: tuple[Exhibit, pd.DataFrame]) -> None:
    """Grey print: no two series of a panel share both dash and symbol, and published numbers are hollow."""
    exhibit, df = rows
    looks: dict[tuple[Any, ...], str] = {}
    for trace in exhibit.figure(df).data:
        if trace.type != "scatter" or not trace.showlegend or trace.name in looks.values():
            continue
        look = trace.xaxis, trace.mode, trace.line.dash, trace.line.width, trace.marker.symbol
        assert look not in looks, f"{trace.name} looks like {looks[look]}"
        looks[look] = trace.name
        if "published" in str(trace.name):
            assert trace.marker.symbol.endswith("-open")


def test_a_csv_holds_all_that_is_drawn(rows: tuple[Exhibit, pd.DataFrame]) -> None:
    exhibit, df = rows
    back = pd.read_csv(io.StringIO(df.to_csv(index=False)), float_precision="round_trip")
    assert exhibit.figure(back).to_json() == exhibit.figure(df).to_json()
    assert latex(exhibit.table(back), exhibit.name) == latex(exhibit.table(df), exhibit.name)
    assert "home" not in back, "no path of a machine"
    texts = df.select_dtypes(["object", "string"]).to_numpy().ravel().astype(str)
    assert not any(text.startswith("/") for text in texts)


def test_latex_is_whole(rows: tuple[Exhibit, pd.DataFrame]) -> None:
    exhibit, df = rows
    text = latex(exhibit.table(df), exhibit.name)
    lines = text.splitlines()
    for kind in ("table", "tabular"):
        assert text.count(rf"\begin{{{kind}}}") == text.count(rf"\end{{{kind}}}") == 1
    bare = text.replace(r"\{", "").replace(r"\}", "")
    assert bare.count("{") == bare.count("}")
    kinds = re.search(r"\\begin\{tabular\}\{([lr]+)\}", text)
    assert kinds is not None
    body = lines[lines.index(r"\toprule") + 1 : lines.index(r"\bottomrule")]
    assert len(body) >= 3
    for line in body:
        if line == r"\midrule":
            continue
        assert line.endswith(r" \\")
        cells = line.removesuffix(r" \\").split(" & ")
        assert len(cells) == len(kinds[1])
        for cell in cells:
            plain = re.sub(r"\$[^$]*\$", "", cell.replace(r"\$", ""))
            assert not _ESCAPED.search(plain), cell
    caption = next(line for line in lines if line.startswith(r"\caption"))
    assert not _ESCAPED.search(re.sub(r"\$[^$]*\$", "", caption))
    assert f"tab:{exhibit.name}" in text


@pytest.mark.parametrize("name", NAMES)
def test_what_is_missing_is_one_line_with_the_command(name: str, tmp_path: Path, whole: Path) -> None:
    exhibit = EXHIBITS[name]
    bare = tmp_path / "bare"
    shutil.copytree(whole, bare, ignore=shutil.ignore_patterns("measures", "certificates"))
    if name in ("pang-divergences", "kamath-curves", "bai-alpha"):  # they read what a record has
        assert len(exhibit.read([bare], lambda note: None))
        return
    ended = CliRunner().invoke(app, ["paper", name, str(bare), "--out", str(tmp_path / "out")])
    assert isinstance(ended.exception, UserError)
    said = str(ended.exception)
    kept = (
        exhibit.command
        if name == "bai-radii"
        else re.sub(r"results/\w+/trials/\d{4}", f"{bare}/trials/0000", exhibit.command)
    )
    assert kept in said
    assert "\n" not in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_without_a_sweep_is_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        EXHIBITS[name].read([tmp_path], lambda note: None)
    assert "\n" not in str(caught.value)


def test_files_are_written(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Table, CSV and page, and why pictures are not there where no browser is."""

    def none(figure: go.Figure, *size: object) -> bytes:
        raise RuntimeError("no browser")

    monkeypatch.setattr(picture, "drawn", none)
    done = publish(EXHIBITS["yang-tables"], [whole], tmp_path / "out")
    assert [path.name for path in done.files] == ["yang-tables.csv", "yang-tables.tex", "yang-tables.html"]
    assert all(path.stat().st_size for path in done.files)
    assert any("was not drawn" in note for note in done.notes)
    assert any("left out" in note for note in done.notes), "of four trials three are measured, and one says so"


def test_all_are_listed_with_what_makes_them() -> None:
    ended = CliRunner().invoke(app, ["paper"])
    assert ended.exit_code == 0
    for exhibit in EXHIBITS.values():
        assert exhibit.name in ended.output
        assert exhibit.command in ended.output


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["yang-table", "x"], "there is no 'yang-table'; did you mean 'yang-tables'"),
        (["yang-tables"], "yang-tables reads sweeps: name one or more FOLDERs"),
        (["yang-tables", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_one_line(words: list[str], wrong: str) -> None:
    ended = CliRunner().invoke(app, ["paper", *words])
    assert isinstance(ended.exception, UserError)
    assert wrong in str(ended.exception)
    assert "\n" not in str(ended.exception)


def test_labels_of_two_sweeps_are_told_apart(whole: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(whole, again)
    rows = EXHIBITS["yang-tables"].read([whole, again], lambda note: None)
    assert len(rows) == 2 * len(EXHIBITS["yang-tables"].read([whole], lambda note: None))
    assert set(rows["label"].str.partition(": ")[0]) == {"whole", "again"}
    assert rows.groupby("setting").size().max() == 1


def test_a_damaged_result_is_one_line(whole: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(whole, bare)
    for path in bare.glob("trials/0000/measures/*-lipschitz-*/result.json"):
        path.write_text("{")
    with pytest.raises(UserError, match=r"result\.json: damaged; the same measure command writes it anew"):
        EXHIBITS["yang-tables"].read([bare], lambda note: None)


def test_labels_are_set_as_they_are() -> None:
    text = latex(EXHIBITS["yang-tables"].table(ROWS["yang-tables"]()), "x")
    assert r"50 \% \& more\_or\_less \$x\$ \#1 \{a\} \textasciitilde{}\textasciicircum{}\textbackslash{}" in text
    assert LABELS[0] in text
    assert math.isfinite(len(text))
    assert (
        missing(pd.DataFrame({"sweep": ["a", "b"], "home": "x"}), "this", "that")
        .args[0]
        .startswith("a and b: this is not measured")
    )
