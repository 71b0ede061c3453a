"""The training benchmark without its clock: what is compared with what, what references are given, and its mistakes."""

from __future__ import annotations

import csv
import itertools
import math
import random
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import _bench
import pytest
import torch
import train
from _bench import Bench
from _comparison import Contender, Measured, Speeds, add_targets, ratios, settings
from _contender import FLOPS, OURS, PLAIN, Order, flops, theirs
from _references import REFERENCES, checkouts
from train import Contest, main, measure, parser, template, trial, write_images

from robustray.errors import UserError
from robustray.training import Trainer
from robustray.trial import TrialConfig

TINY = ["--device=cpu", "--set=model.width=4", "--batch=2", "--steps=1"]


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """A folder for each reference with the file that tells its checkout, empty."""
    for name, reference in REFERENCES.items():
        file = tmp_path / "checkouts" / name / reference.file
        file.parent.mkdir(parents=True)
        file.touch()
    return {name: tmp_path / "checkouts" / name for name in REFERENCES}


def contest(work: Path, *arguments: str) -> Contest:
    work.mkdir()
    return Contest(parser().parse_args([*TINY, *arguments]), work)


def referring(folders: dict[str, Path]) -> list[str]:
    return [f"--reference={name}={path}" for name, path in folders.items()]


def test_checkouts_are_found_by_name(folders: dict[str, Path]) -> None:
    assert checkouts([f"{name}={path}" for name, path in folders.items()]) == folders


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--reference=traeds=."], "there is no reference 'traeds'; did you mean 'trades'?"),
        (["--reference=trades"], "must look like NAME=PATH"),
        (["--reference=trades=."], "is no checkout of trades, which has a file trades.py"),
        (["--reference=mair=nowhere"], "is no checkout of mair"),
        (["--precision=fp32,fp61"], "'fp61' is none of"),
        (["--ours=bf16"], "must look like best='precision=bf16'"),
        (["--ours=best=precision=fp61"], "precision"),
        (["--set=model.widht=8"], "did you mean 'width'?"),
        (["--device=tpu"], "device"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert not out
    assert says in err
    assert err.count("\n") == 1


def test_a_reference_given_twice_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="trades is given twice"):
        checkouts([f"trades={folders['trades']}"] * 2)


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("precisions", [["fp32"], ["bf16"], ["bf16", "fp32"], ["tf32", "bf16", "fp32"]])
def test_a_reference_is_run_at_each_precision_and_once_as_documented(name: str, precisions: list[str]) -> None:
    for device, documented in (("cpu", "fp32"), ("cuda", "tf32")):
        found = settings(name, precisions, device)
        assert len(set(found)) == len(found)
        assert {each.defense for each in found} == {REFERENCES[name].defense}
        assert {each.setting for each in found} >= set(precisions)
        assert [each.precision for each in found if each.documented] == [documented]
        assert all(each.note for each in found if each.documented or each.precision == "bf16")


def test_all_contenders_train_the_same_but_for_precision(tmp_path: Path, folders: dict[str, Path]) -> None:
    orders = contest(tmp_path / "work", *referring(folders)).orders
    assert {each.who for each in orders} == {OURS, *folders}
    for defense in ("trades", "adversarial"):
        trials = [order.trial for each, order in orders.items() if each.defense == defense]
        assert len({(each.who, each.setting) for each in orders if each.defense == defense}) == len(trials)
        assert all({**config, "precision": "fp32"} == trials[0] for config in trials)
        assert trials[0]["defense"]["name"] == defense
        assert trials[0]["model"]["width"] == 4
    for each, order in orders.items():
        assert (order.config.precision if each.who == OURS else order.precision) == each.precision
        assert order.checkout == (str(folders[each.who]) if each.who in folders else "")
    assert len({order.folder for order in orders.values()}) == len(orders), "a trainer would go on from a checkpoint"


