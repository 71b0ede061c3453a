"""Published tables: what they say is what was published, and selections and frontiers of them."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import __main__ as command
from analysis.published import DATA, architecture_class, frontier, table
from analysis.published.tables import FILES
from robustray.errors import UserError

ROOT = Path(__file__).parents[2]
HERE = ROOT / "analysis" / "published"
SHARED = ROOT.parent / "shared" / "reference"
shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no published results at {SHARED}")
NUMBERS = ("clean", "pgd10", "pgd20", "pgd50", "cr", "autoattack", "seconds", "gpu_gb")
PAIRS = [("cifar10", "linf"), ("cifar10", "l2"), ("cifar100", "linf"), ("imagenet", "linf"), ("tiny_imagenet", "linf")]


@shared
def test_the_leaderboard_is_the_published_one() -> None:
    name = FILES["robustbench"]
    assert (HERE / name).read_text().splitlines() == (SHARED / name).read_text().splitlines()


@shared
def test_fastat_has_the_final_numbers_of_every_run() -> None:
    with (HERE / FILES["fastat"]).open() as file:
        kept = {(row["data"], row["method"], int(row["seed"])): row for row in csv.DictReader(file)}
    lines = (SHARED / "fastat_2026.jsonl").read_text().splitlines()
    runs = {(run["data"], run["method"], run["seed"]): run for run in map(json.loads, lines)}
    assert kept.keys() == runs.keys()
    assert all(float(kept[key][name]) == pytest.approx(runs[key][name], abs=1e-9) for key in runs for name in NUMBERS)


def test_every_row_is_in_one_table_and_one_class() -> None:
    rows = pd.concat([table(*pair) for pair in PAIRS])
    with (HERE / FILES["robustbench"]).open() as one, (HERE / FILES["fastat"]).open() as other:
        assert len(rows) == sum(1 for _ in csv.DictReader(one)) + sum(1 for _ in csv.DictReader(other))
    assert {data for data, _ in PAIRS} == set(DATA)
    numbers = rows[["clean_accuracy", "robust_accuracy", "autoattack"]].to_numpy(dtype=float)
    assert ((numbers >= 0) & (numbers <= 1)).all()
    assert (rows["robust_accuracy"] <= rows["autoattack"]).all()
    for pair in PAIRS:
        whole = table(*pair)
        parts = [table(*pair, architecture=name) for name in whole["architecture_class"].unique()]
        assert sum(map(len, parts)) == len(whole)
        assert len(table(*pair, additional=True)) + len(table(*pair, additional=False)) == len(whole)
        assert whole["robust_accuracy"].is_monotonic_decreasing


def test_the_best_known_accuracy_counts_and_an_unreliable_one_leads_nothing() -> None:
    """Kang2021Stable: AutoAttack said 71.28 %, others 64.20 %."""
    whole = table("cifar10", "linf", source="robustbench")
    row = whole[whole["entry"] == "Kang2021Stable"]
    assert row[["robust_accuracy", "autoattack", "flags"]].to_numpy().tolist() == [[0.6420, 0.7128, "unreliable"]]
    assert frontier(row).empty
    assert len(frontier(row.assign(flags=""))) == 1
    assert list(frontier(whole)["entry"]) == [
        "Bartoldson2024Adversarial_WRN-94-16", "Bai2024MixedNUTS", "Bai2023Improving_edm",
    ]  # fmt: skip


@pytest.mark.parametrize("pair", PAIRS)
def test_a_frontier_is_what_nothing_dominates(pair: tuple[str, str]) -> None:
    whole = table(*pair)
    rows = whole.to_dict("records")
    points = [(float(row["clean_accuracy"]), float(row["robust_accuracy"])) for row in rows if not row["flags"]]
    wanted = {p for p in points if not any(q[0] >= p[0] and q[1] >= p[1] and q != p for q in points)}
    found = frontier(whole)
    assert set(zip(found["clean_accuracy"], found["robust_accuracy"], strict=True)) == wanted


@pytest.mark.parametrize(
    ("published", "kind"),
    [
        ("ResNet-18", "resnet18"),
        ("ResNet-152", "resnet152"),
        ("PreActResNet-18", "preact_resnet18"),
        ("WideResNet-28-10", "wide_resnet-28-10"),
        ("WideResNet-28-10-PSSiLU", "wide_resnet-28-10"),
        ("WideResNet-34-10", "wide_resnet-34-10"),
        ("WideResNet-70-16", "wide_resnet-70-16"),
        ("MeanSparse WideResNet-70-16", "wide_resnet-70-16"),
        ("WideResNet-70-16, Neural ODE block", "other"),
        ("WideResNet-34-R", "other"),
        ("RaWideResNet-70-16", "other"),
        ("ViT-B + ConvStem", "transformer"),
        ("XCiT-L12", "transformer"),
        ("MeanSparse Swin-L", "transformer"),
        ("ConvNeXt-L + ConvStem", "convnext"),
        ("ConvNeXtV2-L + Swin-L", "ensemble"),
        ("ResNet-152 + WideResNet-70-16 + mixing network", "ensemble"),
        ("5-layer-CNN", "other"),
    ],
)
def test_classes_of_architectures(published: str, kind: str) -> None:
    assert architecture_class(published) == kind


@given(st.integers(1, 999), st.integers(1, 99))
def test_depth_and_width_tell_wide_networks_apart(depth: int, width: int) -> None:
    name = f"WideResNet-{depth}-{width}"
    assert architecture_class(name) == f"wide_resnet-{depth}-{width}" == architecture_class(f"MeanSparse {name}")
    assert architecture_class(f"{name} + ResNet-{depth}") == "ensemble"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("cifar11", "linf"), "data: nothing is published of 'cifar11'; did you mean 'cifar10'?"),
        (("cifar10", "l1"), "threat: nothing is published of 'l1'"),
        (("imagenet", "l2"), "robustbench and fastat have no model of imagenet against l2"),
    ],
)
def test_what_is_not_there(asked: tuple[str, str], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        table(*asked)
    with pytest.raises(UserError, match="did you mean 'resnet18'"):
        table("cifar10", "linf", architecture="resnet19")


def test_the_command_prints_and_writes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked = [
        "analysis",
        "published",
        "--data",
        "cifar10",
        "--architecture",
        "resnet18",
        "--csv",
        str(tmp_path / "a.csv"),
    ]
    monkeypatch.setattr(sys, "argv", asked)
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert not ended.value.code
    said = capsys.readouterr().out
    assert "Sehwag2021Proxy_R18" in said
    assert "pgd_at is the last epoch, not averaged" in said
    wanted = table("cifar10", "linf", architecture="resnet18")
    assert list(pd.read_csv(tmp_path / "a.csv")["entry"]) == list(wanted["entry"])


def test_the_page_beside_the_tables_names_every_column() -> None:
    page = (HERE / "README.md").read_text()
    for name in FILES.values():
        with (HERE / name).open() as file:
            assert all(f"`{column}`" in page for column in next(csv.reader(file)))
        assert f"## {name}" in page
