"""`python -m robustray measure`: predictions kept, curves over snapshots, and what `python -m analysis` reads of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from analysis import curve, fooling
from analysis.__main__ import app
from robustray.errors import UserError
from robustray.measures import taking
from robustray.measures.predictions import Predictions
from robustray.training.checkpoints import load
from robustray.training.trainer import Trainer
from tests.robustray.judged import Command
from tests.robustray.made import trial

MEASURES = "predictions, {name: calibration, bins: 5}"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a trial of two epochs with a snapshot after each. Not to be written to outside `measures`."""
    folder = tmp_path_factory.mktemp("trials") / "0007"
    Trainer(trial(checkpoints={"every": 1, "validate_every": 2}), folder, device="cpu").run()
    return folder


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def measured(command: Command, *arguments: object) -> str:
    ended = command("measure", *arguments, "--device", "cpu")
    assert ended.code == 0, ended.error + ended.out
    return ended.out


def folder_of(out: str, measure: str) -> Path:
    """Where the last measurement of a name lies."""
    paths = [Path(word.strip(",")) for word in out.split() if word.strip(",").endswith("result.json")]
    return next(path.parent for path in reversed(paths) if f"-{measure}-" in path.parent.name)


def test_a_curve_over_snapshots(command: Command, kept: Path, tmp_path: Path) -> None:
    """Each row is what measuring that snapshot says; the figure has a panel for each measure."""
    out = measured(command, kept, "--measures", MEASURES, "--epochs", "all", "--images", "40", "--results", tmp_path)
    found = {each.about["measure"]: each for each in curve.read(tmp_path)}
    assert set(found) == {"predictions", "calibration"}
    rows = found["predictions"].rows
    assert rows["epoch"].tolist() == [1, 2]
    for epoch, row in zip((1, 2), rows.to_dict("records"), strict=True):
        alone = tmp_path / f"alone-{epoch}"
        path = kept / f"epoch-{epoch:04d}.pt"
        again = measured(command, path, "--save-predictions", "--images", "40", "--results", alone)
        said = json.loads((folder_of(again, "predictions") / "result.json").read_text())
        assert {name: row[name] for name in ("value", "low", "high")} == pytest.approx(
            {name: said[name] for name in ("value", "low", "high")}
        )
        assert row["fooling_rate"] == pytest.approx(said["values"]["fooling_rate"])
    lines = out.splitlines()
    at = lines.index("predictions, 40 validation images of digits")
    assert lines[at + 1].split() == ["epoch", "value", "low", "high", "clean", "accuracy", "fooling", "rate"]
    assert lines[at + 3].split()[:2] == ["2", f"{rows['value'].iloc[1]:.1%}"]

    one = measured(command, kept, "--measures", MEASURES, "--epochs", "2", "--images", "40", "--results", tmp_path)
    assert one.splitlines()[-7:] == lines[-7:], "a row that is there stays"

    drawn = curve.publish([tmp_path], formats=())
    assert drawn.page.stat().st_size > 1000
    figure = curve.curve_figure(list(found.values()))
    lines_of = [trace for trace in figure.data if trace.mode == "lines+markers"]
    assert [list(trace.y) for trace in lines_of] == [
        pytest.approx((100 * each.rows["value"]).tolist()) for each in found.values()
    ]
    assert len({trace.yaxis for trace in lines_of}) == 2
    assert sum(trace.showlegend for trace in lines_of) == 1
    assert [figure.layout[name].title.text for name in ("yaxis", "yaxis2")] == ["calibration, %", "predictions, %"]


def test_measures_of_one_name_are_told_apart(command: Command, kept: Path, tmp_path: Path) -> None:
    both = "calibration, {name: calibration, attack: {name: pgd, steps: 1}}"
    measured(command, kept, "--measures", both, "--epochs", "2", "--images", "20", "--results", tmp_path)
    figure = curve.curve_figure(curve.read(tmp_path))
    titles = {figure.layout[name].title.text for name in ("yaxis", "yaxis2")}
    assert titles == {"calibration (attack none), %", "calibration (attack pgd), %"}


