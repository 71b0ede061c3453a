"""Cheap looks before trainings: what they are, what they cost, who is trained, and that a kill changes nothing."""

from __future__ import annotations

import contextlib
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from robustray.errors import UserError
from robustray.training import Trainer
from robustray.training.passes import of_training
from sweeps import driver, record
from sweeps.record import Record, Rung, TrialRecord
from sweeps.running.queues import Job
from sweeps.running.simulated import Simulated
from sweeps.running.tasks.base import Report
from sweeps.search.controller import Controller
from sweeps.search.field import Choice, Curve, Field, Policy, Resume, Start
from sweeps.search.halving import ParetoHalving
from sweeps.search.looks import Looks, Trust
from sweeps.search.progress import Progress
from sweeps.search.race import Race
from sweeps.space import Sweep
from sweeps.space.distributions import Parameter
from sweeps.space.fidelity import Fidelity
from tests.sweeps.paused import Killed, Kills, Oldest, ToTheEnd, untimed
from tests.sweeps.small import SPACE, driver_process, facts, run_quietly, small_sweep

EPOCHS = 12
LOOKED = (
    SPACE.replace("epochs: 3", f"epochs: {EPOCHS}")
    .replace("trials: 5", "trials: 3")
    .replace("images: {validation: 60, test: 80}", "trials: none")
    + "stopping: {name: pareto_halving, rungs: [0.5]}\n"
    + "fidelity: {images: 0.25, epochs: 3, attack_steps: 1, cheap_steps: 0.34}\n"
)
OBJECTIVES = {"clean_accuracy": "max", "robust_accuracy": "max"}
QUICK = SPACE.replace("trials: 5", "trials: 2").replace("images: {validation: 60, test: 80}", "trials: none") + (
    "stopping: {name: pareto_halving, rungs: [1], eta: 2}\nfidelity: {images: 0.3, epochs: 2, cheap_steps: 1}\n"
)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return small_sweep(tmp_path_factory.mktemp("space"), text=LOOKED)


def answers(job: Job, *, diverging: float = 0.0) -> Iterator[tuple[float, Report]]:
    """What a worker reports depends on the trial, and on whether it looks."""
    chance = random.Random(f"{job.number} {job.work.get('look')}")
    look = "look" in job.work
    until = 3 if look else int(job.work.get("until", EPOCHS))
    seconds = (0.1 if look else 1.0) * until
    told: Report = {
        "epoch": until,
        "epochs": EPOCHS,
        "done": True,
        "training_iteration": until,
        "cost_seconds": seconds,
    }
    if chance.random() < diverging:
        yield 0.1, {**told, "outcome": "diverged", "cause": "the loss is nan", "epoch": 1}
    values = {"clean_accuracy": chance.uniform(0.2, 0.9), "robust_accuracy": chance.uniform(0.1, 0.5)}
    yield seconds, {**told, **values, "outcome": "complete" if look or until == EPOCHS else "paused"}


def searched(
    sweep: Sweep, folder: Path, policy: Policy, *, slots: int = 1, diverging: float = 0.0
) -> Sequence[TrialRecord]:
    """The trials of a sweep that has been driven to its end, whatever was there before."""
    with Record(folder, sweep.objectives) as opened:
        place = Simulated(lambda job: answers(job, diverging=diverging), slots)
        assert driver.drive(sweep, opened, lambda: place, policy=policy)
    return record.read(folder).trials


# What a look is.


