"""The view of a running sweep, drawn without a terminal, and the numbers in it."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from sweeps.events import AttackDone, JobBegun, JobEnded, JobHeard
from sweeps.frontier import dominates
from sweeps.record import Judged, Members, Outcome, Rung, Sent, Skipped, Snapshot, TrialRecord
from sweeps.record.points import PLANNED, name_of
from sweeps.running.nodes import JobResumed, JobReturned
from sweeps.running.queues import End, Job
from sweeps.space import Sweep
from sweeps.space.searching import Search
from sweeps.view.activity import Activity
from sweeps.view.chart import ASCII, MARKS, Member, chart
from sweeps.view.live import Frame, Mood
from sweeps.view.outlook import Countdown, Outlook
from sweeps.view.overview import Overview, Points
from sweeps.view.tally import Tally
from sweeps.view.watch import Watch
from tests.sweeps.small import SPACE, small_sweep

ACCURACIES = ("clean_accuracy", "robust_accuracy")
TWO = {"clean_accuracy": "max", "robust_accuracy": "max"}
THREE = {**TWO, "cost_device_hours": "min"}
IMAGES = 400


class Time:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Scene:
    """A sweep at some moment, put together by hand."""

    sweep: Sweep
    trials: list[TrialRecord] = field(default_factory=list)
    judged: dict[tuple[int, str], Judged] = field(default_factory=dict)
    skipped: dict[int, Skipped] = field(default_factory=dict)
    unjudged: dict[tuple[int, str], str] = field(default_factory=dict)
    members: list[Members] = field(default_factory=list)
    time: Time = field(default_factory=Time)
    slots: int = 2
    dashboard: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.activity = Activity(self.time)

    @property
    def snapshot(self) -> Snapshot:
        return Snapshot(
            dict(self.sweep.objectives),
            tuple(self.trials),
            dict(self.judged),
            dict(self.skipped),
            dict(self.unjudged),
            tuple(self.members),
            {"shard_size": 200} | self.settings,
        )

    @property
    def tally(self) -> Tally:
        """From scratch."""
        tally = Tally(self.sweep)
        tally.update(self.snapshot, self.activity)
        return tally

    @property
    def overview(self) -> Overview:
        return Overview.of(self.tally, self.activity)

    @property
    def outlook(self) -> Outlook:
        return Outlook.of(self.tally, self.activity, self.overview, self.slots)

    def frame(self, mood: Mood = "at work") -> Frame:
        watch = Watch(self.sweep, Path("results/small"), lambda: self.snapshot, self.activity, lambda: 3723.0)
        watch.where, watch.slots, watch.dashboard = f"{self.slots} at a time on Ray", self.slots, self.dashboard
        return watch.frame(mood)

    def complete(self, number: int, clean: float, robust: float, **more: Any) -> None:
        metrics = {
            "clean_accuracy": clean,
            "robust_accuracy": robust,
            "cost_seconds": 30.0,
            "cost_device_hours": 30 / 3600,
        }
        params = {"defense.trades.beta": 0.5 + number, "schedule.lr": 0.1}
        self.trials.append(TrialRecord(number, params, "complete", metrics, epoch=30, **more))

    def judge(self, number: int, clean: float, robust: float, split: str = "validation", *flags: str) -> None:
        judged = Judged(IMAGES, clean * IMAGES, robust * IMAGES, "standard", True, "folder", 40.0, flags)
        self.judged[number, split] = judged

    def train(self, number: int, epoch: int = 0, epochs: int = 30, **more: Any) -> Job:
        """A trial in training, with a report where it is through an epoch; a second an epoch, 900 images each."""
        self.trials.append(TrialRecord(number, {"schedule.lr": 0.2}, None))
        job = Job(f"trial {number:04d}", number, {"kind": "train"})
        self.activity(JobBegun(job))
        for done in range(1, epoch + 1):
            self.time.now += 1.0
            told = {"epoch": done, "epochs": epochs, "cost_seconds": float(done), "images": 900 * done, "loss": 1.5}
            self.activity(JobHeard(job, {**told, **more}))
        return job

    def attack(self, number: int, attack: str, shard: int, split: str = "validation") -> Job:
        work = {"kind": "judge", "attack": attack, "shard": shard, "split": split}
        job = Job(f"judge {number:04d} {split} {attack} {shard}", number, work)
        self.activity(JobBegun(job))
        return job


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return small_sweep(tmp_path_factory.mktemp("space"), "search.trials=12")


@pytest.fixture
def busy(sweep: Sweep) -> Scene:
    """A bit of everything."""
    scene = Scene(sweep, dashboard="http://127.0.0.1:8265")
    for number, (clean, robust) in enumerate([(0.975, 0.40), (0.93, 0.62), (0.90, 0.60), (0.88, 0.71)]):
        scene.complete(number, clean, robust)
    scene.trials.append(TrialRecord(4, {}, "diverged", cause="the loss of epoch 3 is nan"))
    scene.trials.append(TrialRecord(5, {}, "out_of_memory"))
    scene.trials.append(TrialRecord(6, {}, "stopped", {"cost_seconds": 5.0}, epoch=5))
    scene.trials.append(TrialRecord(7, {}, "failed"))
    scene.judge(0, 0.975, 0.36)
    scene.judge(1, 0.93, 0.60)
    scene.skipped[2] = Skipped(1, "apgd-t", 230, 360, IMAGES)
    scene.train(8, 12, clean_accuracy=0.912, robust_accuracy=0.551)
    scene.attack(3, "fab-t", 1)
    scene.activity(AttackDone(3, "validation", "apgd-t", 276, IMAGES))
    scene.activity.line("16:41:00  trial 0003 complete")
    return scene


def drawn(frame: Frame, width: int, height: int, encoding: str = "utf-8") -> list[str]:
    """The lines of a frame, without colours."""
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="replace")
    console = Console(file=out, width=width, height=height + 1, force_terminal=True, color_system=None, highlight=False)
    options = console.options.update(height=height)
    return ["".join(part.text for part in line) for line in console.render_lines(frame, options, pad=False)]


@pytest.mark.parametrize(("width", "height"), [(80, 23), (120, 40), (200, 49)])
def test_a_frame_shows_what_a_user_asks_for(busy: Scene, width: int, height: int) -> None:
    lines = drawn(busy.frame(), width, height)
    said = "\n".join(lines)
    assert len(lines) == height
    assert max(map(cell_len, lines)) <= width
    for words in (
        "small", "2 at a time on Ray", "running for 0:12", "stops in 1:02:03",
        "8 of 12 ended", "1 running", "3 waiting", "4 complete", "1 stopped", "1 diverged", "1 failed", "1 out of memory",
        "2 in full", "1 skipped with proof", "of device time", "900 images/s", "about",
        "0008  ", "epoch 12/30", "clean 91.2  robust 55.1", "lr 0.2",
        "0003  fab-t on shard 2 of 2 of validation", "276 of 400 stand after apgd-t",
        "2 judged ●", "1 by cheap attack ○", "robust % over clean %", "beta 3.5", "69.0", "97.5", "36.0",
        "16:41:00  trial 0003 complete", "events.log", "output.log", "trials/*/log.txt", "in results/small",
        "Ctrl-C", "the same command goes on", "http://127.0.0.1:8265",
    ):  # fmt: skip
        assert words in said, words
    body = said.split("frontier so far")[1].split("\n", 1)[1].split("events")[0]
    assert (body.count("●"), body.count("○")) == (2 + 2, 1 + 1), "each member on the chart and in the table"
    assert "0002" not in body, "it is proven dominated"


def test_on_the_smallest_terminal_a_crowd_of_numbers_leaves_room_for_the_frontier(busy: Scene) -> None:
    busy.slots, busy.sweep = 64, busy.sweep.model_copy(update={"search": Search(trials=10**9)})
    for number in range(9, 60):
        busy.train(number)
    busy.complete(60, 0.5, 0.4, feasible=False)
    busy.unjudged[3, "validation"] = "cause"
    busy.judge(1, 0.93, 0.60, "validation", "randomised")
    busy.members.append(Members(1, [0, 1], [], "now"))
    lines = drawn(busy.frame(), 80, 23)
    said = "\n".join(lines)
    assert len(lines) == 23
    for words in ("0008  ", "and 52 more", "frontier so far", "robust % over clean %", "events", "Ctrl-C"):
        assert words in said, words


def test_the_frame_that_stays_says_nothing_of_what_is_over(busy: Scene) -> None:
    over, stopping = ("\n".join(drawn(busy.frame(mood), 100, 30)) for mood in ("over", "stopping"))
    assert "ran for 0:12" in over
    for words in ("at work", "Ctrl-C", "8265", "epoch 12/30"):
        assert words not in over
    assert "stopping; every step is kept" in stopping
    assert "epoch 12/30" in stopping


def test_a_frame_on_a_terminal_without_unicode_is_ascii(busy: Scene) -> None:
    for width in (80, 200):
        said = "\n".join(drawn(busy.frame(), width, 30, "ascii"))
        assert said.isascii()
        assert "2 judged #" in said
        assert "robust % over clean %" in said


def test_names_and_causes_of_others_cannot_draw(busy: Scene) -> None:
    busy.activity.line("cause: \x1b[2J\x1b[31mred\r\n\tlines")
    busy.trials[0] = replace(busy.trials[0], params={"defense.trades.beta": "\x1b]0;title\x07"})
    said = "".join(drawn(busy.frame(), 200, 40))
    assert said.isprintable()
    assert "red" in said


number = st.one_of(st.floats(0, 1), st.floats(-1e300, 1e300), st.sampled_from([1e300, -1e300, 1e-308]))
outcomes: st.SearchStrategy[Outcome | None] = st.sampled_from(
    [None, "complete", "complete", "stopped", "diverged", "failed", "out_of_memory"]
)


@st.composite
def scenes(draw: st.DrawFn, sweep: Sweep, objectives: Mapping[str, str]) -> Scene:
    """Anything a record and an activity can hold, sensible or not."""
    search = sweep.search.model_copy(update={"trials": draw(st.sampled_from([1, 5, 12, 10**9]))})
    judge = sweep.judge.model_copy(update={"trials": draw(st.sampled_from(["frontier", "all", "none"]))})
    scene = Scene(sweep.model_copy(update={"objectives": objectives, "search": search, "judge": judge}))
    scene.slots = draw(st.sampled_from([1, 2, 64, 10_000]))
    for at in range(draw(st.integers(0, 12))):
        names = draw(st.lists(st.sampled_from([*THREE, "cost_seconds", "cost_passes"]), unique=True))
        if draw(st.booleans()):
            names = list(THREE)
        metrics = {name: draw(number) for name in names}
        text = draw(st.text(max_size=30))
        trial = TrialRecord(
            at,
            {text: draw(st.one_of(number, st.text(max_size=200)))},
            draw(outcomes),
            metrics,
            epoch=draw(st.integers(0, 10**6)),
            feasible=draw(st.booleans()),
            replicate_of=draw(st.sampled_from([None, None, 0])) if at else None,
        )
        scene.trials.append(trial)
        state = draw(st.sampled_from(["", "judged", "tested", "flagged", "skipped", "unjudged", "attacked"]))
        if state in ("judged", "tested", "flagged"):
            scene.judge(
                at, draw(st.floats(0, 1)), draw(st.floats(0, 1)), "validation", *(["randomised"] * (state == "flagged"))
            )
        if state == "tested":
            scene.judge(at, draw(st.floats(0, 1)), draw(st.floats(0, 1)), "test")
        if state == "skipped":
            scene.skipped[at] = Skipped(0, draw(st.sampled_from(["", "apgd-t"])), draw(st.integers(0, 400)), 400, 400)
        if state == "unjudged":
            scene.unjudged[at, "validation"] = "cause"
        if state == "attacked":
            scene.attack(at, "square", draw(st.integers(0, 10**6)), draw(st.sampled_from(["validation", "test"])))
            standing, images = draw(st.integers(0, 400)), draw(st.sampled_from([0, 400]))
            scene.activity(AttackDone(at, "validation", "clean", standing, images))
        if trial.outcome is None and draw(st.booleans()):
            job = Job(f"trial {at:04d}", at, {"kind": draw(st.sampled_from(["train", "probe"]))})
            scene.activity(JobBegun(job))
            told = {"epoch": draw(st.integers(0, 10**9)), "epochs": draw(st.integers(0, 10**9)), "loss": draw(number)}
            more = {name: draw(number) for name in (*ACCURACIES, "cost_seconds", "images")}
            scene.activity(JobHeard(job, {**told, **more}))
    if draw(st.booleans()):
        scene.members.append(Members(1, draw(st.lists(st.integers(0, 12), unique=True)), [], "now"))
    for line in draw(st.lists(st.text(max_size=300), max_size=60)):
        scene.activity.line(line)
    return scene


@pytest.mark.parametrize("objectives", [TWO, THREE, {"cost_passes": "min"}], ids=["two", "three", "cost alone"])
@given(data=st.data())
def test_no_state_breaks_a_frame_or_its_lines(sweep: Sweep, objectives: Mapping[str, str], data: st.DataObject) -> None:
    scene = data.draw(scenes(sweep, objectives))
    width = data.draw(st.one_of(st.sampled_from([80, 200]), st.integers(1, 300)))
    height = data.draw(st.one_of(st.sampled_from([23, 49]), st.integers(1, 90)))
    mood: Mood = data.draw(st.sampled_from(["at work", "stopping", "over"]))
    lines = drawn(scene.frame(mood), width, height, data.draw(st.sampled_from(["utf-8", "ascii"])))
    assert len(lines) <= height
    assert max(map(cell_len, lines)) <= width
    if (width, height) in ((80, 23), (200, 49)) and mood == "at work":
        said = "\n".join(lines)
        for words in ("ended", "at work", "frontier so far", "events", "logs", "Ctrl-C"):
            assert words in said


# Numbers.


@given(data=st.data(), seed=st.integers(0, 1000))
def test_the_frontier_so_far_is_what_definitions_say(sweep: Sweep, data: st.DataObject, seed: int) -> None:
    """Of judged trials those no judged one dominates; of others those that nothing dominates. In any order of trials."""
    accuracy = st.integers(0, 4).map(lambda value: value / 4)
    scene = Scene(sweep)
    known, judged = {}, set()
    for at in range(data.draw(st.integers(0, 8))):
        known[at] = dict(zip(ACCURACIES, (data.draw(accuracy), data.draw(accuracy)), strict=True))
        state = data.draw(st.sampled_from(["judged", "cheap", "flagged", "skipped", "infeasible"]))
        scene.complete(at, *known[at].values(), feasible=state != "infeasible")
        if state in ("judged", "flagged"):
            known[at] = dict(zip(ACCURACIES, (data.draw(accuracy), data.draw(accuracy)), strict=True))
            clean, robust = known[at].values()
            scene.judge(at, clean, robust, "validation", *(["randomised"] * (state == "flagged")))
        if state == "skipped":
            scene.skipped[at] = Skipped(0, "apgd-t", 1, 1, IMAGES)
        if state == "judged":
            judged.add(at)
        elif state != "cheap":
            del known[at]
    expected = {
        at
        for at, values in known.items()
        if not any(dominates(known[other], values, TWO) for other in (judged if at in judged else known))
    }
    random.Random(seed).shuffle(scene.trials)
    front = scene.overview.frontier
    assert {place.numbers[0] for place in front} == expected
    assert {place.numbers[0] for place in front if place.judged} == expected & judged
    assert [place.values["clean_accuracy"] for place in front] == sorted(
        (known[at]["clean_accuracy"] for at in expected), reverse=True
    )


@pytest.mark.parametrize("objectives", [TWO, THREE], ids=["two", "three"])
@given(data=st.data())
def test_what_is_kept_from_frame_to_frame_is_what_a_first_look_finds(
    sweep: Sweep, objectives: Mapping[str, str], data: st.DataObject
) -> None:
    """Trials come, end, are judged, flagged, skipped, and skips are withdrawn, in any order and between any two frames."""
    scene = Scene(sweep.model_copy(update={"objectives": objectives}))
    kept, accuracy = Tally(scene.sweep), st.integers(0, 4).map(lambda value: value / 4)
    for _ in range(data.draw(st.integers(1, 25))):
        news = data.draw(
            st.sampled_from(["trial", "end", "judge", "test", "skip", "withdraw", "fail", "attack", "shard"])
        )
        numbers = range(len(scene.trials))
        if news == "trial":
            first = data.draw(st.sampled_from([None, *(t.number for t in scene.trials if t.replicate_of is None)]))
            scene.trials.append(TrialRecord(len(numbers), {}, None, replicate_of=first))
        if not numbers:
            continue
        at = data.draw(st.sampled_from(numbers))
        if news == "end":
            metrics = {name: data.draw(accuracy) for name in (*ACCURACIES, "cost_device_hours", "cost_seconds")}
            feasible, epoch = data.draw(st.booleans()), data.draw(st.integers(0, 9))
            scene.trials[at] = replace(
                scene.trials[at], outcome=data.draw(outcomes), metrics=metrics, feasible=feasible, epoch=epoch
            )
        if news in ("judge", "test"):
            split = "test" if news == "test" else "validation"
            scene.judge(
                at, data.draw(accuracy), data.draw(accuracy), split, *data.draw(st.sampled_from([(), ("flag",)]))
            )
        if news == "skip":
            scene.skipped[at] = Skipped(0, data.draw(st.sampled_from(["", "apgd-t"])), 100, 300, IMAGES)
        if news == "withdraw":
            scene.skipped.pop(at, None)
        if news == "fail":
            scene.unjudged[at, "validation"] = "cause"
        if news == "attack":
            scene.activity(AttackDone(at, "validation", "square", data.draw(st.integers(0, IMAGES)), IMAGES))
        if news == "shard":
            shard = scene.attack(at, "square", 0, data.draw(st.sampled_from(["validation", "test"])))
            scene.activity(JobEnded(shard, End("complete", result={"seconds": 1.5})))
        if data.draw(st.booleans()):
            kept.update(scene.snapshot, scene.activity)
    kept.update(scene.snapshot, scene.activity)
    overview = Overview.of(kept, scene.activity)
    assert overview == scene.overview
    np.testing.assert_array_equal(overview.others, scene.overview.others)
    assert Outlook.of(kept, scene.activity, overview, 2) == scene.outlook


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8))
def test_the_hypervolume_is_the_area_under_the_staircase(sweep: Sweep, points: list[tuple[float, float]]) -> None:
    scene = Scene(sweep)
    for at, (clean, robust) in enumerate(points):
        scene.complete(at, clean, robust)
    area, below = 0.0, 0.0
    for clean, robust in sorted(points, reverse=True):  # strips from the right, each as wide as its point
        area += clean * max(0.0, robust - below)
        below = max(below, robust)
    assert scene.overview.volume == pytest.approx(area, abs=1e-12)


def test_a_trial_whose_node_is_lost_waits_until_it_goes_on(sweep: Sweep) -> None:
    scene = Scene(sweep)
    job = scene.train(0, epoch=2)
    scene.train(1, epoch=2)
    waiting = scene.overview.waiting
    scene.activity(JobReturned(job, "its node was lost"))
    assert (scene.overview.training, scene.overview.waiting) == (1, waiting + 1)
    scene.activity(JobResumed(job))
    assert (scene.overview.training, scene.overview.waiting) == (2, waiting)


def test_the_first_line_says_how_many_nodes_are_lost(sweep: Sweep) -> None:
    watch = Watch(sweep, Path("results/small"), lambda: Scene(sweep).snapshot, Scene(sweep).activity)
    watch.where, watch.slots, watch.lost = "4 at a time on Ray", 2, 1
    assert "4 at a time on Ray; 1 lost, now 2 at a time" in drawn(watch.frame("at work"), 120, 40)[0]


def test_replicates_stand_where_their_mean_stands(sweep: Sweep) -> None:
    scene = Scene(sweep)
    scene.complete(0, 0.9, 0.5)
    scene.complete(1, 0.8, 0.7, replicate_of=0)
    (place,) = scene.overview.frontier
    assert place.numbers == (0, 1)
    assert place.values["clean_accuracy"] == pytest.approx(0.85)
    assert place.values["robust_accuracy"] == pytest.approx(0.6)
    assert "0000x2" in "\n".join(drawn(scene.frame(), 120, 40))


def test_a_judgement_in_progress_lowers_the_cheap_number(sweep: Sweep) -> None:
    scene = Scene(sweep)
    scene.complete(0, 0.9, 0.5)
    scene.activity(AttackDone(0, "validation", "apgd-ce", 160, IMAGES))
    assert scene.overview.frontier[0].values["robust_accuracy"] == pytest.approx(0.4)
    scene.activity(AttackDone(0, "validation", "clean", 360, IMAGES))
    assert scene.overview.frontier[0].values["robust_accuracy"] == pytest.approx(0.5), "a looser bound is no news"


def test_the_speed_of_training_is_images_by_seconds_of_all_trials_at_work(sweep: Sweep) -> None:
    scene = Scene(sweep)
    assert scene.overview.images_per_second is None
    first = scene.train(0, 3)
    scene.train(1, 2)
    assert scene.overview.images_per_second == pytest.approx(2 * 900)
    scene.activity(JobEnded(first, End("complete", result={"epoch": 4, "cost_seconds": 4.0, "images": 3600})))
    assert scene.overview.images_per_second == pytest.approx(900)


def test_time_left_in_a_regular_world_is_exact(sweep: Sweep) -> None:
    """Trials of 30 epochs of a second; 40 s of judging each, 12 of them; test has 80 images, a judgement 400."""
    scene = Scene(sweep)
    assert (scene.outlook.training, scene.outlook.seconds) == (None, None), "nothing to go by"
    scene.train(0, 10)
    scene.train(1, 20)
    scene.time.now += 0.5  # since trial 1 was heard of; trial 0 was 20 s ago, and its next epochs are long due
    assert scene.outlook.training == pytest.approx(max(0, 20 - 20.5) + (10 - 0.5) + 10 * 30)
    assert scene.outlook.judging is None
    assert scene.outlook.seconds == pytest.approx((9.5 + 300) / 2)
    for run in list(scene.activity.runs.values()):
        scene.activity(JobEnded(run.job, End("complete")))
    scene.trials.clear()
    for at in range(6):
        scene.complete(at, 0.9 - at / 100, 0.5 + at / 100)
    scene.judge(0, 0.9, 0.5)
    scene.judge(1, 0.89, 0.51)
    assert scene.outlook.training == pytest.approx(6 * 30)
    assert scene.outlook.judging == pytest.approx(10 * 40)
    assert scene.outlook.test == pytest.approx(6 * 80 / 400 * 40), "six on the frontier so far"
    assert scene.outlook.seconds == pytest.approx((180 + 400 + 48) / 2)
    shard = scene.attack(2, "apgd-ce", 0)
    scene.activity(JobEnded(shard, End("complete", result={"seconds": 15.0})))
    assert scene.outlook.judging == pytest.approx(10 * 40 - 15)


def test_paused_trials_are_neither_running_nor_stopped_and_the_budget_is_of_trainings(tmp_path: Path) -> None:
    """Trials of 30 epochs of a second, which are compared after 6 and 15 of them."""
    text = SPACE.replace("epochs: 3", "epochs: 30") + "stopping: {name: pareto_halving, rungs: [6, 15]}\n"
    scene = Scene(small_sweep(tmp_path, "search.trials=4", "judge.trials=none", text=text))
    assert (scene.overview.spent, scene.overview.waiting) == (0.0, 0)
    for number in range(3):
        rung = Rung(0, 6, number, {"clean_accuracy": 0.5, "robust_accuracy": 0.2}, 6.0)
        scene.trials.append(TrialRecord(number, {}, None, rungs=(rung,), sent=Sent(0, 6, 30, number)))
    seen = scene.overview
    assert (seen.paused, seen.training, seen.waiting, seen.outcomes) == (3, 0, 0, {})
    assert seen.spent == pytest.approx(3 * 6 / 30)
    assert seen.device_seconds == 18.0
    assert scene.outlook.training == pytest.approx((4 - 0.6) * 30)
    scene.trials[0] = replace(scene.trials[0], sent=Sent(1, 15, 30, 3))
    job = Job("trial 0000", 0, {"kind": "train", "until": 15})
    scene.activity(JobBegun(job))
    scene.activity(JobHeard(job, {"epoch": 7, "epochs": 30, "cost_seconds": 7.0}))
    seen = scene.overview
    assert (seen.paused, seen.training, seen.device_seconds) == (2, 1, 19.0)
    assert seen.spent == pytest.approx((15 + 6 + 6) / 30), "one at work counts as far as it was sent"
    assert scene.outlook.training == pytest.approx((15 - 7) + (4 - 0.9) * 30)
    scene.activity(JobEnded(job, End("paused")))
    scene.trials[1] = replace(
        scene.trials[1], outcome="stopped", epoch=6, metrics=dict(scene.trials[1].rungs[0].metrics)
    )
    text = "\n".join(drawn(scene.frame(), 120, 40))
    assert "0.9 of 4 trainings spent" in text
    assert "1 paused" in text
    assert "1 stopped" in text
    assert "waiting" not in text.partition("judging")[0]


def test_test_of_unknown_size_is_not_guessed(sweep: Sweep) -> None:
    images = sweep.judge.images.model_copy(update={"test": "all"})
    scene = Scene(sweep.model_copy(update={"judge": sweep.judge.model_copy(update={"images": images})}))
    for at in range(12):
        scene.complete(at, 0.9, 0.5)
        scene.judge(at, 0.9, 0.5)
    assert (scene.outlook.judging, scene.outlook.test) == (0.0, None)
    assert "then test" in "\n".join(drawn(scene.frame(), 80, 23))
    scene.activity(AttackDone(0, "test", "clean", 900, 1000))
    assert scene.outlook.test == pytest.approx(12 * 1000 / 400 * 40)
    for at in range(12):
        scene.judge(at, 0.9, 0.5, "test")
    assert scene.outlook == Outlook(0.0, 0.0, 0.0, 0.0)
    assert "done" in "\n".join(drawn(scene.frame(), 80, 23))


def test_points_are_counted_apart_and_waited_for(tmp_path: Path) -> None:
    request = "[{name: smoothing, parents: [cleanest, most_robust], alpha: [0.6, 0.7, 0.8]}]"
    scene = Scene(small_sweep(tmp_path, "search.trials=2", f"derive={request}"))
    for at in range(2):
        scene.complete(at, 0.9 - at / 10, 0.5 + at / 10)
        scene.judge(at, 0.9 - at / 10, 0.5 + at / 10)
    assert scene.outlook.deriving is None, "nothing is planned yet"
    assert "then derived points" in "\n".join(drawn(scene.frame(), 100, 23))
    name = name_of(scene.sweep.derive[0].model_dump(mode="json"))
    scene.settings = {PLANNED + name: [{}] * 3}
    cost = {"clean_accuracy": 0.8, "robust_accuracy": 0.5, "cost_seconds": 30 + 30 + 4.0}
    for number, outcome in ((2, "complete"), (3, None), (4, None)):
        params = {"derived": "smoothing", "derived.alpha": 0.6}
        metrics = cost if outcome else {}
        point = TrialRecord(number, params, outcome, metrics, origin="derived", parents=(0, 1), request=name)  # type: ignore[arg-type]
        scene.trials.append(point)
    scene.skipped[2] = Skipped(1, "apgd-ce", 100, 300, 400)
    scene.activity(JobBegun(Job("point 0003", 3, {"kind": "derive"})))
    scene.time.now += 1
    assert (scene.overview.wanted, scene.overview.outcomes, scene.overview.waiting) == (2, {"complete": 2}, 0)
    assert scene.overview.points == Points(3, 1, 0, 1, False)
    assert scene.outlook.training == 0
    assert scene.outlook.deriving == pytest.approx(4 + 3)
    assert scene.overview.device_seconds == pytest.approx(30 + 30 + 4 + 2 * 40), "no parent is trained twice"
    frame = "\n".join(drawn(scene.frame(), 120, 30))
    assert "deriving 2 of 3" in frame
    assert "2 of 2 ended" in frame
    assert "alpha 0.6" in frame
    assert name not in frame
    assert "how many images fit" not in frame


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1e6)), min_size=1, max_size=30))
def test_a_countdown_never_jumps(guesses: list[tuple[float, float]]) -> None:
    """Between two looks it moves by the time that passed and a tenth of the way to the new guess, no more."""
    passing = Time()
    countdown = Countdown(passing)
    before = countdown.left(_ahead(guesses[0][1]))
    assert before == pytest.approx(guesses[0][1])
    for passed, guess in guesses[1:]:
        passing.now += passed
        shown = countdown.left(_ahead(guess))
        assert shown is not None
        assert before is not None
        assert shown >= 0
        if guess > 0 and before > passed:
            assert abs(shown - (before - passed)) <= 0.1 * abs(guess - (before - passed)) + 1e-6
        before = shown
    assert countdown.left(_ahead(0.0)) == 0.0
    assert countdown.left(Outlook(None, 0.0, 0.0, None)) is None


@given(st.floats(1, 1e6), st.floats(0, 1))
def test_a_countdown_of_a_steady_end_is_a_clock(end: float, share: float) -> None:
    passing = Time()
    countdown = Countdown(passing)
    countdown.left(_ahead(end))
    passing.now = share * end
    assert countdown.left(_ahead(end - passing.now)) == pytest.approx(end - passing.now, abs=1e-6)


def test_a_countdown_begins_anew_when_more_is_known() -> None:
    countdown = Countdown(Time())
    countdown.left(Outlook(5.0, 0.0, None, 5.0))
    assert countdown.left(Outlook(5.0, 0.0, 100.0, 105.0)) == 105.0


def _ahead(seconds: float) -> Outlook:
    return Outlook(seconds, 0.0, 0.0, seconds)


# The chart.

points = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.booleans()).map(lambda p: Member(*p)), max_size=12)


@given(
    points, st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=9), st.integers(8, 120), st.integers(3, 30)
)
def test_a_chart_has_its_size_and_every_member_a_mark(
    members: list[Member], others: list[tuple[float, float]], width: int, height: int
) -> None:
    for marks in (MARKS, ASCII):
        lines = [line.plain for line in chart(members, others, width, height, marks)]
        assert len(lines) == height
        assert max(map(cell_len, lines)) <= width
        shown = [column for line in lines[: height - 2] for column in line if column in (marks.judged, marks.cheap)]
        assert bool(shown) == bool(members)
        assert len(shown) <= len(members)
        again = members[::-1]
        random.Random(0).shuffle(again)
        shuffled = [line.plain for line in chart(again, others[::-1], width, height, marks)]
        assert shuffled == lines, "the order of trials is no matter"


def _marks(lines: list[str]) -> Iterator[tuple[int, int]]:
    for row, line in enumerate(lines):
        yield from ((column, row) for column, character in enumerate(line) if character in "●○")


@given(st.permutations([(0.975, 0.36), (0.96, 0.45), (0.93, 0.60), (0.885, 0.70)]))
def test_a_chart_places_members_by_their_accuracies(frontier: list[tuple[float, float]]) -> None:
    lines = [line.plain for line in chart([Member(x, y, True) for x, y in frontier], [(0.1, 0.1)], 60, 20)]
    marks = sorted(_marks(lines))
    assert len(marks) == 4
    assert [row for _, row in marks] == sorted(row for _, row in marks), "more clean is less robust"
    assert lines[-1].split() == ["87", "robust", "%", "over", "clean", "%", "99"], "9 points and 15 % on both sides"
    left, right, low, high = 87.0, 99.0, 30.0, 76.0
    assert lines[0].startswith(" 76")
    assert lines[-3].startswith(" 30")
    for (column, row), (x, y) in zip(marks, sorted(frontier), strict=True):
        assert column - 5 == pytest.approx((100 * x - left) / (right - left) * (55 - 1), abs=1)
        assert row == pytest.approx((high - 100 * y) / (high - low) * (18 - 1), abs=1)