def test_train_and_validation_meet_in_one_panel(command: Command, kept: Path, tmp_path: Path) -> None:
    asked = ("--measures", "{name: predictions, attack: null}", "--epochs", "2,1", "--images", "20")
    measured(command, kept, *asked, "--split", "train,validation", "--results", tmp_path)
    curves = curve.read(tmp_path)
    assert [each.about["split"] for each in curves] == ["train", "validation"]
    assert all(each.rows["epoch"].tolist() == [1, 2] for each in curves)
    assert len({each.panel for each in curves}) == 1


def test_a_killed_curve_goes_on(command: Command, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What snapshots had is on disk, the curve so far too; the same command computes the rest alone, to the same bytes."""
    asked = (kept, "--measures", "{name: predictions, attack: null}", "--epochs", "all", "--images", "20")
    each, seen = Predictions.each, list[int]()

    def slow(self: Predictions, *given: Any) -> Any:
        seen.append(len(seen))
        if len(seen) == 2:
            raise KeyboardInterrupt
        return each(self, *given)

    monkeypatch.setattr(Predictions, "each", slow)
    assert command("measure", *asked, "--device", "cpu", "--results", tmp_path / "killed").code == 130
    (begun,) = curve.read(tmp_path / "killed")
    assert begun.rows["epoch"].tolist() == [1]
    measured(command, *asked, "--results", tmp_path / "killed")
    assert len(seen) == 3
    measured(command, *asked, "--results", tmp_path / "whole")
    for name in ("epochs.csv", "curve.json"):
        first, second = (next((tmp_path / run).glob(f"epochs-*/{name}")) for run in ("killed", "whole"))
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("epochs", "says"),
    [
        ("7", "no snapshot of 7; kept: 1, 2"),
        ("last", "must be all, or numbers of epochs, 10,20"),
    ],
)
def test_epochs_that_are_not_there(command: Command, kept: Path, epochs: str, says: str) -> None:
    ended = command("measure", kept, "--measures", "calibration", "--epochs", epochs)
    assert ended.code == 2
    assert says in ended.error
    assert ended.error.count("\n") == 1


def test_a_trial_without_snapshots(command: Command, kept: Path, tmp_path: Path) -> None:
    """An empty folder, a checkpoint: in one line, with the option that keeps some."""
    ended = command("measure", tmp_path, "--measures", "calibration", "--epochs", "all")
    assert ended.code == 2
    assert "checkpoints.every" in ended.error
    ended = command("measure", kept / "epoch-0002.pt", "--measures", "calibration", "--epochs", "all")
    assert ended.code == 2
    assert "must be the folder of a trial" in ended.error


def test_nothing_to_measure(command: Command, kept: Path) -> None:
    ended = command("measure", kept)
    assert ended.code == 2
    assert "--measures: which?" in ended.error


def test_what_is_not_finite_is_an_empty_cell() -> None:
    assert taking.csv([{"epoch": 1, "value": None}, {"epoch": 2, "value": 0.5}]) == "epoch,value\n1,\n2,0.5\n"


# Fooling rates from what is kept.


def predictions(
    folder: Path, columns: Mapping[str, Sequence[int]], labels: Sequence[int], data: str = "digits"
) -> Path:
    """A measurement's folder, as `measure` writes it."""
    folder.mkdir()
    (folder / "measure.json").write_text(json.dumps({"data": data, "split": "test", "rows": "x"}))
    (folder / "result.json").write_text(json.dumps({"name": folder.name, "measure": "predictions"}))
    table = pd.DataFrame({"image": range(len(labels)), "label": labels, **columns})
    table.to_csv(folder / "images.csv", index=False)
    return folder


def test_fooling_by_hand(tmp_path: Path) -> None:
    labels = [0, 0, 1, 1, 2]
    columns = {"predicted": [0, 0, 1, 2, 1], "predicted_attacked": [0, 1, 1, 1, 0]}
    (found,) = fooling.fooling(predictions(tmp_path / "a", columns, labels)).to_dict("records")
    assert found["changed"] == 3 / 5
    assert (found["error_a"], found["error_b"]) == (2 / 5, 2 / 5)
    assert found["right_to_wrong"] == pytest.approx(1 / 3)
    assert found["wrong_to_right"] == 1 / 2
    assert found["p"] == 1


def test_fooling_between_models(tmp_path: Path) -> None:
    """Symmetric, 0 of a model with itself, at most the sum of errors, at least their difference."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 4, 200)
    folders = [
        predictions(
            tmp_path / name,
            {column: np.where(draw.random(200) < 0.6, labels, draw.integers(0, 4, 200)).tolist() for column in columns},
            labels.tolist(),
        )
        for name, columns in (("a", fooling.COLUMNS), ("b", fooling.COLUMNS[:1]))
    ]
    there, back = fooling.fooling(*folders), fooling.fooling(*folders[::-1])
    assert len(there) == len(back) == 2
    assert there["changed"].tolist() == back["changed"].tolist()
    assert (there["changed"] <= there["error_a"] + there["error_b"]).all()
    assert ((there["error_a"] - there["error_b"]).abs() <= there["changed"]).all()
    assert (there["low"] < there["changed"]).all()
    assert (there["changed"] < there["high"]).all()
    alone = fooling.fooling(folders[1], folders[1])
    assert alone["changed"].tolist() == [0]
    assert alone["right_to_wrong"].tolist() == alone["wrong_to_right"].tolist() == [0]


def test_other_images_are_refused(tmp_path: Path) -> None:
    """Unless they are said to be perturbed copies; and then other labels still are."""
    columns, labels = {"predicted": [0, 1, 1]}, [0, 1, 2]
    a = predictions(tmp_path / "a", columns, labels)
    turned = predictions(tmp_path / "turned", columns, labels, data="digits, turned")
    other = predictions(tmp_path / "other", columns, [0, 1, 1], data="others")
    with pytest.raises(UserError, match="are not of the same images: other data"):
        fooling.fooling(a, turned)
    assert fooling.fooling(a, turned, perturbed=True)["changed"].tolist() == [0]
    with pytest.raises(UserError, match="other rows or labels"):
        fooling.fooling(a, other, perturbed=True)
    with pytest.raises(UserError, match="no measurement of images here"):
        fooling.fooling(tmp_path)
    with pytest.raises(UserError, match="name a second folder"):
        fooling.fooling(a)


def test_fooling_of_what_the_command_kept(command: Command, kept: Path, tmp_path: Path) -> None:
    """The same rate as the measure says of itself; two snapshots are compared on the same images."""
    asked = ("--save-predictions", "--images", "40", "--results", tmp_path)
    outs = [measured(command, kept / f"epoch-{epoch:04d}.pt", *asked) for epoch in (1, 2)]
    homes = [folder_of(out, "predictions") for out in outs]
    assert homes[0] != homes[1]
    (found,) = fooling.fooling(homes[1]).to_dict("records")
    said = json.loads((homes[1] / "result.json").read_text())
    assert found["changed"] == said["values"]["fooling_rate"]
    assert 1 - found["error_a"] == pytest.approx(said["values"]["clean_accuracy"])
    pairs = fooling.fooling(*homes)
    assert len(pairs) == 4
    assert set(load(kept / "epoch-0002.pt")) == {"config", "average"}


def test_the_commands_of_analysis(tmp_path: Path) -> None:
    """A table with every rate in percent, the numbers in a file; a curve's page."""
    home = predictions(tmp_path / "a", {"predicted": [0, 1, 1, 0], "predicted_attacked": [1, 1, 1, 0]}, [0, 1, 1, 1])
    said = CliRunner().invoke(app, ["fooling", str(home), "--csv", str(tmp_path / "rates.csv")])
    assert said.exit_code == 0, said.output
    assert "25.0" in said.output
    assert "4 images; in percent" in said.output
    assert pd.read_csv(tmp_path / "rates.csv")["changed"].tolist() == [0.25]
    about = {"measure": "accuracy", "settings": {}, "threat": {"norm": "linf", "eps": 0.1}, "unit": "fraction"}
    (tmp_path / "curve.json").write_text(json.dumps(about | {"name": "0007", "split": "test"}))
    (tmp_path / "epochs.csv").write_text("epoch,value,low,high\n1,0.5,,\n2,0.75,0.7,0.8\n")
    said = CliRunner().invoke(app, ["curve", str(tmp_path), "--format", "none"])
    assert said.exit_code == 0, said.output
    assert said.output.strip().endswith("curve.html")
    (tmp_path / "epochs.csv").write_text("epoch,value\n1,0.5\n")
    with pytest.raises(UserError, match="is damaged"):
        curve.read(tmp_path)
    with pytest.raises(UserError, match="no curve here"):
        curve.read(home)
