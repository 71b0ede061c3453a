"""What a sweep would be, and that nothing happens while it is said."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from robustray.data.base import DataSource
from robustray.data.digits import TEST_IMAGES, Digits
from robustray.errors import UserError
from robustray.judging.cost import seconds_per_image
from robustray.training import Trainer
from robustray.training import cost as timing
from robustray.trial import TrialConfig
from sweeps import driver, dry_run, record
from sweeps.begun import Begun
from sweeps.deriving import ahead
from sweeps.search import reserve
from sweeps.space import Sweep
from tests.analysis import made as the
from tests.robustray.made import batch, network
from tests.sweeps.small import SPACE, run_quietly, small_sweep


def _said(sweep: Sweep, slots: int | None = None, folder: Path | None = None) -> str:
    lines: list[str] = []
    dry_run.show(sweep, lines.append, slots=slots, folder=folder)
    return "\n".join(lines)


def test_it_says_what_would_be_done_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = small_sweep(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    said = _said(sweep)
    assert sorted(tmp_path.rglob("*")) == before
    for name in ("defense.trades.beta", "loguniform", "a number from 0.1 to 20", "defense is trades", "schedule.lr"):
        assert name in said
    assert re.search(r"training +\S+ .*\(.* to .*\) of device time", said)
    assert re.search(r"judging +\S+ .*\(.* to .*\) of device time", said)
    assert "wall time" in said
    assert "5 trials, apgd-ce on 60 images judges what can be on the frontier" in said
    assert "nothing was written" in said


def test_points_are_counted_and_cost_no_training(tmp_path: Path) -> None:
    soups = [{"name": "soup", "points": 2}]
    mixtures = [{"name": "smoothing", "parents": ["cleanest", "most_robust"], "alpha": [0.6, 0.7, 0.8]}]
    network = [{"name": "smoothing", "parents": ["cleanest", "most_robust"], "network": {}}]
    sweep = small_sweep(tmp_path, text=SPACE + f"derive: {json.dumps(soups + mixtures)}\n")
    said = _said(sweep)
    assert "soup (2 for every two neighbours on the frontier), smoothing (3): derived without training; judging" in said
    plain = ahead.judgements(sweep.derive[:1], 4.0)
    assert plain == 3 * 2, "four settings, three pairs"
    assert ahead.judgements(sweep.derive, 4.0) == plain + 3 * 2.0
    trained = small_sweep(tmp_path / "network", "judge.trials=none", text=SPACE + f"derive: {json.dumps(network)}\n")
    assert "but for the mixing network of smoothing" in _said(trained)


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_the_first_trials_are_those_of_the_sweep(sampler: str, tmp_path: Path) -> None:
    options = (f"search.sampler={sampler}", "judge.trials=none", "trial.schedule.epochs=1")
    sweep, fewer, more = (
        small_sweep(tmp_path / str(trials), *options, f"search.trials={trials}") for trials in (3, 2, 5)
    )
    shown = dry_run.first_trials(sweep, 5)
    run = tmp_path / "run"
    run_quietly(sweep, run)
    assert [params for params, _ in shown] == [trial.params for trial in record.read(run).trials]

    before = _state(run)
    assert "3 trials, 3 done before, none to do." in _said(sweep, folder=run)
    assert "3 trials done before, more than the 2 asked for: none to do." in _said(fewer, folder=run)
    said = _said(more, folder=run)
    assert "5 trials, 3 done before, 2 to do, no judging" in said
    assert re.search(r"^The next trials:\n.*\n0003 .*\n0004 .*\n\n", said, re.MULTILINE)
    other = small_sweep(tmp_path / "other", "trial.schedule.epochs=2", "judge.trials=none")
    with pytest.raises(UserError, match=r"holds another sweep of this name \(.*trial.schedule.epochs: 1 -> 2") as told:
        _said(other, folder=run)
    with pytest.raises(UserError) as refused:
        run_quietly(other, run)
    assert str(told.value) == str(refused.value)
    assert _state(run) == before, "nothing was written"
    following = [params for params, _ in dry_run._following(more, 5, run)[1].values()]
    run_quietly(more, run)
    assert following == [trial.params for trial in record.read(run).trials[3:]]


def _state(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_what_was_spent_counts_in_a_budget(tmp_path: Path) -> None:
    sweep = small_sweep(tmp_path, "budget={wall: 100s, device_hours: 1}", "search.trials=10")
    cost = dry_run.Cost(training=(1.0, 80.0, 90.0), judging=(0.0, 0.0, 0.0), disk=1, probed=1)
    (wall, device) = dry_run._budget(sweep, cost, 1, Begun(left=4, done=6, wall=60.0, device=3600 - 60.0))
    assert wall.endswith("of wall time: it ends the search after about 8 trials"), "half of what is left"
    assert device.endswith("of 1 device-hours: it ends the search after about 9 trials")
    (wall, device) = dry_run._budget(sweep, cost, 1, Begun(left=10))
    assert "ends" not in wall + device


def test_costs_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With known seconds of every piece: trials x (steps + validations), and the share that is judged."""
    costs = iter([2.0, 3.0, 4.0])

    def known(config: TrialConfig, *, device: str = "auto", threads: int | None = None) -> timing.TrialCost:
        return timing.TrialCost(step=next(costs), steps=10, validation=1.0, validations=5, checkpoint=1000)

    monkeypatch.setattr(timing, "trial", known)
    monkeypatch.setattr(dry_run, "_seconds_per_image", lambda config: {"apgd-ce": 0.1})
    sweep = small_sweep(tmp_path, "search.trials=100")
    cost = dry_run.estimate(sweep, [config for _, config in dry_run.first_trials(sweep, 3)], threads=1)
    assert cost.training == pytest.approx((2500.0, 3500.0, 4500.0))  # 25, 35 and 45 seconds a trial
    assert cost.disk == 100 * 2000
    costs = iter([0.1, 0.1, 9.0])  # one dear trial among cheap ones
    uneven = dry_run.estimate(sweep, [config for _, config in dry_run.first_trials(sweep, 3)], threads=1)
    assert uneven.training == pytest.approx((600.0, 3566.67, 9500.0), rel=1e-4)
    pauses = ("trial.schedule.epochs=12", "stopping={name: pareto_halving, rungs: [3, 6]}")
    paused = small_sweep(tmp_path / "paused", "search.trials=100", *pauses)
    costs = iter([2.0, 3.0, 4.0])
    configs = [config for _, config in dry_run.first_trials(paused, 3)]
    assert dry_run.estimate(paused, configs, threads=1).disk == 400 * 2000, "all may come to wait at the first rung"
    validation = 60 * 100 * 0.1 * 0.75  # every trial meets the only attack; half of its images are broken
    test = 80 * 100 * 0.33 * 0.1 * 0.75
    assert cost.judging[1] == pytest.approx(validation + test)
    assert cost.judging[0] < cost.judging[1] < cost.judging[2]
    every = sweep.model_copy(update={"judge": sweep.judge.model_copy(update={"trials": "none"})})
    assert dry_run._judging(every, next(iter(every.examples())), 5) == ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))