@settings(max_examples=15, deadline=None)
@given(
    images=st.none() | st.floats(0.1, 0.9) | st.integers(100, 900),
    epochs=st.none() | st.floats(0.05, 0.95) | st.integers(1, 20),
    attack_steps=st.integers(1, 5) | st.floats(0.1, 0.9),
    cheap_steps=st.none() | st.integers(1, 9),
)
def test_a_look_has_less_of_what_is_said_and_all_else_of_its_trial(
    sweep: Sweep, images: float | None, epochs: float | None, attack_steps: float, cheap_steps: int | None
) -> None:
    asked = Fidelity(images=images, epochs=epochs, attack_steps=attack_steps, cheap_steps=cheap_steps)
    for trial in sweep.examples():
        look = asked.look(trial)
        assert not look.objections()
        wanted = EPOCHS if epochs is None else epochs if epochs >= 1 else round(epochs * EPOCHS)
        assert look.schedule.epochs == max(1, min(EPOCHS, wanted))
        assert look.checkpoints.validate_every == look.schedule.epochs
        assert look.batch.images == images
        for whole, fewer, said in (
            (trial.training_attack, look.training_attack, attack_steps),
            (trial.judge.cheap, look.judge.cheap, cheap_steps),
        ):
            own, steps = whole.steps, fewer.steps  # type: ignore[attr-defined]
            if said is None or (fewer is look.training_attack and trial.ignores(("attack",))):
                continue
            assert steps == max(1, min(own, said if said >= 1 else round(said * own)))
            reach, whole_reach = (
                n * at.step_size.within(1.0)  # type: ignore[attr-defined]
                for n, at in ((steps, fewer), (own, whole))
            )
            assert reach >= min(whole_reach, steps) - 1e-9, "as far, or whole steps of eps"
        apart = {"judge", "batch", "schedule", "checkpoints", "attack"}
        assert look.model_dump(exclude=apart) == trial.model_dump(exclude=apart)
        assert look.judge.model_dump(exclude={"cheap"}) == trial.judge.model_dump(exclude={"cheap"})


def test_schedules_are_squeezed(tmp_path: Path) -> None:
    whole = "schedule: {name: one_cycle, epochs: 12, lr: {loguniform: [0.05, 0.5]}}"
    for told, name, expected in (
        ("{name: multi_step, epochs: 12, warmup: 3}", "warmup", 0.25),
        ("{name: cyclic, epochs: 12, cycles: 4}", "cycles", 2),
        ("{name: constant, epochs: 12, warmup: 0.1}", "warmup", 0.1),
    ):
        made = small_sweep(tmp_path, text=LOOKED.replace(whole, f"schedule: {told}"))
        look = Fidelity(epochs=2).look(next(iter(made.examples())))
        assert getattr(look.schedule, name) == expected


def test_the_cost_of_a_look_is_what_trainings_count(sweep: Sweep, tmp_path: Path) -> None:
    """Both are trained, and their passes are those that the share is told from."""
    assert sweep.fidelity is not None
    looks = Looks(sweep, sweep.fidelity)
    trial = next(iter(sweep.examples())).model_copy(update={"seed": 3})
    few = replace_epochs(trial, 2)
    train, tune = len(trial.judge.data.load("train")), len(trial.judge.lists()[1])
    counted = []
    for name, config in (("look", looks.config(few)), ("whole", few)):
        told = Trainer(config, tmp_path / name, device="cpu").run()["cost_passes"]
        assert told == of_training(config, train=train, tune=tune)
        counted.append(told)
    assert looks.cost(few) == pytest.approx(counted[0] / counted[1], abs=1e-4)
    assert looks.cost(trial) < looks.cost(few)


def replace_epochs(trial: Any, epochs: int) -> Any:
    return trial.model_copy(update={"schedule": trial.schedule.model_copy(update={"epochs": epochs})})


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("{}", "fidelity: says nothing that is cheaper"),
        ("{images: 1.5}", "fidelity.images: takes a share below 1, or a whole number, not 1.5"),
        ("{epochs: 0}", "fidelity.epochs"),
        ("{image: 0.5}", "did you mean 'images'"),
        ("{images: 50}", "fidelity: a look at 50 images makes no trial: batch.images takes a share below 1"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, said: str, told: str) -> None:
    text = LOOKED[: LOOKED.index("fidelity:")] + f"fidelity: {said}\n"
    with pytest.raises(UserError) as error:
        small_sweep(tmp_path, text=text)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_who_waits_for_no_look(tmp_path: Path) -> None:
    for stopping, told in (("none", "write race or pareto_halving"), ("auto", "auto comes to none")):
        with pytest.raises(UserError, match=told):
            small_sweep(tmp_path, f"stopping={stopping}", text=LOOKED)


