"""Which nodes get work, what happens to jobs whose node is gone, and when a sweep has to end: decided without Ray."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError

import robustray
from robustray.errors import UserError
from robustray.options.places import where_it_was
from robustray.trial import TrialConfig
from sweeps.running import evidence, ray_nodes, ray_scaling
from sweeps.running.evidence import NodeFault, Seen
from sweeps.running.nodes import (
    GRACE,
    LABEL,
    PATIENCE,
    STRIKES,
    JobResumed,
    JobReturned,
    JobWaits,
    Node,
    NodeAvoided,
    NodeJoined,
    NodeLeaves,
    NodeLost,
    NodeNews,
    Nodes,
    selector,
)
from sweeps.running.packing import Share
from sweeps.running.queues import Job
from sweeps.running.ray_nodes import RollCall
from sweeps.running.ray_scaling import Scaling
from sweeps.running.returned import Returned
from sweeps.running.shipping import staged
from sweeps.running.stop_file import PAUSED, StopFile, asking, heeding
from tests.sweeps.small import SPACE, small_sweep

A, B, C = (Node(letter * 40, f"host-{letter}", f"10.0.0.{number}", 2.0, 0.0) for number, letter in enumerate("abc"))
HEAD = Node("f" * 40, "head", "10.0.0.9", 0.0, 0.0)


def _nodes(*there: Node) -> tuple[Nodes, list[NodeNews]]:
    news: list[NodeNews] = []
    nodes = Nodes(news.append)
    nodes.share = Share(1.0, 0.0)
    assert nodes.seen(there) == [node for node in there if node.cpus]
    return nodes, news


def test_a_node_is_named_once_and_gets_no_work_from_then_on() -> None:
    nodes, news = _nodes(HEAD, A, B)
    assert nodes.slots == 4
    nodes.avoid(A.key, "does not see the results")
    nodes.avoid(A.key, "has no package")
    assert news == [NodeAvoided(A, "does not see the results")]
    assert (nodes.slots, nodes.shunned) == (2, (A.key,))
    assert selector(nodes.shunned) == {LABEL: f"!in({A.key})"}
    assert selector(()) == {}


def test_a_node_that_has_not_answered_gets_no_work_yet() -> None:
    nodes, _ = _nodes(A)
    assert nodes.seen([A, B]) == [B]
    nodes.unknown.add(B.key)
    assert (nodes.slots, nodes.shunned) == (2, (B.key,))
    nodes.trust(B.key)
    assert (nodes.slots, nodes.shunned) == (4, ())


def test_a_lost_node_is_said_once_with_what_is_left() -> None:
    nodes, news = _nodes(A, B)
    assert nodes.seen([A]) == nodes.seen([A]) == []
    assert news == [NodeLost(B, 2)]
    nodes.avoid(A.key, "has no package")
    nodes.seen([])
    assert news[1:] == [NodeAvoided(A, "has no package")], "one that got no work is no loss"


def test_only_starts_in_a_row_count_against_a_node() -> None:
    nodes, news = _nodes(A)
    for _ in range(3):
        for _ in range(STRIKES - 1):
            assert not nodes.strike(A.key, "no memory")
        nodes.trust(A.key)
    assert not news
    assert [nodes.strike(A.key, "no memory") for _ in range(STRIKES)] == [False] * (STRIKES - 1) + [True]
    assert news == [NodeAvoided(A, "cannot start a worker: no memory")]


def test_a_sweep_ends_at_once_where_all_are_at_fault_and_waits_a_while_for_the_lost() -> None:
    nodes, _ = _nodes(HEAD, A, B)
    nodes.avoid(A.key, "has no package")
    assert nodes.verdict(0.0) is None
    nodes.seen([HEAD, A])
    assert nodes.verdict(10.0) is None, "it may come back"
    assert nodes.verdict(10.0 + GRACE - 1) is None
    why = nodes.verdict(10.0 + GRACE)
    assert why is not None
    for part in (f"{A.name} has no package", f"{B.name} was lost", "same command again", "nothing is lost"):
        assert part in why
    nodes.seen([HEAD, A, C])
    assert nodes.verdict(99.0) is None, "another one has come"
    nodes.avoid(B.key, "has no package")
    nodes.avoid(C.key, "has no package")
    assert nodes.verdict(99.0) is not None, "nobody that was usable can come back"


def test_nodes_that_are_too_small_are_named() -> None:
    nodes, _ = _nodes(A)
    nodes.share = Share(4.0, 0.0)
    assert "2 CPUs and 0 GPUs, too few for a job" in str(nodes.verdict(0.0))


@given(
    st.lists(
        st.tuples(st.sampled_from("ABC"), st.sampled_from(["come", "go", "avoid", "strike", "trust"])), max_size=40
    )
)
def test_whatever_happens_nodes_are_either_usable_or_kept_off(happens: list[tuple[str, str]]) -> None:
    nodes, news = _nodes()
    there: dict[str, Node] = {}
    for letter, what in happens:
        node = {"A": A, "B": B, "C": C}[letter]
        if what in ("come", "go"):
            there = {**there, letter: node} if what == "come" else {k: v for k, v in there.items() if k != letter}
            nodes.seen(there.values())
        elif what == "avoid":
            nodes.avoid(node.key, "is broken")
        elif what == "strike":
            nodes.strike(node.key, "no memory")
        else:
            nodes.trust(node.key)
        usable = {node.key for node in nodes.usable}
        assert usable | set(nodes.shunned) == {node.key for node in there.values()}
        assert not usable & set(nodes.shunned)
        assert nodes.slots == 2 * len(usable)
        named = [each.node.key for each in news if isinstance(each, NodeAvoided)]
        assert len(named) == len(set(named)), "once each"
        assert not usable & set(named)


# ------------------------------------------------------------------------------------------------ jobs that come back


def _job(number: int) -> Job:
    work = {"kind": "train", "session": "s", "cpus": 1.0, "gpus": 0.0}
    return Job(f"trial {number:04d}", number, work)


def test_a_job_that_lost_its_place_keeps_its_number_and_goes_first() -> None:
    news: list[NodeNews] = []
    returned = Returned(news.append)
    a, b, c = map(_job, range(3))
    lost = returned.take(c, "its node was lost", spared=True)
    assert returned.take(b, "its process died", spared=False) == b, "its own death counts as an attempt"
    assert sorted([a.name, b.name, c.name], key=returned.rank) == [c.name, b.name, a.name]
    assert (lost.number, lost.name) == (2, "trial 0002")
    assert lost.work["session"] != "s", "attempts are counted by session: this one is none"
    again = returned.take(lost, "its node was lost", spared=True)
    assert again.work["session"] != lost.work["session"]
    assert returned.waiting
    returned.look({a.name, c.name}, [b], 0.0, lambda: "")
    assert isinstance(news[-1], JobResumed)
    assert news[-1].job.number == 2
    assert returned.waiting, "b has no place yet"
    returned.forget(b.name)
    assert not returned.waiting
    assert [type(each) for each in news] == [JobReturned, JobReturned, JobReturned, JobResumed]


def test_a_slot_that_waits_for_long_is_told_of_once() -> None:
    news: list[NodeNews] = []
    returned = Returned(news.append)
    a, b = map(_job, range(2))
    for now in range(0, 500, 10):
        returned.look(set(), [a, b] if now > 50 else [a], float(now), lambda: "nothing is free")
    assert news == [JobWaits(a, PATIENCE, 1.0, 0.0, "nothing is free")]
    returned.look({a.name, b.name}, [], 500.0, lambda: "")
    for now in range(510, 900, 10):
        returned.look({a.name}, [b], float(now), lambda: "still")
    assert news[1:] == [JobWaits(b, PATIENCE, 1.0, 0.0, "still")], "another wait is told of again"


# ------------------------------------------------------------------------------------------------- what a node shows


def _npz(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, images in (("train", 300), ("test", 80)):
        labels = np.arange(images) % 10
        np.savez(folder / f"{name}.npz", images=np.full((images, 8, 8), 7, np.uint8), labels=labels)


OWN = SPACE.replace(
    "{name: digits, validation: 400}", "{name: npz, train: data/train.npz, test: data/test.npz, validation: 80}"
)


def test_a_node_says_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _npz(tmp_path / "data")
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "sweep.yaml").write_text("created: now\n")
    asked = evidence.of(small_sweep(tmp_path, text=OWN), folder)
    monkeypatch.chdir("/")
    assert evidence.look(asked) == Seen(None), "wherever its workers start"
    assert "has version" in str(evidence.look({**asked, "version": "0"}).lacks)
    assert "other source files" in str(evidence.look({**asked, "code": "0"}).lacks)
    assert "other images" in str(evidence.look({**asked, "images": "0"}).lacks)
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    assert str(tmp_path / "data" / "train.npz") in str(evidence.look(asked).lacks)
    (tmp_path / "elsewhere").rename(tmp_path / "data")
    (folder / "sweep.yaml").write_text("created: then\n")
    assert f"sees other results in {folder}" in str(evidence.unseen(asked))
    shutil.rmtree(folder)
    lacks, hidden = evidence.look(asked)
    said = str(hidden)
    assert lacks is None, "where the results are not, it may work all the same"
    assert f"does not see the results in {folder}" in said
    assert "--results" in said
    assert not folder.exists(), "looking makes nothing"


# ------------------------------------------------------------------------------------------------------- data paths


def test_paths_are_absolute_once_a_space_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = small_sweep(tmp_path, text=OWN)
    config = sweep.trial_config({"defense": "natural", "schedule.lr": 0.1})
    for data in (sweep.judge.data, config.judge.data, TrialConfig.model_validate(config.model_dump()).judge.data):
        assert getattr(data, "train") == str(tmp_path / "data" / "train.npz")  # noqa: B009
        assert getattr(data, "test") == str(tmp_path / "data" / "test.npz")  # noqa: B009
    monkeypatch.setenv("HOME", "/somewhere")
    stored = small_sweep(tmp_path, text=SPACE.replace("{name: digits,", "{name: mnist, path: ~/mnist,"))
    assert getattr(stored.judge.data, "path") == "/somewhere/mnist"  # noqa: B009


def test_a_project_that_was_moved_is_the_same_one_until_both_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    _npz(old / "data")
    monkeypatch.chdir(old)
    before = small_sweep(old, text=OWN)
    old.rename(new)
    monkeypatch.chdir(new)
    after = small_sweep(new, text=OWN)
    assert after.difference(before.resolved()) == []
    params: dict[str, object] = {"defense": "natural", "schedule.lr": 0.1}
    then, now = before.trial_config(params), after.trial_config(params)
    assert then != now
    assert then == where_it_was(then, now)
    _npz(old / "data")
    assert len(after.difference(before.resolved())) == 2, "two files that are both there are two"
    assert then != where_it_was(then, now)


# ---------------------------------------------------------------------------------------------- whose fault it was


def _task_error(cause: Exception) -> RayTaskError:
    return RayTaskError("step", f"Traceback (most recent call last):\n{type(cause).__name__}: {cause}", cause)


def _judged(error: Exception | None, text: str = "") -> tuple[tuple[str, bool], list[NodeNews]]:
    nodes, news = _nodes(A, B)
    roll = RollCall(None, news.append)
    roll.nodes = nodes
    return roll.judge(error, text), news


def test_a_fault_of_a_node_is_none_of_its_trial() -> None:
    (why, spared), news = _judged(_task_error(NodeFault(A.key, "does not see the results")))
    assert (why, spared) == ("does not see the results", True)
    assert news == [NodeAvoided(A, "does not see the results")]


def test_what_a_job_itself_raised_counts_as_its_attempt() -> None:
    (why, spared), news = _judged(_task_error(RuntimeError("CUDA error: an illegal memory access")))
    assert (why, spared) == ("RuntimeError: CUDA error: an illegal memory access", False)
    assert not news
    assert _judged(None) == (("its process died", False), [])


def test_a_worker_that_cannot_be_started_is_no_attempt_and_not_tried_for_ever() -> None:
    roll = RollCall()
    roll.nodes.seen([A])
    for error, text in ((ActorDiedError(_task_error(ImportError("no torch"))), ""), (None, "Failed to set up runtime")):
        for _ in range(STRIKES - 1):
            why, spared = roll.judge(error, text)
            assert spared
            assert why.startswith("no worker could be started: ")
        with pytest.raises(UserError, match="workers cannot be started: "):  # where that was, nobody knows here
            roll.judge(error, text)
        roll.nodes.trust(A.key)


def test_a_node_that_does_not_answer_is_no_fault_of_its_jobs_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    roll = RollCall()
    roll.nodes.seen([A, B])
    monkeypatch.setattr(roll, "where", lambda error: A.key)
    monkeypatch.setattr(roll, "gone", lambda key, patience: key not in roll.nodes.alive)
    error = ActorUnavailableError("connection reset", b"\0" * 16)
    assert [roll.judge(error, "") for _ in range(2)] == [(f"its node {A.name} does not answer", True)] * 2
    monkeypatch.setattr(ray_nodes, "SILENCE", -1.0)
    assert roll.judge(error, "") == (f"its node {A.name} does not answer", False), (
        "it is there, so they die by themselves"
    )
    roll.nodes.seen([B])
    assert roll.judge(error, "") == (f"its node {A.name} was lost", True)


# -------------------------------------------------------------------------------------------------- nodes with notice


def test_a_node_that_was_given_notice_gets_no_more_work_and_is_not_missed() -> None:
    nodes, news = _nodes(HEAD, A, B)
    assert nodes.notice([A.key])
    assert not nodes.notice([A.key]), "told once"
    assert not nodes.notice(["z" * 40]), "nobody knows that one"
    assert (nodes.slots, nodes.shunned) == (2, (A.key,))
    nodes.seen([HEAD, B])
    assert news == [NodeLeaves(A, 2)]
    nodes.notice([B.key])
    assert nodes.verdict(0.0) is None, "another one may come, as after a loss"
    assert "is about to leave" in str(nodes.verdict(GRACE))
    nodes.arrival = 10 * GRACE
    assert nodes.verdict(9 * GRACE) is None, "who asks an autoscaler waits for what it brings"
    assert nodes.verdict(10 * GRACE) is not None


def test_a_node_that_comes_while_it_runs_is_told_of_with_its_slots() -> None:
    nodes, news = _nodes(A)
    nodes.seen([A, B])
    nodes.unknown.add(B.key)
    nodes.trust(B.key)
    nodes.trust(B.key)
    assert news == [NodeJoined(B, 4)]


def test_workers_of_a_node_that_leaves_stop_and_others_go_on(tmp_path: Path) -> None:
    class Steps:
        """A task that does a step."""

        def step(self) -> dict[str, object]:
            return {"done": False}

        def interrupt(self) -> bool:
            return False

    with StopFile(tmp_path) as stop:
        assert heeding(Steps(), asking(stop.path, A.key)) == {"done": False}
        stop.release([A.key])
        assert heeding(Steps(), asking(stop.path, A.key)) is PAUSED
        assert heeding(Steps(), asking(stop.path, B.key)) == {"done": False}
        assert heeding(Steps(), asking(stop.path)) == {"done": False}
    assert not list(tmp_path.iterdir()), "nothing is left"


def test_a_job_that_left_in_time_is_no_fault_of_it_nor_of_its_node() -> None:
    nodes, news = _nodes(A, B)
    roll = RollCall(None, news.append)
    roll.nodes = nodes
    nodes.notice([A.key])
    assert roll.judge(_task_error(NodeFault(A.key, "its node is about to leave")), "") == (
        "its node is about to leave",
        True,
    )
    assert news == [NodeLeaves(A, 2)], "it is not avoided besides"


def test_an_autoscaler_is_asked_for_what_is_left_and_told_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[dict[str, float]]] = []
    monkeypatch.setattr(ray_scaling, "request_resources", lambda bundles: asked.append(bundles))
    job = {"CPU": 1.0, "GPU": 0.0, "memory": 5.0}
    taken = {"CPU": 1.0, "memory": 5.0}
    scaling = Scaling(3)
    for left in (None, None, 7, 2, 2):
        scaling.want(job, left=left)
    scaling.over()
    scaling.over()
    assert asked == [[taken] * 3, [taken] * 2, []], "said once, and nothing of what is not wanted"
    asked.clear()
    nobody = Scaling(None)
    nobody.want(job)
    nobody.over()
    assert not asked
    assert not nobody


def test_the_code_that_is_sent_is_the_code_that_is_here(tmp_path: Path) -> None:
    staged(tmp_path, ["tests.sweeps.small", "own.py"])
    code = (
        "import robustray; from sweeps.running import evidence; import sweeps, tests.sweeps.small;"
        "print(robustray.__file__, robustray.__version__, evidence.code())"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.split() == [str(tmp_path / "robustray" / "__init__.py"), robustray.__version__, evidence.code()]
