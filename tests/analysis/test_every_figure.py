"""Every figure of `analysis` is a pure function with titled axes and finite data, in colours and words that all can read."""

from __future__ import annotations

import copy
import importlib
import inspect
import itertools
import pkgutil
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from plotly.offline import get_plotlyjs
from typer.testing import CliRunner

import analysis
from analysis import paper, style
from analysis.__main__ import app
from analysis.palette import FONT, THEMES, ThemeName
from robustray.errors import UserError
from tests.analysis import made as the
from tests.analysis.devtools import tab
from tests.analysis.drawing import checks, colours
from tests.analysis.drawing.examples import EXAMPLES, Shared

FOLDERS = {"analysis.marked.of_sweep": "draws a report's figure again, for a card: of a folder, and on white"}
"""Functions that take a folder in place of tables, and why."""
LEAVES_OUT = {
    "analysis.figures.frontier_figure": "trials far from the frontier, of which the page says how many",
    "analysis.marked.of_sweep": "the same",
    "analysis.frontiers.figure.frontiers_figure": "tails of published frontiers run out of the picture",
}
"""Figures whose first view leaves out marks, and which."""
Draw = Callable[..., "go.Figure | None"]


def found() -> dict[str, Draw]:
    """Every public function of `analysis` that makes a figure of something else."""
    result = dict[str, Draw]()
    for module in pkgutil.walk_packages(analysis.__path__, "analysis."):
        home = importlib.import_module(module.name) if not module.name.endswith("__main__") else None
        for name, function in inspect.getmembers(home, inspect.isfunction):
            told = {key: str(value) for key, value in function.__annotations__.items()}
            returns = told.pop("return", "")
            mine = function.__module__ == module.name and not name.startswith("_")
            if mine and "go.Figure" in returns and not any("go.Figure" in each for each in told.values()):
                result[f"{module.name}.{name}"] = function
    return result


FOUND = found()
CASES = [(name, theme) for name in sorted(FOUND) for theme in THEMES if theme == "light" or name not in FOLDERS]
every_figure = pytest.mark.parametrize("name", sorted(FOUND))
every_case = pytest.mark.parametrize(("name", "theme"), CASES)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    root = tmp_path_factory.mktemp("figures")
    return Shared(the.sweep(root / "trades_beta", derived=True), root)


Drawn = Callable[[str, ThemeName], go.Figure]


@pytest.fixture(scope="module")
def drawn(shared: Shared) -> Drawn:
    """Draws a figure of its example, once for each theme."""
    kept = dict[tuple[str, ThemeName], go.Figure]()

    def draw(name: str, theme: ThemeName) -> go.Figure:
        if name not in EXAMPLES:
            pytest.fail(
                f"{name} returns a figure and has no example: write one into tests/analysis/drawing/examples.py"
            )
        if (name, theme) not in kept:
            given = EXAMPLES[name](shared) | ({} if name in FOLDERS else {"theme": theme})
            figure = FOUND[name](**given)
            assert isinstance(figure, go.Figure), f"the example of {name} draws nothing"
            kept[name, theme] = figure
        return kept[name, theme]

    return draw


def test_no_example_is_of_a_figure_that_is_gone() -> None:
    assert set(EXAMPLES) <= set(FOUND)
    assert set(FOLDERS) | set(LEAVES_OUT) <= set(FOUND)


@every_figure
def test_it_is_a_pure_function_of_tables(name: str, shared: Shared, drawn: Drawn) -> None:
    given = EXAMPLES[name](shared) if name in EXAMPLES else {}
    before = copy.deepcopy(list(checks.tables(given)))
    figure = FOUND[name](**given)
    assert figure is not None
    assert figure.to_json() == drawn(name, "light").to_json()
    assert bool(before) != (name in FOLDERS)
    for was, now in zip(before, checks.tables(given), strict=True):
        if isinstance(was, pd.DataFrame) and isinstance(now, pd.DataFrame):
            pd.testing.assert_frame_equal(was, now)
        else:
            np.testing.assert_array_equal(was, now)
    assert name in FOLDERS or "theme" in inspect.signature(FOUND[name]).parameters


@every_figure
def test_axes_say_what_they_are_and_in_which_unit(name: str, drawn: Drawn) -> None:
    figure = drawn(name, "light")
    for letter in "xy":
        for axis_name, axis in checks.axes(figure, letter):
            said = checks.spoken(figure, letter, axis_name, axis)
            assert said is None or said, f"axis {axis_name} has no title"
            for quantity, unit in checks.UNITS.items():
                if said and re.search(quantity, said):
                    assert re.search(unit, said), f"axis {axis_name} is titled {said!r}, without its unit ({unit})"


@every_figure
def test_what_is_drawn_is_finite_and_inside(name: str, drawn: Drawn) -> None:
    figure = drawn(name, "light")
    assert checks.drawn(figure)
    for trace in checks.drawn(figure):
        for letter in ("x", "y", "z"):
            values = getattr(trace, letter, None)
            known = checks.numbers(values) if values is not None else None
            assert known is None or (len(known) and np.isfinite(known).all()), f"{trace.name}: {letter} is not finite"
            axis = None if letter == "z" else figure.layout[f"{letter}axis{(trace[f'{letter}axis'] or letter)[1:]}"]
            if (
                known is None
                or axis is None
                or axis.range is None
                or "markers" not in (getattr(trace, "mode", "") or "")
            ):
                continue
            low, high = sorted(axis.range)
            inside = (known >= low) & (known <= high)
            assert inside.all() or name in LEAVES_OUT, f"{trace.name}: marks outside of the {letter} axis"