def test_looks_that_cannot_be_taken_are_told_of_before_anything_is_written(tmp_path: Path) -> None:
    few = small_sweep(tmp_path, "fidelity.images=0.02", text=LOOKED)
    with pytest.raises(
        UserError, match=r"^fidelity.images: a look has 18 training images, but trial.batch.size is 100"
    ):
        driver.look_ahead(few)
    dear = small_sweep(tmp_path, text=LOOKED[: LOOKED.index("fidelity:")] + "fidelity: {images: 897}\n")
    trial = next(iter(dear.examples()))
    assert Looks(dear, dear.fidelity).cost(trial) < 1, "validated once, and not after every epoch"  # type: ignore[arg-type]
    same = Looks(dear, Fidelity(images=897))
    with pytest.raises(UserError, match="the training itself"):
        same.cost(same.config(trial))


def test_what_was_before_there_were_looks_is_as_it_was(tmp_path: Path) -> None:
    without = small_sweep(tmp_path, text=LOOKED[: LOOKED.index("fidelity:")])
    assert "fidelity" not in without.resolved()
    searched(without, tmp_path / "small", ParetoHalving())
    assert '"look"' not in (tmp_path / "small" / record.JOURNAL).read_text()
    with_looks = small_sweep(tmp_path, text=LOOKED)
    assert with_looks.difference(without.resolved())[0].startswith("fidelity: ")
    assert Sweep.model_validate(with_looks.resolved()).space_hash == with_looks.space_hash


# Who is trained.


def looked(number: int, look: Sequence[float], final: Sequence[float] | None, order: int) -> Curve:
    """A trial that was looked at, and trained where `final` is given."""
    metrics = dict(zip(OBJECTIVES, look, strict=True))
    rungs = [Rung(0, 2, order, metrics, 1.0, 0.05)]
    done: Mapping[str, float] | None = None
    if final is not None:
        done = dict(zip(OBJECTIVES, final, strict=True))
        rungs += [Rung(index, 6 * index, 1000 + 10 * order + index, done, 6.0 * index) for index in (1, 2)]
    return Curve(number, {}, "paused" if final is None else "complete", EPOCHS, tuple(rungs), 0, done)


def trusted(pairs: Sequence[tuple[float, float]]) -> Trust:
    found = Trust({"clean_accuracy": "max"})
    for number, (look, final) in enumerate(pairs):
        found.look(looked(number, (look, 0.0), (final, 0.0), number))
    return found


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=40), st.floats(1.5, 5))
@settings(max_examples=60, deadline=None)
def test_the_share_of_looks_that_is_trained_is_the_formula(pairs: list[tuple[int, int]], eta: float) -> None:
    found = trusted(pairs)
    n = next((size for size in (32, 16, 8) if size <= len(pairs)), 0)
    assert [curve.number for curve in found.pairs] == list(range(n))
    tau = 1.0
    if n:
        x, y = zip(*pairs[:n], strict=True)
        tau = 0.0 if len(set(x)) == 1 or len(set(y)) == 1 else float(stats.kendalltau(x, y).statistic)
    assert found.tau == pytest.approx(tau)
    assert found.share(eta) == pytest.approx(1 / eta + (1 - 1 / eta) * (1 - min(max(tau, 0.0), 1.0)))


def test_the_order_in_which_they_were_looked_at_says_nothing() -> None:
    rng = np.random.default_rng(0)
    curves = [
        looked(n, rng.random(2).tolist(), rng.random(2).tolist(), order)
        for n, order in enumerate(rng.permutation(20).tolist())
    ]
    found = []
    for order in (curves, curves[::-1]):
        trust = Trust(OBJECTIVES)
        for curve in order:
            trust.look(curve)
        found.append((trust.tau, [curve.number for curve in trust.pairs]))
    assert found[0] == found[1]