def test_without_a_reference_the_other_side_is_our_plain_path(tmp_path: Path) -> None:
    found = contest(tmp_path / "work", "--ours=best=precision=bf16 batch.augment=[]").orders
    assert [(each.who, each.setting, each.precision) for each in found] == [
        (OURS, "best", "bf16"), (PLAIN, "fp32", "fp32")
    ]  # fmt: skip
    best, plain = (order.config for order in found.values())
    assert (best.batch.augment, plain.precision) == ((), "fp32")


def test_speed_is_of_the_median_step_and_spread_of_all() -> None:
    result = Measured(seconds=[4.0, 1.0, 2.0])
    assert result.speed(16) == 8.0
    assert result.spread == 150.0


def speeds(trades: float = 2.0, mair: float = 4.0, fp32: float = 6.0, bf16: float = 10.0) -> Speeds:
    """Of a CPU; autocast makes references half as fast again, and rice does another defense a hundred times faster."""
    found = {Contender(OURS, "trades", "fp32", "fp32"): fp32, Contender(OURS, "trades", "best", "bf16"): bf16}
    for name, speed in (("trades", trades), ("mair", mair), ("rice", 100.0)):
        for each in settings(name, ["fp32", "bf16"], "cpu"):
            found[each] = speed * (1.5 if each.precision == "bf16" else 1)
    items = list(found.items())
    random.Random(0).shuffle(items)
    return dict(items)


def test_ratios_at_the_same_precision_and_beside_what_is_documented() -> None:
    found = speeds()
    fp32, bf16 = (next(each for each in found if each.who == OURS and each.precision == p) for p in ("fp32", "bf16"))
    assert ratios(fp32, found, "trades") == (3.0, 3.0)
    assert ratios(bf16, found, "trades") == (10 / 3, 5.0)
    assert ratios(bf16, found, "mair") == (10 / 6, 2.5)
    assert all(math.isnan(each) for each in ratios(bf16, found, "rice")), "another defense"
    gone = {each: speed for each, speed in found.items() if (each.who, each.setting) != ("mair", "bf16")}
    same, documented = ratios(bf16, gone, "mair")
    assert math.isnan(same)
    assert documented == 2.5


def told(found: Speeds, device: str) -> list[str]:
    bench = Bench("train", quick=True)
    add_targets(bench, found, device)
    return bench.targets


def test_targets_on_a_cpu_are_told_with_what_was_measured() -> None:
    assert told(speeds(), "cpu") == [
        "TARGET train-fp32-over-authors 3.000 >=1.6 met",
        "TARGET train-bf16-over-authors 5.000 >=2.5 met",
        "TARGET train-fp32-over-fastest 1.500 >=1.1 met",
        "TARGET train-bf16-over-fastest 2.500 >=1.9 met",
    ]
    assert [line.split()[-1] for line in told(speeds(mair=5.5), "cpu")] == ["met", "met", "missed", "missed"]
    assert [line.split()[-1] for line in told(speeds(trades=5.5), "cpu")] == ["missed", "missed", "missed", "missed"]


def test_the_target_on_a_gpu_is_of_our_best_over_the_fastest_as_documented() -> None:
    found: Speeds = {Contender(OURS, "trades", name, name): speed for name, speed in (("bf16", 80.0), ("tf32", 40.0))}
    for name, speed in (("mair", 10.0), ("trades", 16.0)):
        for each in settings(name, ["fp32"], "cuda"):
            found[each] = speed if each.documented else speed / 4
    assert told(found, "cuda") == ["TARGET train-best-over-fastest 5.000 >=4 met"]


def test_targets_that_were_not_measured_say_so() -> None:
    ours = {each: speed for each, speed in speeds().items() if each.who == OURS}
    lines = told(ours, "cpu")
    assert len(lines) == 4
    assert all(line.endswith("not measured without a reference") for line in lines)
    fp32 = {each: speed for each, speed in speeds().items() if (each.who, each.precision) != (OURS, "bf16")}
    assert [line.endswith("not measured at this precision") for line in told(fp32, "cpu")] == [False, True, False, True]


