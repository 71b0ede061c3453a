"""`python -m robustray judge`: what it says, and results that agree with the verdict files."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from pyautoattack import AutoAttack
from scipy.stats import binomtest

from robustray.attacks.threats import in_255ths
from robustray.judging.result import entry
from robustray.verdicts import CLEAN, Verdicts, read_shards
from tests.robustray.judged import Command, learned, written


def test_lines_are_those_of_autoattack(command: Command, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """But for what theirs leave out: data, shards, intervals, the version's name."""
    spec = written(tmp_path)
    judged = command.judge(f"{spec}:make", "--data", "{name: digits, validation: 60}", "--eps", "0.1", "--images", "40",
                           "--version", "apgd")  # fmt: skip
    model = learned(normalised=False)[0]
    x, y = images_of(judged.folder)
    with torch.random.fork_rng(), caplog.at_level(logging.DEBUG, logger="auto-attack"):
        suite = AutoAttack(model, norm="Linf", eps=0.1, seed=0, version="custom", attacks=["apgd-ce", "apgd-t"])
        suite.apgd.n_restarts = 1
        suite.run_standard_evaluation(x, y)
    theirs = [record.getMessage() for record in caplog.records if record.name == "auto-attack"]
    assert len(theirs) > 6

    def bare(lines: list[str]) -> list[str]:
        return [re.sub(r"\d+(\.\d+)?", "#", line) for line in lines]

    assert judged.lines[0].startswith(
        "using apgd version including apgd-ce, apgd-t: linf, eps 0.1, 40 images of digits test"
    )
    kept = [
        line for line in bare(theirs) if "perturbed" in line or "robust accuracy after" in line or "initial" in line
    ]
    assert bare(judged.lines[1:-3]) == kept
    initial = next(line for line in theirs if line.startswith("initial"))
    assert judged.lines[1] == initial
    assert judged.lines[-3] == "max linf perturbation: 0.10000"
    assert re.fullmatch(
        r"clean accuracy: \S+ \[\S+, \S+\]   robust accuracy \(apgd\): \S+ \[\S+, \S+\]", judged.lines[-2]
    )