@pytest.mark.parametrize(("sign", "goes_on"), [(1, 4), (-1, 12)])
def test_more_looks_are_trained_where_they_say_less(sign: int, goes_on: int) -> None:
    """Eight trainings in the order of their looks, or in the opposite one; then four looks wait. All 12 count."""
    trained = [looked(n, (0.1 + n / 20, 0.3), (0.5 + sign * n / 20, 0.4), n) for n in range(8)]
    waiting = [looked(n, (0.01 * n, 0.1), None, n) for n in range(8, 12)]
    policy, curves, promoted = ParetoHalving(3.0), [*trained, *waiting], 8
    while True:
        choice = policy.choose(Field(list(curves), OBJECTIVES, rungs=(0.0, 0.5, 1.0)))
        if not isinstance(choice, Resume):
            break
        curves[choice.number] = replace(curves[choice.number], state="running")
        promoted += 1
    assert promoted == max(8, goes_on)
    blind = [replace(curve, final=None, state="stopped") if curve.final else curve for curve in [*trained, *waiting]]
    assert isinstance(ParetoHalving(3.0).choose(Field(blind, OBJECTIVES, rungs=(0.0, 0.5, 1.0))), Start)


def test_a_race_takes_looks_for_the_first_rung_and_the_whole_training_for_what_is_left(sweep: Sweep) -> None:
    race = Race(sweep.space, sweep.ask)
    rng = np.random.default_rng(0)

    def params() -> dict[str, object]:
        def value(parameter: Parameter) -> object:
            wanted = parameter.distribution
            return (
                wanted.at(rng.random()) if np.isinf(wanted.count) else wanted.nth(int(rng.integers(int(wanted.count))))
            )

        return sweep.ask(value)

    curves = []
    for n in range(12):
        values = rng.uniform(0.3, 0.6, 2).tolist()
        final = [value + 0.2 for value in values] if n < 8 else None
        curves.append(replace(looked(n, values, final, n), params=params()))
    curves.append(replace(looked(12, (0.99, 0.99), None, 12), params=params()))
    rows = race._read(Field(curves, OBJECTIVES, rungs=(0.0, 0.5, 1.0)))
    assert rows.share[-1] == 0
    assert rows.seconds[-1] == pytest.approx(20.0), "a twentieth was a second"
    assert rows.seconds[0] == pytest.approx(12.0), "by the training itself, as soon as it is timed"
    assert np.isnan(rows.values[:8, :2]).sum() == 0


# The machinery.


def test_looks_come_first_and_trainings_begin_from_scratch(sweep: Sweep, tmp_path: Path) -> None:
    trials = searched(sweep, tmp_path, ParetoHalving(2.0))
    assert {trial.outcome for trial in trials} == {"complete", "stopped"}
    paid = Fraction(0)
    for trial in trials:
        look, *rungs = trial.rungs
        assert (look.index, look.epoch, look.come) == (0, 3, 0)
        assert look.look == trial.looked
        assert 0 < trial.looked < 0.1
        assert [(rung.index, rung.epoch, rung.look) for rung in rungs] == [(1, 6, None), (2, 12, None)][: len(rungs)]
        if trial.looked_only:
            assert (trial.outcome, trial.metrics, trial.epoch) == ("stopped", {}, 0), (
                "a look is no measure of a training"
            )
        paid += Fraction(str(trial.looked)) + Fraction(trial.paid, EPOCHS)
    assert any(trial.looked_only for trial in trials)
    assert sweep.trials <= paid <= sweep.trials + Fraction(1, 2)
    with Record(tmp_path, sweep.objectives) as opened:
        assert Progress(sweep, opened).spent == paid


@pytest.mark.parametrize("name", ["oldest", "race", "pareto_halving"])
def test_a_kill_at_any_write_changes_no_decision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    sweep = small_sweep(tmp_path, "search.trials=2", text=LOOKED)

    def policy() -> Policy:
        if name == "race":
            return Race(sweep.space, sweep.ask)
        return ParetoHalving(2.0) if name == "pareto_halving" else Oldest(2, 2)

    undisturbed = untimed(searched(sweep, tmp_path / "undisturbed", policy()))
    writes = len((tmp_path / "undisturbed" / record.JOURNAL).read_text().splitlines())
    for number in range(4, writes + 1, 12 if name == "race" else 7):
        folder = tmp_path / f"{number}"
        with monkeypatch.context() as patch:
            Kills(patch, number, after=bool(number % 2))
            with contextlib.suppress(Killed):
                searched(sweep, folder, policy())
        assert untimed(searched(sweep, folder, policy())) == undisturbed, number


