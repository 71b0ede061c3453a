"""`python -m robustray measure` from end to end: what it measures, goes on from after a kill, and says of two splits."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robustray.commands.exits import INTERRUPTED
from robustray.data.splits import stratified
from robustray.measures import intervals
from tests.robustray.judged import Command, Ended, learned, written
from tests.robustray.made import JUDGE, trial

QUICK = "{name: lipschitz, steps: 1}"
ON_DIGITS = ("--data", "digits", "--eps", "0.05", "--device", "cpu")
COUNTED = """
import os, signal
from pathlib import Path
from net import make as plain

def make():
    model = plain()
    def look(_, inputs):
        count = len(inputs[0])
        with open("calls", "a") as file:
            print(count, file=file)
        if count == 50 and Path("stop").exists():  # in the second piece
            os.kill(os.getpid(), signal.SIGINT)
    model.register_forward_pre_hook(look)
    return model
"""


def measured(command: Command, *arguments: object) -> Ended:
    ended = command("measure", *arguments)
    assert ended.code == 0, ended.error + ended.out
    return ended


def results(ended: Ended) -> list[Path]:
    return [Path(line.strip()) for line in ended.lines if line.endswith("result.json")]


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def columns(path: Path) -> dict[str, list[str]]:
    with (path.parent / "images.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {name: [row[name] for row in rows] for name in rows[0]}


def test_of_a_function_a_trial_and_a_checkpoint(command: Command, trained: Path, tmp_path: Path) -> None:
    """What the command writes is what the network says, whichever way it was named; each finds a home of its own."""
    net = written(tmp_path)
    (path,) = results(measured(command, f"{net}:make", "--measures", "clean_accuracy", "--images", "60", *ON_DIGITS))
    assert path.resolve().is_relative_to(tmp_path / "results" / "measures")
    said, found = read(path), columns(path)
    data = trial(judge=JUDGE).judge.data.load("test")
    rows = stratified(data.labels, 60, "judge test")[0]
    x = torch.from_numpy(data.images[rows]).permute(0, 3, 1, 2).float() / 255
    model = learned(normalised=False)[0]
    predicted = model(x).argmax(1).numpy()
    assert found["image"] == [str(row) for row in rows]
    assert found["predicted"] == [str(each) for each in predicted]
    assert said["value"] == np.mean(predicted == data.labels[rows])
    assert (said["low"], said["high"]) == pytest.approx(intervals.share((predicted == data.labels[rows]).sum(), 60))
    assert (said["images"], said["passes"], said["split"], said["unit"]) == (60, 60, "test", "fraction")

    home = tmp_path / "0003"
    shutil.copytree(trained, home)
    ways = {
        way: results(measured(command, way, "--measures", "clean_accuracy", "--device", "cpu"))[0]
        for way in (home, home / "last.pt")
    }
    assert len(set(ways.values())) == 2
    assert ways[home].is_relative_to(home / "measures")
    own = read(ways[home])
    assert own["split"] == "validation"  # a trial's own images, threat and number
    assert own["images"] == trial(judge=JUDGE).judge.images.validation
    assert own["threat"]["eps"] == trial(judge=JUDGE).judge.threat.eps
    assert all(read(path)["value"] == own["value"] for path in ways.values())


def test_a_killed_run_goes_on_from_its_pieces(command: Command, tmp_path: Path) -> None:
    """Ctrl-C in the second piece: the first is on disk and not computed again, and the end has the same bytes."""
    written(tmp_path)
    (tmp_path / "counted.py").write_text(COUNTED)
    asked = ("counted.py:make", "--measures", QUICK, "--images", "150", *ON_DIGITS)
    (tmp_path / "stop").touch()
    stopped = command("measure", *asked)
    assert stopped.code == INTERRUPTED, stopped.error
    assert "the same command goes on" in stopped.out
    assert [path.name for path in tmp_path.rglob("*.npz")] == ["piece-00000.npz"]
    assert not list(tmp_path.rglob("result.json"))
    (tmp_path / "stop").unlink()
    (tmp_path / "calls").unlink()
    (path,) = results(measured(command, *asked))
    assert "100" not in (tmp_path / "calls").read_text().split()  # of the first piece nothing
    assert (tmp_path / "calls").read_text().split().count("50") == 3
    (fresh,) = results(measured(command, *asked, "--results", tmp_path / "other"))
    for name in ("images.csv", "result.json", "measure.json", "piece-00000.npz", "piece-00001.npz"):
        assert (path.parent / name).read_bytes() == (fresh.parent / name).read_bytes(), name

    (tmp_path / "calls").unlink()
    again = measured(command, *asked)
    assert not {"100", "50"} & set((tmp_path / "calls").read_text().split())
    assert results(again) == [path]


@pytest.mark.parametrize("damage", ["short", "empty", "noise"])
def test_a_damaged_piece_is_no_piece(damage: str, command: Command, tmp_path: Path) -> None:
    net = written(tmp_path)
    asked = (f"{net}:make", "--measures", "clean_accuracy", "--images", "110", *ON_DIGITS)
    (path,) = results(measured(command, *asked))
    piece, before = path.parent / "piece-00000.npz", (path.parent / "images.csv").read_bytes()
    whole = piece.read_bytes()
    piece.write_bytes({"short": whole[: len(whole) // 2], "empty": b"", "noise": bytes(len(whole))}[damage])
    assert results(measured(command, *asked)) == [path]
    assert (path.parent / "images.csv").read_bytes() == before
    assert piece.read_bytes() == whole


def test_other_options_images_or_threats_are_other_measurements(command: Command, tmp_path: Path) -> None:
    net = f"{written(tmp_path)}:make"
    few = ("--images", "20", "--device", "cpu", "--data", "digits")
    asked = [
        (QUICK, "--eps", "0.05"),
        (QUICK, "--eps", "0.06"),
        (QUICK, "--threat", "l2", "--eps", "0.05"),
        ("{name: lipschitz, steps: 2}", "--eps", "0.05"),
        (QUICK, "--eps", "0.05", "--split", "train"),
    ]
    homes = [results(measured(command, net, "--measures", *each, *few))[0].parent for each in asked]
    assert len(set(homes)) == len(asked)
    assert results(measured(command, net, "--measures", *asked[0], *few))[0].parent == homes[0]


def test_two_splits_give_the_gap(command: Command, tmp_path: Path) -> None:
    """value of the first less the second's, between Newcombe's ends; of clean accuracy and of Lipschitzness alike."""
    net = f"{written(tmp_path)}:make"
    asked = ("--measures", f"clean_accuracy, {QUICK}", "--split", "train,test", "--images", "80")
    ended = measured(command, net, *asked, *ON_DIGITS)
    gaps = [line for line in ended.lines if "gap, train minus test" in line]
    train, test, *slopes = [read(path) for path in results(ended)]
    low, high = intervals.apart(*((each["value"], each["low"], each["high"]) for each in (train, test)))
    gap = train["value"] - test["value"]
    assert gaps[0].split(": ")[1] == f"{gap:.1%} ({low:.1%} to {high:.1%})"
    assert low <= gap <= high
    assert [each["split"] for each in slopes] == ["train", "test"]
    told = float(gaps[1].split(": ")[1].split()[0].replace(",", ""))
    assert told == pytest.approx(slopes[0]["value"] - slopes[1]["value"], rel=0.01)


def test_of_the_same_images_twice_the_gap_is_nothing(command: Command, small: str) -> None:
    """Train and test of one file, no image held out of what is asked for: every measure's gap is 0, its interval around it."""
    asked = ("--measures", f"clean_accuracy, {QUICK}, separation", "--split", "train,test", "--eps", "0.05")
    with np.load("train.npz") as file:  # validation is cut from train: what is left is the test set
        pixels, labels = file["images"], file["labels"]
    held, rest = stratified(labels, 8, "validation")
    np.savez("test.npz", images=pixels[rest], labels=labels[rest])
    ended = measured(command, "rows.py:Rows", *asked, "--data", small, "--device", "cpu")
    assert len(held) == 8
    gaps = [line.split(": ")[1] for line in ended.lines if "gap, train minus test" in line]
    assert [gap.split()[0] for gap in gaps] == ["0.0%", "0", "0"]
    for gap in gaps[:2]:
        low, high = gap.split("(")[1].rstrip(")").replace("%", "").split(" to ")
        assert float(low) == -float(high) < 0


def test_separation_of_real_files_is_written(command: Command, small: str) -> None:
    """It needs no pass through the model, and leaves a histogram and a list of conflicts."""
    asked = ("--measures", "separation, nearest_neighbour", "--eps", "0.01", "--data", small, "--device", "cpu")
    ended = measured(command, "rows.py:Rows", *asked, "--images", "12")
    apart, neighbour = results(ended)
    with (apart.parent / "histogram.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20
    assert sum(int(row["images"]) for row in rows) == 12
    assert min(map(float, columns(apart)["distance"])) == pytest.approx(read(apart)["value"], rel=1e-6)
    assert read(neighbour)["value"] == pytest.approx(columns(neighbour)["certain"].count("1") / 12)
    assert "weights" not in read(apart.with_name("measure.json"))
    assert read(apart.with_name("measure.json"))["reads"].keys() == {"train"}