def test_what_was_done_before_is_said_so_that_it_adds_up(tmp_path: Path) -> None:
    sweep = small_sweep(tmp_path)
    assert driver.amount(sweep, 0, pauses=False) == "5 trials"
    assert driver.amount(sweep, 2, pauses=False) == "5 trials, 2 done before"
    assert driver.amount(sweep, 7, pauses=False) == "7 trials done before, more than the 5 asked for"
    assert driver.amount(sweep, 7, pauses=True) == "5 whole trainings' worth of epochs, 7 done before"
    with record.Record(the.sweep(tmp_path / "made", trials=8, derived=True), the.OBJECTIVES) as points_too:
        assert len(points_too.ended()) > driver.done_before(points_too) == 8


def test_a_probe_leaves_no_folder_and_counts_the_whole_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    config = next(iter(small_sweep(tmp_path / "space").examples()))
    cost = timing.trial(config, device="cpu", threads=1)
    assert cost.steps == 3 * (len(config.judge.data.load("train")) // config.batch.size)
    assert cost.validations == 3
    assert cost.step > 0
    assert cost.validation > 0
    assert cost.checkpoint > 1000
    assert cost.seconds == pytest.approx(cost.step * cost.steps + 3 * cost.validation)
    assert [path.name for path in tmp_path.iterdir()] == ["space"]


def test_an_attack_is_timed_by_a_share_of_its_iterations() -> None:
    """The model is asked 3 % as often as by the whole attack, and stays as it was."""
    import torch

    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    model = network(dtype=torch.float32).train()
    model.register_forward_pre_hook(count)
    x, _ = batch(dtype=torch.float32)
    from robustray.attacks import Threat

    found = seconds_per_image(model, x, Threat(eps=0.1), ("apgd-ce", "square"))
    assert set(found) == {"apgd-ce", "square"}
    assert all(seconds > 0 for seconds in found.values())
    assert 0.02 * 5105 < calls < 0.05 * 5105
    assert model.training


def test_a_trial_that_cannot_be_trained_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied\nand more")

    monkeypatch.setattr(Trainer, "train_step", broken)
    with pytest.raises(UserError, match="sampled trial 0 cannot be trained: RuntimeError: mat1 and mat2") as caught:
        _said(small_sweep(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.3, "0.3 s"), (0.99, "1 s"), (5, "5 s"), (600, "10 min"), (7200, "2.0 h"), (400_000, "4.6 days")],
)
def test_durations(seconds: float, said: str) -> None:
    assert dry_run._clock(seconds) == said


def test_test_is_as_large_as_its_source_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice validation is a guess, and called one: for a source that tells nothing before test is read."""
    judge = small_sweep(tmp_path).judge
    assert reserve.test_images(judge) == (80, False), "as the space asks"
    judge = small_sweep(tmp_path, "judge.images.test=all", "judge.data.validation=300").judge
    monkeypatch.setattr(Digits, "read", lambda self, split: pytest.fail("it is not read for that"))
    assert reserve.test_images(judge) == (TEST_IMAGES, False)
    monkeypatch.setattr(Digits, "test_images", DataSource.test_images)
    assert reserve.test_images(judge) == (600, True)


@pytest.mark.parametrize("told", [True, False])
def test_only_a_guess_is_called_one(told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cost = dry_run.Cost(training=(1.0, 2.0, 3.0), judging=(1.0, 2.0, 3.0), disk=1, probed=1)
    monkeypatch.setattr(dry_run, "estimate", lambda sweep, configs, threads, state: cost)
    if not told:
        monkeypatch.setattr(Digits, "test_images", DataSource.test_images)
    said = _said(small_sweep(tmp_path, "judge.images.test=all"), slots=1)
    guess = "test       taken to be 800 images, which is a guess: digits does not tell before test is read"
    assert (guess in said) is not told