@settings(max_examples=3, deadline=None)
@given(slots=st.integers(1, 4), keep=st.none() | st.integers(1, 4), diverging=st.sampled_from([0.0, 0.4]))
def test_the_field_that_is_kept_is_the_one_that_the_record_says(
    sweep: Sweep, slots: int, keep: int | None, diverging: float
) -> None:
    class Watched(Oldest):
        def choose(self, field: Field) -> Choice:
            anew, kept = Progress(sweep, controller[0].record), controller[0].pausing
            assert kept is not None
            assert anew.field() == field
            for name in ("spent", "dry", "complete", "paused", "running", "_finished_at"):
                assert getattr(anew, name) == getattr(kept.progress, name), name
            return super().choose(field)

    controller: list[Controller] = []
    with tempfile.TemporaryDirectory() as folder, Record(Path(folder), sweep.objectives) as opened:
        controller.append(Controller(sweep, opened, Watched(3, keep), lambda event: None, session="one"))
        place = Simulated(lambda job: answers(job, diverging=diverging), slots)
        assert not place.run(controller[0])
        failed = [trial for trial in opened.trials() if trial.outcome == "diverged" and not trial.rungs]
        assert all(str(trial.cause).startswith("in the look at it: ") and trial.epoch == 0 for trial in failed)
        assert all(trial.looked > 0 for trial in failed), "a look that diverged is paid for"


def test_replicates_are_not_looked_at(tmp_path: Path) -> None:
    asked = small_sweep(tmp_path, "search.replicates=2", "search.trials=8", text=LOOKED)
    trials = searched(asked, tmp_path / "small", ToTheEnd())
    replicates = [trial for trial in trials if trial.origin == "replicate"]
    assert replicates
    for trial in replicates:
        assert trial.looked == 0
        assert all(rung.look is None for rung in trial.rungs)
    with Record(tmp_path / "small", asked.objectives) as opened:
        curves = {curve.number: curve for curve in Progress(asked, opened).field().curves}
    done = next(curves[trial.number] for trial in replicates if trial.outcome == "complete")
    assert [rung.index for rung in done.rungs] == [1, 2], "nothing stands for a look that was not taken"
    assert done.look is None


def test_looks_of_a_real_sweep(tmp_path: Path) -> None:
    sweep, folder = small_sweep(tmp_path, text=QUICK), tmp_path / "small"
    lines: list[str] = []
    assert driver.run(sweep, folder, "local", write=lines.append)
    trials = record.read(folder).trials
    assert any("after a look of 2 epochs: clean" in line for line in lines)
    assert "after a look at 30 % of images, 2 epochs, 1 cheap step" in lines[0]
    for trial in trials:
        look = folder / "trials" / f"{trial.number:04d}" / "look"
        assert (look / "metrics.csv").read_text().count("\n") == 3
        assert not list(look.glob("*.pt")), "nobody goes on from a look"
        begun = (look.parent / "metrics.csv").exists()
        assert begun is not trial.looked_only
    whole = next(trial for trial in trials if trial.outcome == "complete")
    assert (folder / "trials" / f"{whole.number:04d}" / "metrics.csv").read_text().count("\n") == 4


@pytest.mark.faults
def test_a_driver_killed_inside_a_look_goes_on_with_it(tmp_path: Path) -> None:
    text = QUICK.replace("epochs: 2", "epochs: 10").replace("epochs: 3,", "epochs: 12,").replace("[1]", "[6]")
    assert run_quietly(small_sweep(tmp_path / "undisturbed", text=text), tmp_path / "undisturbed" / "small")
    small_sweep(tmp_path, text=text)
    folder, killed = tmp_path / "small", 0
    for number in range(3):
        with driver_process(tmp_path / "small.yaml", folder) as process:
            while process.is_alive() and not (folder / "trials" / f"{number:04d}" / "look" / "last.pt").exists():
                process.join(0.01)
            killed += process.is_alive()
    assert killed, "each look has ten epochs"
    assert run_quietly(small_sweep(tmp_path, text=text), folder)
    assert facts(folder) == facts(tmp_path / "undisturbed" / "small")