@every_case
def test_colours_are_those_of_the_palette(name: str, theme: ThemeName, drawn: Drawn) -> None:
    known = checks.of_theme(THEMES[theme])
    foreign = {colour for colour in checks.opaque(drawn(name, theme)) if colour not in known}
    assert not foreign, f"colours that are not of the palette: {foreign}"


@every_figure
def test_what_the_legend_names_is_told_apart_in_grey(name: str, drawn: Drawn) -> None:
    alike = list(checks.told_apart(drawn(name, "light")))
    assert not alike, f"the same in grey print: {alike}"


@every_case
def test_words_can_be_read(name: str, theme: ThemeName, drawn: Drawn) -> None:
    figure, look = drawn(name, theme).to_plotly_json(), THEMES[theme]
    assert figure["layout"]["font"]["family"] == FONT
    assert figure["layout"]["paper_bgcolor"] == figure["layout"]["plot_bgcolor"] == look.paper
    for path, value in checks.walked(figure):
        if re.search(r"font\.family$", path):
            assert value == FONT, path
        elif re.search(r"font\.color$", path):
            assert colours.contrast(value, look.paper) >= 4.5, f"{path}: {value}"
        elif re.search(r"font\.size$", path):
            assert value >= style.SMALLEST, f"{path}: {value}"


def test_a_figure_has_the_size_of_paper_or_of_where_it_stands(drawn: Drawn) -> None:
    for name in FOUND:
        width = drawn(name, "light").layout.width
        assert width is None or width <= 900, f"{name} is {width} pixels wide"


# ---------------------------------------------------------------------------------------------------------- the palette


@pytest.mark.parametrize("theme", THEMES)
def test_hues_are_apart_for_every_eye(theme: ThemeName) -> None:
    look = THEMES[theme]
    for seen in colours.VISION:
        for one, other in itertools.combinations(look.categories, 2):
            assert colours.apart(one, other, seen) >= 15, f"{one} and {other}, {seen}"
    for colour in (*look.categories, look.plain):
        assert colours.contrast(colour, look.paper) >= 3
    for colour in (look.ink, look.muted):
        assert colours.contrast(colour, look.paper) >= 4.5
    for one, other in itertools.combinations(look.categories[:4], 2):
        assert abs(colours.lab(one)[0] - colours.lab(other)[0]) >= checks.LIGHTER, f"{one} and {other} in grey"


@pytest.mark.parametrize("theme", THEMES)
def test_a_scale_goes_from_dark_to_light_for_every_eye(theme: ThemeName) -> None:
    for seen in colours.VISION:
        light = [float(colours.lab(colour, seen)[0]) for colour in THEMES[theme].scale]
        assert (np.diff(light) > 2).all(), seen


def test_vision_by_known_values() -> None:
    """White is L* 100, greys stay as they are for every eye, and a pair that only red and green tell apart falls together."""
    np.testing.assert_allclose(colours.lab("#ffffff"), [100, 0, 0], atol=0.02)
    np.testing.assert_allclose(colours.lab("#ff0000"), [53.24, 80.09, 67.20], atol=0.02)
    assert colours.contrast("#ffffff", "#000000") == pytest.approx(21)
    assert colours.contrast("#ffffff", "#777777") == pytest.approx(4.48, abs=0.01)
    for seen, matrix in colours.VISION.items():
        np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-5)
        assert colours.apart("#808080", "#808080", seen) == 0
        np.testing.assert_allclose(colours.lab("#808080", seen), colours.lab("#808080"), atol=0.02)
    assert colours.apart("#b0a000", "#ff7000", "deuteranopia") < 0.5 * colours.apart("#b0a000", "#ff7000")


# ---------------------------------------------------------------------------------------------------------- on paper


@pytest.mark.browser
def test_a_figure_is_written_as_page_and_as_pictures(browser: str, drawn: Drawn, tmp_path: Path) -> None:
    done = paper.written(drawn("analysis.toys.neighbours", "light"), tmp_path / "figure")
    assert not done.notes
    assert [path.suffix for path in done.files] == [".html", ".png", ".svg", ".pdf"]
    begins = {".png": b"\x89PNG\r\n", ".pdf": b"%PDF-", ".svg": b"<svg"}
    for path in done.files[1:]:
        assert path.read_bytes().startswith(begins[path.suffix])


@pytest.mark.parametrize("command", [["picture"], ["importance"]])
def test_a_picture_of_another_kind_is_refused(command: list[str], shared: Shared, tmp_path: Path) -> None:
    told = CliRunner().invoke(app, [*command, str(shared.made), "--out", str(tmp_path / "figure.gif")])
    assert isinstance(told.exception, UserError)
    assert str(told.exception).endswith("figure.gif: must end in .png, .svg or .pdf")
    assert not list(tmp_path.iterdir())


@pytest.mark.browser
def test_nothing_is_cut_off_or_lies_on_anything(browser: str, drawn: Drawn, tmp_path: Path) -> None:
    """Each figure in its own size, or in that of its picture in a report."""
    page = tmp_path / "page.html"
    page.write_text(f"<body style='margin:0'><div id='figure'></div><script>{get_plotlyjs()}</script>")
    script = (Path(checks.__file__).parent / "layout.js").read_text().rstrip()
    with tab(browser) as chromium:
        chromium.size(1300, 1000)
        chromium.open(page.as_uri())
        told = {}
        for name in sorted(FOUND):
            figure = drawn(name, "light")
            width, height = int(figure.layout.width or 900), int(figure.layout.height or 640)
            if wrong := chromium.says(f"({script})({figure.to_json()}, {width}, {height})"):
                told[name] = wrong
    assert not told
