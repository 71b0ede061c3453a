"""What stronger attacks leave of AutoAttack's survivors, and the files of an external evaluation."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from robustray.commands.measure_beside import judged
from robustray.errors import UserError
from robustray.measures.base import Ground, Judged
from robustray.measures.best_known import BestKnown
from robustray.measures.external import IMAGES, ISSUE, NUMBERS, checked
from robustray.measures.robust_accuracy import RobustAccuracy
from robustray.measures.taking import take
from robustray.testing.derived import trained
from robustray.testing.measures import Passes, ground
from tests.robustray.judged import Command, written

WEAK = {"name": "pma", "steps": 2, "restarts": 1}


def unbroken(shift: int = 0) -> Ground:
    """A ground whose judgement broke no image that is right."""
    here = ground()
    x, y = here.images(here.split, here.rows)
    clean = (trained(0)(x).argmax(1) == y).numpy()
    return replace(here, judged=lambda: Judged(clean, clean, np.where(clean, "", "clean"), f"made {shift}"))


def test_what_is_left_is_what_the_attacks_leave(tmp_path: Path) -> None:
    """Of a judgement that broke nothing: accuracy under the attack. Never above AutoAttack, and each image is checked."""
    here = unbroken()
    found = take(BestKnown.model_validate({"attack": WEAK, "apgd": ()}), here)
    alone = take(RobustAccuracy.model_validate({"attack": WEAK}), here)
    assert found.value == alone.value < found.values["autoattack"] == found.values["clean_accuracy"]
    assert np.array_equal(found.columns["best_known"], alone.columns["robust"])
    assert found.values["verified_accuracy"] == found.value
    assert not (found.columns["best_known"] & ~found.columns["autoattack"]).any()
    assert set(found.columns["broken_by"]) == {"", "clean", "pma"}


def test_the_restarts_of_the_authors_follow() -> None:
    """APGD breaks more of what a random point left, in at most as many passes as are declared."""
    nothing, count = {"name": "pgd", "steps": 0}, [0]
    weak = take(BestKnown.model_validate({"attack": nothing, "apgd": ()}), unbroken())
    here = replace(unbroken(), model=Passes(copy.deepcopy(trained(0)), count).eval().requires_grad_(False))
    measure = BestKnown.model_validate({"attack": nothing, "apgd": ("apgd-ce",)})
    more = take(measure, here)
    assert more.value < weak.value
    assert "apgd-ce" in more.columns["broken_by"]
    assert 1000 * more.value * len(here) < count[0] <= measure.passes(here)


def test_images_that_were_not_saved_are_told_and_no_tensor_is_written(tmp_path: Path) -> None:
    here = ground()
    measure = BestKnown.model_validate({"attack": WEAK, "apgd": ()})
    found = take(measure, here)
    assert found.value <= found.values["autoattack"] < found.values["verified_accuracy"]
    assert re.search(r"\d+ broken images are not saved.*--save-adversarial", found.notes[0])
    assert measure.files(tmp_path, found, here) == ()
    assert not list(tmp_path.iterdir())


def test_files_of_an_external_evaluation(tmp_path: Path) -> None:
    """A tensor of all rows whose robust accuracy is that number, checked from disk; numbers and text say the same."""
    here = replace(unbroken(), spec="zoo:Some2024Model")
    measure = BestKnown.model_validate({"attack": WEAK, "apgd": ()})
    found = take(measure, here)
    (line,) = measure.files(tmp_path, found, here)
    assert "RobustBench takes all test images, these are 24 of validation" in line
    x, y = here.images(here.split, here.rows)
    x_adv = torch.load(tmp_path / IMAGES, weights_only=True)
    assert x_adv.shape == x.shape
    assert here.threat.inside(x_adv, x).all()
    assert float((here.model(x_adv).argmax(1) == y).float().mean()) == pytest.approx(found.value)
    numbers = json.loads((tmp_path / NUMBERS).read_text())
    percent = f"{100 * found.value:.2f}"
    assert numbers["external"] == percent
    assert numbers["autoattack_acc"] == f"{100 * found.values['autoattack']:.2f}"
    text = (tmp_path / ISSUE).read_text()
    for asked in ("Target model", "Model identifier(s):** Some2024Model\n", "Leaderboard(s):** digits, Linf, eps 0.05\n",
                  "New evaluation", f"Robust accuracy:** {percent} %", "Link to adversarial images", "Author(s)",
                  "Description of the method used", numbers["sha256"]):  # fmt: skip
        assert asked in text, asked


def test_images_on_disk_that_are_others_are_noticed(tmp_path: Path) -> None:
    here = unbroken()
    x, y = here.images(here.split, here.rows)
    torch.save(x, tmp_path / "clean.pt")
    assert checked(tmp_path / "clean.pt", here) == float((here.model(x).argmax(1) == y).double().mean())
    torch.save((x + 0.2).clamp(0, 1), tmp_path / "far.pt")
    torch.save(x[:3], tmp_path / "few.pt")
    with pytest.raises(UserError, match="outside the threat"):
        checked(tmp_path / "far.pt", here)
    with pytest.raises(UserError, match="not a tensor of 24 images"):
        checked(tmp_path / "few.pt", here)


def test_attacks_that_compare_more_classes_than_there_are() -> None:
    here = replace(unbroken(), classes=3)
    with pytest.raises(UserError, match=r"best_known\.apgd: apgd-t compares 4 classes"):
        take(BestKnown(), here)


ON = ("--data", "digits", "--threat", "linf", "--eps", "0.4", "--images", "12")


def test_a_judgement_first_then_the_measure(command: Command, tmp_path: Path) -> None:
    """Without one the message has the command that makes one; after that very command the measure begins where it ended."""
    written(tmp_path)
    settings = "{name: best_known, attack: {name: pma, steps: 4}, apgd: []}"
    asked = ("measure", "net.py:make", *ON, "--device", "cpu", "--measures", settings)
    refused = command(*asked)
    assert refused.code == 2
    assert len(refused.error.strip().splitlines()) == 1
    said = re.search(
        r"judge first: python -m robustray judge (net.py:make .*--save-adversarial)$", refused.error.strip()
    )
    assert said, refused.error
    result = command.judge(*said[1].split()).result
    ended = command(*asked)
    assert ended.code == 0, ended.error
    (file,) = (tmp_path / "results" / "measures").rglob("result.json")
    found = json.loads(file.read_text())
    assert found["values"]["autoattack"] == result["robust_accuracy"]
    assert (
        found["value"] == found["values"]["verified_accuracy"] <= result["robust_accuracy"] < result["clean_accuracy"]
    )
    assert (file.parent / IMAGES).is_file()
    assert (file.parent / ISSUE).read_text().count(f"{100 * found['value']:.2f} %") >= 1
    next((tmp_path / "results" / "judgements").rglob("fab-t-*.parquet")).unlink()
    assert "there is no finished AutoAttack of net.py:make on these 12 test images" in command(*asked).error
    with pytest.raises(UserError, match="AutoAttack judges validation and test images alone"):
        judged(replace(ground(), split="train"), None, None)  # type: ignore[arg-type]