def images_of(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels and labels of the rows that a judgement of digits' test is about."""
    from robustray.data.digits import Digits

    verdicts = Verdicts.read(folder)
    chosen = Digits(validation=60).load("test").take(verdicts.image.astype(np.int64))
    assert chosen.labels.tolist() == verdicts.label.tolist()
    return torch.from_numpy(chosen.images).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(chosen.labels)


FIELDS = {
    "link", "name", "authors", "additional_data", "number_forward_passes", "dataset", "venue", "architecture", "eps",
    "clean_acc", "reported", "footnote", "unreliable",
}  # fmt: skip


def test_results_agree_with_the_shards(command: Command, small: str) -> None:
    """Counted again from the verdict files by hand; in shards, and the same by AutoAttack's name."""
    judged = command.judge("rows.py:Rows", "--data", small, "--eps", "38/255", "--version", "standard", "--batch", "15")
    folder, told = judged.folder, judged.result
    stages = (CLEAN, "apgd-ce", "apgd-t", "fab-t", "square")
    broken: dict[int, str] = {}
    counts: dict[str, list[int]] = {stage: [0, 0] for stage in stages}
    for shard in read_shards(folder, stages[1:]):
        counts[shard.attack][0] += len(shard.image)
        counts[shard.attack][1] += int(shard.broken.sum())
        broken |= dict.fromkeys(shard.image[shard.broken].tolist(), shard.attack)
    clean = sum(by == CLEAN for by in broken.values())
    assert 0 < len(broken) < 40

    assert told["autoattack"] is True
    assert told["version"] == "standard"
    assert told["images"] == 40
    assert told["clean_accuracy"] == (40 - clean) / 40
    assert told["robust_accuracy"] == (40 - len(broken)) / 40
    for name, count in (("clean", 40 - clean), ("robust", 40 - len(broken))):
        interval = binomtest(count, 40).proportion_ci(method="wilson")
        assert told[f"{name}_interval"] == [interval.low, interval.high]
    assert [(s["stage"], s["images"], s["broken"]) for s in told["stages"]] == [(n, *counts[n]) for n in stages]
    assert told["seconds"] == pytest.approx(sum(s["seconds"] for s in told["stages"]))
    assert [s.get("largest_perturbation", 0) <= 38 / 255 + 2e-6 for s in told["stages"]] == [True] * 5
    assert told["flags"] == {}
    assert told["shard_size"] == 15
    assert told["threat"] == {"norm": "linf", "eps": 38 / 255}
    assert told["fingerprint"] == json.loads((folder / "judgement.json").read_text())

    table = pq.read_table(folder / "verdicts.parquet").to_pydict()
    assert table["image"] == list(range(40))
    assert table["label"] == [row % 4 for row in range(40)]
    assert table["broken_by"] == [broken.get(row, "") for row in range(40)]
    assert table["robust_correct"] == [float(row not in broken) for row in range(40)]
    assert table["clean_correct"] == [float(broken.get(row) != CLEAN) for row in range(40)]

    bench = json.loads((folder / "robustbench.json").read_text())
    assert set(bench) == FIELDS | {"autoattack_acc"}
    assert bench["autoattack_acc"] == f"{100 * told['robust_accuracy']:.2f}"
    assert (bench["clean_acc"], bench["eps"], bench["dataset"]) == (
        f"{100 * told['clean_accuracy']:.2f}",
        "38/255",
        "npz",
    )
    assert (bench["unreliable"], bench["footnote"]) == (False, "")
    assert "robust accuracy (AutoAttack)" in judged.lines[-2]


def test_what_is_less_than_standard_is_not_called_autoattack(command: Command, small: str) -> None:
    base = ("rows.py:Rows", "--data", small, "--eps", "38/255")
    for more in (
        ("--version", "apgd-ce"),
        ("--version", "apgd"),
        ("--version", "apgd-ce+apgd-dlr"),
        ("--version", "rand"),
    ):
        judged = command.judge(*base, *more)
        assert judged.result["autoattack"] is False
        bench = json.loads((judged.folder / "robustbench.json").read_text())
        assert set(bench) == FIELDS | {"external"}
        assert bench["footnote"] == f"Judged by {more[1]}, 40 images of test."
        assert "AutoAttack" not in judged.out


@pytest.mark.parametrize(
    ("split", "wanted", "footnote"),
    [
        ("test", "all", ""),
        ("test", 100, "Judged by standard, 100 images of test."),
        ("validation", "all", "Judged by standard, 100 images of validation."),
    ],
)
def test_an_entry_of_robustbench_is_about_all_test_images(split: str, wanted: Any, footnote: str) -> None:
    told = {
        "split": split, "images": 100, "images_wanted": {"validation": "all", "test": wanted}, "autoattack": True,
        "version": "standard", "robust_accuracy": 0.5, "clean_accuracy": 0.9, "architecture": "net",
        "data": {"name": "cifar10"}, "threat": {"norm": "linf", "eps": 8 / 255}, "flags": {},
    }  # fmt: skip
    assert entry(told)["footnote"] == footnote
    assert entry(told)["autoattack_acc"] == "50.00"
    assert entry(told | {"flags": {"dynamic": "..."}})["unreliable"] is True


@pytest.mark.parametrize(
    ("eps", "text"),
    [(8 / 255, "8/255"), (1 / 255, "1/255"), (0.5, "0.5"), (128 / 255, "128/255"), (0.1, "0.1"), (0.2, "0.2"), (1.0, "1"),
     (12.0, "12"), (0.0, "0"), (0.03, "0.03"), (25.5 / 255, "0.1"), (0.123456789, "0.123457")],
)  # fmt: skip
def test_a_radius_as_papers_write_it(eps: float, text: str) -> None:
    assert in_255ths(eps) == text


def test_a_randomised_model_is_flagged_but_for_rand(command: Command, small: str, tmp_path: Path) -> None:
    (tmp_path / "noise.py").write_text(
        "import torch\n"
        "from rows import Rows\n"
        "class Noise(Rows):\n"
        "    def forward(self, x): return super().forward(x) + 0.3 * torch.randn(len(x), 4)\n"
    )
    base = ("noise.py:Noise", "--data", small, "--eps", "10/255")
    plain = command.judge(*base, "--version", "apgd-ce")
    assert list(plain.result["flags"]) == ["randomised"]
    assert sum("warning: randomised: " in line for line in plain.lines) == 1
    assert json.loads((plain.folder / "robustbench.json").read_text())["unreliable"] is True
    rand = command.judge(*base, "--version", "rand")
    assert rand.result["flags"] == {}
    assert "warning" not in rand.out
    assert rand.result["passes_per_verdict"] == 20
    assert json.loads((rand.folder / "robustbench.json").read_text())["unreliable"] is False
    table = pq.read_table(rand.folder / "verdicts.parquet").to_pydict()
    fractions = np.array(table["robust_correct"])
    assert ((fractions > 0) & (fractions < 1)).any()
    assert rand.result["robust_accuracy"] == pytest.approx(fractions.mean())


def test_the_same_command_goes_on_and_decides_the_shards_once(
    command: Command, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A size that was decided stays, whatever memory is free later; a later version goes on in the same folder."""
    from robustray.judging import shard_size

    base = ("rows.py:Rows", "--data", small, "--eps", "10/255")
    monkeypatch.setattr(shard_size, "ON_CPU", 16)
    first = command.judge(*base, "--version", "apgd-ce")
    assert first.result["shard_size"] == 16
    monkeypatch.setattr(shard_size, "ON_CPU", 500)
    stamps = {path: path.stat().st_mtime_ns for path in first.folder.glob("*-*.parquet")}
    assert len(stamps) == 6
    again = command.judge(*base, "--version", "apgd")
    assert again.folder == first.folder
    assert again.result["shard_size"] == 16
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    stronger = again.result
    fewer = command.judge(*base, "--version", "apgd-ce")
    assert "(apgd-ce): " in fewer.lines[-3], "what was asked for is said"
    assert fewer.lines[-2] == "result.json keeps the result of apgd, which begins with these attacks"
    assert fewer.result == stronger, "the stronger one stays"
    other = command.judge(*base, "--version", "apgd-ce", "--batch", "40")
    assert other.result["shard_size"] == 40
    assert other.folder != first.folder
