"""Correlation of two columns: scipy's numbers on resamples drawn out, the published table, mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from typer.testing import CliRunner

from analysis import correlation
from analysis.__main__ import app
from analysis.correlation import correlate, of_table
from robustray.errors import UserError

PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "reference" / "robust_flatness_2021.csv"


def table(path: Path) -> Path:
    """Eight models, one without a loss."""
    flat = [0.1, 0.2, 0.2, 0.5, 0.7, 0.9, 1.1, 1.4]
    loss = [1.0, 1.3, 1.1, 1.2, 2.0, 1.9, 2.5, None]
    pd.DataFrame({"model": list("abcdefgh"), "flatness": flat, "loss": loss}).to_csv(path / "models.csv", index=False)
    return path / "models.csv"


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published table lies beside the checkout")
def test_the_published_models_correlate_as_published() -> None:
    """Average robust flatness and robust loss of 74 models (Stutz et al., ICCV 2021): .847 and .856 from its own tables."""
    found = of_table(PUBLISHED, "avg_flatness_rce", "pgd_rce_test")
    values = {each.name: each for each in found.coefficients}
    assert (found.n, found.left_out) == (74, 0)
    assert values["Pearson"].value == pytest.approx(0.847, abs=5e-4)
    assert values["Spearman"].value == pytest.approx(0.856, abs=5e-4)
    assert values["Pearson"].p < 1e-20
    assert all(0.5 < each.low < each.value < each.high < 0.95 for each in found.coefficients)


def test_a_small_table(tmp_path: Path) -> None:
    found = of_table(table(tmp_path), "flatness", "loss")
    assert (found.n, found.left_out) == (7, 1)
    df = pd.read_csv(tmp_path / "models.csv").dropna()
    tests: dict[str, Any] = {"Pearson": stats.pearsonr, "Spearman": stats.spearmanr, "Kendall": stats.kendalltau}
    for each in found.coefficients:
        value, p = tests[each.name](df["flatness"], df["loss"])
        assert (each.value, each.p) == pytest.approx((value, p))
        assert each.low <= each.value <= each.high


@settings(max_examples=30)
@given(seed=st.integers(0, 2**16), n=st.integers(4, 12), ties=st.booleans())
def test_resamples_are_those_of_rows_drawn_out(seed: int, n: int, ties: bool) -> None:
    """Weights say what rows written out so many times say to scipy."""
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 4, (2, n)).astype(float) if ties else rng.normal(size=(2, n))
    times = rng.multinomial(n, np.full(n, 1 / n), 3).astype(float)
    found = correlation.resampled(x, y, times)
    for row, counts in enumerate(times.astype(int)):
        a, b = np.repeat(x, counts), np.repeat(y, counts)
        if np.ptp(a) == 0 or np.ptp(b) == 0:
            assert all(np.isnan(values[row]) for values in found.values())
            continue
        expected = {"Pearson": stats.pearsonr(a, b)[0], "Spearman": stats.spearmanr(a, b)[0]}
        expected["Kendall"] = stats.kendalltau(a, b)[0]
        for name, value in expected.items():
            assert found[name][row] == pytest.approx(value, abs=1e-9)


def test_order_is_all_that_ranks_see() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 30))
    plain, there = ({each.name: each for each in correlate(a, b)} for a, b in ((x, y), (np.exp(x), 3 * y - 1)))
    for name in ("Spearman", "Kendall"):
        assert plain[name] == there[name]
    assert correlate(x, -x)[0].value == pytest.approx(-1)


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        ("flatnes", "loss", "--x: .* has no column 'flatnes'; did you mean 'flatness'"),
        ("flatness", "model", "--y: column 'model' of .* holds other than numbers"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, x: str, y: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        of_table(table(tmp_path), x, y)


@pytest.mark.parametrize(
    ("rows", "says"),
    [("1,2\n3,4\n", "2 rows with both numbers"), ("1,2\n3,2\n5,2\n", "all values of a column are the same")],
)
def test_too_little_is_told(tmp_path: Path, rows: str, says: str) -> None:
    (tmp_path / "t.csv").write_text("a,b\n" + rows)
    with pytest.raises(UserError, match=says):
        of_table(tmp_path / "t.csv", "a", "b")
    with pytest.raises(UserError, match="cannot be read"):
        of_table(tmp_path / "none.csv", "a", "b")


def test_the_command(tmp_path: Path) -> None:
    path, out = table(tmp_path), tmp_path / "out.csv"
    arguments = ["correlate", str(path), "--x", "flatness", "--y", "loss", "--csv", str(out)]
    said = CliRunner().invoke(app, arguments, catch_exceptions=False).stdout
    assert "Spearman" in said
    assert "7 rows; 1 row without both numbers left out" in said
    assert pd.read_csv(out)["name"].tolist() == ["Pearson", "Spearman", "Kendall"]
