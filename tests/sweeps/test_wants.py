"""What jobs take of a node besides CPUs and GPUs: read from a space, compared with nodes, and said."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustray.errors import UserError
from sweeps.running import wants
from sweeps.running.nodes import Node, Nodes
from sweeps.running.packing import Share
from sweeps.running.queues import Job, Sized
from sweeps.space import amounts
from sweeps.space.resources import Resources
from tests.sweeps.small import SPACE, small_sweep

BIG = Node("a" * 40, "big", "10.0.0.1", 8.0, 1.0, {"memory": 2.0**35, "accelerator_type:A100": 1.0, "fast": 3.0})
SMALL = Node("b" * 40, "small", "10.0.0.2", 2.0, 0.0, {"memory": 2.0**31})


@pytest.mark.parametrize(
    ("written", "meant"),
    [("4 GiB", 2**32), ("4GB", 4 * 10**9), ("1.5 gib", 3 * 2**29), ("500 MB", 5 * 10**8), ("2097152", 2**21)],
)
def test_memory_as_people_write_it(written: str, meant: int) -> None:
    assert amounts.in_bytes(written) == meant
    assert Resources.model_validate({"memory": written}).besides == {"memory": meant}


@given(st.integers(2**20, 2**50))
def test_memory_that_is_said_is_read_again(size: int) -> None:
    assert amounts.in_bytes(amounts.said(size)) == pytest.approx(size, rel=0.01)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("memory: 4 gigs", "'4 gigs' is no amount of memory; write 4 GiB"),
        ("memory: 4", "must be between 1 MiB and 1024 TiB"),
        ("memory: yes", "takes an amount of memory"),
        ("gpus: 1.5", "must be whole above 1, not 1.5"),
        ("custom: {fast: 2.5}", "must be whole above 1, not 2.5"),
        ("custom: {fast: 0}", "0 asks for nothing"),
        ("custom: {GPU: 1}", "say it as resources.gpus"),
        ("custom: {'accelerator_type:A100': 1}", "say accelerator_type: A100"),
        ("custom: {fast: -1}", "-1 asks for nothing"),
        ("accelerator_type: two words", "must be the name of one accelerator"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, wrong: str, said: str) -> None:
    text = SPACE.replace("resources: {cpus: 1}", f"resources: {{{wrong}}}")
    with pytest.raises(UserError) as caught:
        small_sweep(tmp_path, text=text)
    assert said in str(caught.value)
    assert "small.yaml" in str(caught.value)


def test_a_space_that_says_nothing_takes_nothing_besides(tmp_path: Path) -> None:
    assert small_sweep(tmp_path).resources.besides == {}


def test_what_a_job_takes_goes_to_work_of_every_kind() -> None:
    class Two:
        """Training, then a judgement."""

        left = [Job("trial 0000", 0, {"kind": "train"}), Job("judging 0000", 0, {"kind": "judge"})]

        def next(self) -> Job:
            return self.left.pop(0)

        report = finish = None

    queue = Sized(Two(), Share(1.0, 0.0, (("memory", 2.0**32),)), print)  # type: ignore[arg-type]
    for _ in range(2):
        job = queue.next()
        assert isinstance(job, Job)
        assert (job.work["cpus"], job.work["besides"]) == (1.0, {"memory": 2.0**32})


@given(st.floats(0.1, 4), st.floats(0.0, 3), st.dictionaries(st.sampled_from(["memory", "fast"]), st.floats(0.1, 4)))
def test_no_more_jobs_on_a_node_than_every_one_of_its_resources_allows(
    cpus: float, fast: float, taken: dict[str, float]
) -> None:
    share = Share(cpus, 0.0, tuple(taken.items()))
    count = share.jobs_on(8.0, 0.0, {"memory": 4.0, "fast": fast})
    has = {"memory": 4.0, "fast": fast}
    assert count * cpus <= 8.0 + 1e-6
    assert all(count * much <= has[name] + 1e-6 for name, much in taken.items())
    tight = [8.0 / cpus, *(has[name] / much for name, much in taken.items())]
    assert count + 1 > min(tight) - 1e-6, "and one more would not fit"
    assert wants.lacking(taken, has) == (Share(1e-3, 0.0, tuple(taken.items())).jobs_on(8.0, 0.0, has) < 1)


def test_nodes_of_different_size_have_slots_of_their_own() -> None:
    nodes = Nodes(lambda news: None)
    nodes.seen([BIG, SMALL])
    for besides, slots in (
        ((), 10),
        ((("memory", 2.0**31),), 9),
        ((("fast", 2.0),), 1),
        ((("accelerator_type:A100", 0.001),), 8),
    ):
        nodes.share = Share(1.0, 0.0, besides)
        assert nodes.slots == slots
    nodes.share = Share(1.0, 0.0, (("slow", 1.0),))
    assert "accelerator A100, 3 fast and 32 GiB of memory, too few for a job" in str(nodes.verdict(0.0))


def test_what_no_node_has_is_said_beside_what_there_is() -> None:
    told = wants.short({"accelerator_type:H100": 0.001, "memory": 2.0**30}, [BIG, SMALL])
    assert told.startswith(
        "accelerator H100, 1 GiB of memory; big (10.0.0.1, aaaaaaaa) has 8 CPUs, 1 GPUs, accelerator A100"
    )
    assert "small (10.0.0.2, bbbbbbbb) has 2 CPUs, 0 GPUs and 2 GiB of memory" in told
    assert "and 3 more" in wants.there([BIG] * 8)