def test_operations_grow_by_a_forward_and_a_backward_pass_per_attack_step(tmp_path: Path) -> None:
    counts: dict[str, list[float]] = {"trades": [], "adversarial": []}
    for defense, steps in itertools.product(counts, (1, 2, 4)):
        tiny = contest(tmp_path / f"{defense}{steps}", f"--steps={steps}")
        counts[defense].append(flops(tiny.order(FLOPS, defense, [])))
    grown = [counts[defense][i + 1] - counts[defense][i] for defense in counts for i in range(2)]
    assert grown == [grown[0], 2 * grown[0]] * 2
    forward = grown[0] / 2
    # a forward pass and two backward, without the gradient to the image: 3 and 6 of the 2 K + 3 and 2 K + 7 passes
    assert 4.9 < (counts["adversarial"][0]) / forward < 5
    assert 8.8 < (counts["trades"][0]) / forward < 9


@pytest.fixture
def lent(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a reference changes in its process is given back: the path, a module, Tensor.cuda."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(torch.Tensor, "cuda", torch.Tensor.cuda)
    monkeypatch.setitem(sys.modules, "trades", SimpleNamespace())  # so that undoing removes whatever takes its place
    monkeypatch.delitem(sys.modules, "trades")


@pytest.mark.usefixtures("lent")
def test_a_reference_is_called_with_the_trial_s_numbers(tmp_path: Path, folders: dict[str, Path]) -> None:
    (folders["trades"] / "trades.py").write_text(
        "calls = []\n"
        "def trades_loss(model, x_natural, y, optimizer, **numbers):\n"
        "    calls.append((model.training, x_natural.cuda().shape, y.shape, numbers))\n"
        "    return model(x_natural).square().sum()\n"
    )
    write_images(tmp_path / "images.npz", 8)
    base = template(str(tmp_path / "images.npz"), "trades", "preact_resnet18", 4, 7)
    config = trial(base, ["model.width=2", "defense.beta=5", "judge.threat.eps=0.03", "schedule.lr=0.5"])
    model = config.model.build(config.judge.data)
    before = [weight.clone() for weight in model.parameters()]
    step = REFERENCES["trades"].step(folders["trades"], model.eval(), config)
    loss = step(torch.rand(4, 3, 32, 32), torch.arange(4))
    assert float(loss) > 0
    assert not any(torch.equal(old, new) for old, new in zip(before[-2:], list(model.parameters())[-2:], strict=True))
    ((training, images, labels, numbers),) = sys.modules["trades"].calls
    assert training
    assert (tuple(images), tuple(labels)) == ((4, 3, 32, 32), (4,))
    assert numbers == {"step_size": 2 / 255, "epsilon": 0.03, "perturb_steps": 7, "beta": 5.0}


@pytest.mark.usefixtures("lent")
def test_a_reference_starts_from_our_weights_and_sees_our_images(tmp_path: Path, folders: dict[str, Path]) -> None:
    (folders["trades"] / "trades.py").write_text(
        "def trades_loss(model, x_natural, y, optimizer, **numbers):\n"
        "    seen.append(([weight.detach().clone() for weight in model.parameters()], x_natural, y))\n"
        "    return model(x_natural).square().sum()\n"
        "seen = []\n"
    )
    tiny = contest(tmp_path / "work", "--set=batch.augment=[]", f"--reference=trades={folders['trades']}")
    order = next(order for each, order in tiny.orders.items() if each.who == "trades")
    clock, loss = theirs(replace(order, documented=True))  # which leaves the settings of this process alone
    seen = sys.modules["trades"].seen
    assert (len(clock.times), len(clock.seconds)) == (order.warm + order.timed, order.timed)
    assert len(seen) == len(clock.times)
    assert math.isfinite(loss)
    trainer = Trainer(order.config, tmp_path / "trainer", device="cpu")
    assert all(torch.equal(a, b) for a, b in zip(seen[0][0], trainer.model.parameters(), strict=True))
    assert all(weight.is_contiguous() for weight in seen[0][0])
    for batch, rows in zip(seen, torch.split(trainer.batches.order(0), 2), strict=False):
        x, y = trainer.batches.images.batch(rows)
        assert torch.equal(batch[1], x)
        assert torch.equal(batch[2], y)


def test_references_refuse_a_trial_that_they_cannot_follow(tmp_path: Path, folders: dict[str, Path]) -> None:
    base: dict[str, Any] = template("none.npz", "trades", "preact_resnet18", 4, 10)
    config: TrialConfig = trial(base, ["optimiser=adam"])
    (folders["trades"] / "trades.py").write_text("trades_loss = None\n")
    with pytest.MonkeyPatch.context() as lent:
        lent.setattr(sys, "path", list(sys.path))
        lent.setattr(torch.Tensor, "cuda", torch.Tensor.cuda)
        lent.setitem(sys.modules, "trades", SimpleNamespace(trades_loss=None))
        with pytest.raises(UserError, match="pgd in linf and sgd"):
            REFERENCES["trades"].step(folders["trades"], torch.nn.Linear(1, 1), config)


@pytest.mark.e2e
def test_a_process_of_ours_answers_with_its_steps(tmp_path: Path) -> None:
    tiny = contest(tmp_path / "work", "--precision=fp32")
    order = next(order for each, order in tiny.orders.items() if each.who == OURS)
    answer = measure(order, "ours")
    assert len(answer["seconds"]) == order.timed
    assert all(second > 0 for second in answer["seconds"])
    assert math.isfinite(answer["loss"])
    assert answer["memory"] > 0
    assert not any(Path(order.folder).iterdir()), "it keeps nothing"


def test_a_process_that_fails_is_told_with_its_last_line(
    tmp_path: Path, folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (folders["trades"] / "trades.py").write_text("raise ImportError('no module named tomorrow')\n")
    orders = contest(tmp_path / "work", f"--reference=trades={folders['trades']}").orders
    order = next(order for each, order in orders.items() if each.who == "trades")
    with pytest.raises(UserError, match="trades failed: ImportError: no module named tomorrow"):
        measure(order, "trades")
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.e2e
def test_one_that_fails_costs_the_others_nothing(
    tmp_path: Path, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_bench, "RESULTS", tmp_path / "results")
    (folders["trades"] / "trades.py").write_text("raise ImportError('no module named tomorrow')\n")
    assert main([*TINY, "--quick", "--precision=fp32", f"--reference=trades={folders['trades']}"]) == 2
    said = capsys.readouterr()
    assert said.err.splitlines()[-1] == "train.py: trades, fp32, trades failed: ImportError: no module named tomorrow"
    (table,) = (tmp_path / "results").glob("*.csv")
    assert "ours, fp32" in table.read_text()


def test_what_was_measured_before_it_was_stopped_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As at the limit of benchmarks/gpu.sh."""
    monkeypatch.setattr(_bench, "RESULTS", tmp_path / "results")
    answers: Iterator[dict[str, Any]] = iter(
        [{"value": 1e9}, {"value": 1e12}, {"seconds": [0.5, 0.25], "memory": 1, "loss": 2.0}]
    )

    def answered(order: Order, name: str) -> dict[str, Any]:
        found = next(answers, None)
        if found is None:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(train, "measure", answered)
    assert main([*TINY, "--quick", "--ours=one=precision=fp32", "--ours=two=precision=fp32"]) == 0
    (table,) = (tmp_path / "results").glob("*.csv")
    with table.open() as file:
        rows = {row["measure"]: row for row in csv.DictReader(file)}
    assert float(rows["ours, one"]["value"]) == pytest.approx(2 / 0.375, abs=1e-3)
    assert not any("two" in measure or "plain" in measure for measure in rows)


@pytest.mark.parametrize("argument", ["--batch=0", "--steps=0", "--repeats=-1"])
def test_counts_start_at_one(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parser().parse_args([argument])
    assert stopped.value.code == 2
    assert "must be at least 1" in capsys.readouterr().err
