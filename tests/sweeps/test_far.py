"""Jobs away from the results: the same bits, nothing lost that was reported, and no file that nobody asked for."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from robustray.errors import Paused
from robustray.training import checkpoints
from sweeps.running import courier as couriers
from sweeps.running import far as far_jobs
from sweeps.running import parcels
from sweeps.running.courier import Courier, Handed, Trouble
from sweeps.running.far import Unable
from sweeps.running.scratch import PREFIX, Scratch, clear
from sweeps.running.stop_file import LEAVING, NAME, StopFile
from sweeps.running.tasks.base import BLOCKED, FULL
from sweeps.running.watch import ALIVE, Watch
from sweeps.storage.pack import Pack, Unfit
from sweeps.storage.sets import Moved, look
from tests.robustray.made import trial
from tests.sweeps.far import everything_far, far, opened, scratches
from tests.sweeps.full import small_disk
from tests.sweeps.small import SPACE, facts, run_quietly, small_sweep
from tests.sweeps.test_deriving import DERIVED

LOOKS = SPACE + "stopping: {kind: race}\nfidelity: {images: 400}\n"


@pytest.mark.parametrize("text", [SPACE, DERIVED], ids=["trials", "derived points"])
def test_a_sweep_done_far_away_is_the_same_sweep(tmp_path: Path, text: str) -> None:
    near, away = tmp_path / "near" / "small", tmp_path / "away" / "small"
    assert run_quietly(small_sweep(tmp_path, text=text), near)
    away.parent.mkdir()
    with everything_far(away, tmp_path / "scratch") as kinds:
        assert run_quietly(small_sweep(tmp_path, text=text), away)
    assert facts(away) == facts(near)
    assert set(kinds) >= {"train", "probe", "judge"}
    assert ("derive" in kinds) == (text is DERIVED)
    for folder in ("trials", "judgements", "derived"):
        ours, theirs = (set(look(each, f"{folder}/")[0]) for each in (near, away))
        assert ours == theirs, "every file is where it is otherwise"
    assert not list((tmp_path / "scratch").iterdir())
    assert not list(away.glob("trials/*/.*"))


# -- one job


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A sweep's folder with a trial that has not begun."""
    folder = tmp_path / "home" / "small"
    (folder / "judgements").mkdir(parents=True)
    there = folder / "trials" / "0000"
    there.mkdir(parents=True)
    (there / "trial.yaml").write_text(
        trial(schedule={"name": "constant", "epochs": 3, "lr": 0.1}, batch={"size": 300}).to_yaml()
    )
    return folder


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[], Scratch]]:
    with scratches(tmp_path / "scratch") as made:
        yield made


def _work(home: Path, **more: Any) -> dict[str, Any]:
    shared = {"session": "s", "max_failures": 2, "cpus": 1, "gpus": 0, "patience": 600.0}
    return {"kind": "train", "folder": str(home / "trials" / "0000"), **shared, **more}


def _state(home: Path) -> dict[str, Any]:
    state, damage = checkpoints.load_last(home / "trials" / "0000")
    assert state is not None
    assert not damage
    return state


def _place(home: Path) -> tuple[int, int]:
    """Epochs and steps of the next one that the driver's checkpoint has behind it."""
    state = _state(home)
    return state["completed"], state["batch_in_epoch"]


def _weights(home: Path) -> str:
    return checkpoints.weights_hash(_state(home)["model"])


def _undisturbed(home: Path) -> str:
    """The weights of the same trial where it is trained without a break, in its own folder."""
    there = home.parents[1] / "undisturbed"
    (there / "trials" / "0000").mkdir(parents=True)
    (there / "trials" / "0000" / "trial.yaml").write_bytes((home / "trials/0000/trial.yaml").read_bytes())
    task = opened(_work(there), lambda silent: None, lambda: None)
    _to_its_end(task)
    return _weights(there)


def _to_its_end(task: Any) -> None:
    while not task.step()["done"]:
        pass


def _trained(home: Path, make: Callable[[], Scratch]) -> None:
    _to_its_end(far(_work(home), Courier(home), make()))


def test_what_was_reported_is_there_and_another_worker_goes_on(home: Path, make: Callable[[], Scratch]) -> None:
    courier = Courier(home)
    first = far(_work(home), courier, make())
    for epoch in (1, 2):
        assert first.step()["epoch"] == epoch
        assert _place(home) == (epoch, 0), "before the report is believed"
    second = far(_work(home), courier, make())  # the first one is lost, as far as anybody knows
    assert second.step()["epoch"] == 2, "said again: it may have been lost"
    report = second.step()
    assert (report["epoch"], report["done"]) == (3, True)
    late = first.step()  # it was not lost, only not heard of
    assert (late["outcome"], "another worker" in late["cause"]) == (BLOCKED, True)
    assert _weights(home) == _undisturbed(home)


def test_a_job_that_stops_in_the_middle_of_an_epoch_hands_that_back(
    home: Path, make: Callable[[], Scratch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notice gives half a minute: the checkpoint is with the driver by the time the job has stopped."""
    task, noticed = far(_work(home), Courier(home), make()), False

    def beat(self: Watch) -> None:
        if noticed:
            task.interrupt()

    with monkeypatch.context() as patch:
        patch.setattr(Watch, "beat", beat)
        task.step()
        noticed = True
        with pytest.raises(Paused):
            task.step()
    assert _place(home) == (1, 1)
    again = far(_work(home), Courier(home), make())
    _to_its_end(again)
    assert _weights(home) == _undisturbed(home)


def test_attempts_are_counted_where_the_next_worker_finds_them(
    home: Path, make: Callable[[], Scratch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial that kills its process at once has reported nothing, and is given up all the same."""
    from robustray.training import Trainer

    def dies(self: Trainer) -> None:
        raise KeyboardInterrupt

    courier = Courier(home)
    monkeypatch.setattr(Trainer, "epoch", dies)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            far(_work(home), courier, make()).step()
    report = far(_work(home), courier, make()).step()
    assert report["cause"] == "its process died 3 times in a row without writing a checkpoint"


def test_only_what_is_new_travels(home: Path, make: Callable[[], Scratch]) -> None:
    packs: list[Pack] = []
    handed: list[Pack] = []

    class Weighing(Courier):
        def store(self, name: str, token: str, work: Any, pack: Pack) -> Any:
            packs.append(pack)
            return super().store(name, token, work, pack)

        def fetch(self, name: str, token: str, work: Any, has: Any) -> Any:
            found = super().fetch(name, token, work, has)
            assert isinstance(found, Handed)
            handed.append(found.pack)
            return found

    courier, scratch = Weighing(home), make()
    _to_its_end(far(_work(home), courier, scratch))
    state = (home / "trials/0000/last.pt").stat().st_size
    epochs = [pack for pack in packs if any(item.name.endswith("last.pt") for item in pack.items)]
    assert len(epochs) == 3
    for pack in epochs[1:]:
        assert [move.to for move in pack.moves] == ["trials/0000/previous.pt"]
        assert sum(item.size for item in pack.items if item.name.endswith("last.pt")) <= 1.1 * state
        assert not any(item.name.endswith("previous.pt") for item in pack.items)
    judge = _work(home, kind="probe")
    far(judge, courier, scratch, "probe").step()
    assert not [item for item in handed[-1].items if item.name.endswith(".pt")], "this worker has them"
    far(judge, courier, make(), "another").step()
    assert [item for item in handed[-1].items if item.name.endswith("last.pt")]


def test_causes_name_the_users_own_folder(home: Path, make: Callable[[], Scratch]) -> None:
    (home / "trials/0000/trial.yaml").unlink()
    report = far(_work(home), Courier(home), make()).step()
    assert str(home / "trials/0000") in report["cause"]
    assert PREFIX not in report["cause"]


def test_files_that_somebody_tidied_up_are_not_taken_for_deleted(home: Path, make: Callable[[], Scratch]) -> None:
    _trained(home, make)
    scratch, courier = make(), Courier(home)
    before = look(home)[0]
    task = far(_work(home, kind="probe"), courier, scratch)
    task.step()
    for path in (scratch.folder / "trials/0000").glob("*.pt"):
        path.unlink()
    task.hand_back()
    assert {name: before[name] for name in before if name.endswith(".pt")} == {
        name: each for name, each in look(home)[0].items() if name.endswith(".pt")
    }


# -- the courier


def test_a_courier_of_another_life_of_the_driver_writes_no_more(home: Path, make: Callable[[], Scratch]) -> None:
    with StopFile(home):
        courier = Courier(home)
        task = far(_work(home), courier, make())
        assert task.step()["epoch"] == 1
        before = look(home)[0]
        with StopFile(home):  # of the next driver: this one was killed
            assert "another driver is at work" in task.step()["cause"]
    assert "the driver has ended" in far(_work(home), courier, make()).step()["cause"]
    assert {name: each for name, each in look(home)[0].items() if name.endswith(".pt")} == {
        name: each for name, each in before.items() if name.endswith(".pt")
    }


def test_a_courier_that_was_started_again_takes_what_comes(home: Path, make: Callable[[], Scratch]) -> None:
    task = far(_work(home), Courier(home), make())
    task.step()
    task._wire = Courier(home)
    assert task.step()["epoch"] == 2


def test_words_reach_workers_and_the_driver_sees_that_they_live(home: Path, make: Callable[[], Scratch]) -> None:
    alive = home / "trials/0000" / ALIVE
    with StopFile(home) as stop:
        task = far(_work(home), Courier(home), make())
        alive.write_text("of the worker before")
        task.step()
        assert not alive.exists()
        assert task.heard("n1") == (False, False)
        assert alive.read_text().startswith("600.0 ")
        stop.release(["n1"])
        assert [task.heard(node) for node in ("n1", "n2")] == [(False, True), (False, False)]
        stop.ask()
        assert task.heard("n2") == (True, False)
        _to_its_end(task)
        assert not alive.exists()
        task._wire.word("a job", task.token, "n1", task.work, "too late")
        assert not alive.exists()


@pytest.mark.parametrize("name", ["../../outside", "/etc/outside", "trials/0001/last.pt", NAME, LEAVING, "sweep.yaml"])
def test_a_job_writes_to_its_own_places_alone(home: Path, make: Callable[[], Scratch], name: str) -> None:
    from sweeps.storage.pack import Item

    courier = Courier(home)
    task = far(_work(home), courier, make())
    task.step()
    before = sorted(home.parent.rglob("*"))
    told = courier.store("a job", task.token, task.work, Pack((Item(name, 0, 0, 0),)))
    assert isinstance(told, Trouble)
    assert name in told.cause
    assert sorted(home.parent.rglob("*")) == before


def test_a_judge_reads_its_trial_and_its_verdicts_and_writes_those(home: Path) -> None:
    for name in ("last.pt", "previous.pt", "best-0001.pt", "epoch-0001.pt", "look/last.pt", "measures/a/1.npz"):
        path = home / "trials/0000" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for name in ("0000/v/clean-0000.parquet", "0000/v/examples/a.npz", "0001/v/clean-0000.parquet"):
        path = home / "judgements" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    work = _work(home, kind="judge", judgements=str(home / "judgements/0000"))
    found = parcels.reads(work, home)
    own = {"trial.yaml", "last.pt", "previous.pt", "best-0001.pt", "measures/a/1.npz"}
    assert found.names == {f"trials/0000/{name}" for name in own} | {"judgements/0000/v/clean-0000.parquet"}
    assert parcels.writes(work, home) == ("trials/0000/", "judgements/0000/", "derived/")


def test_a_point_comes_with_its_parents_and_theirs(home: Path) -> None:
    for number, specs in ((0, ["../0001", "../0002/epoch-0004.pt", "/elsewhere/model", "zoo:Some"]), (1, ["../0003"])):
        folder = home / f"trials/{number:04d}"
        folder.mkdir(exist_ok=True)
        (folder / "point.yaml").write_text(f"parents: {specs!r}\n")
    for name in ("0002/epoch-0004.pt", "0002/epoch-0002.pt", "0003/last.pt"):
        path = home / "trials" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (home / "trials/0003/point.yaml").write_text("parents: [../0000, 7, ../../../../etc, own.py:net, a.b:net]\n")
    found = parcels.reads(_work(home, kind="derive"), home)
    assert set(found.sets) == {"derived/", *(f"trials/000{n}/" for n in range(4))}
    assert {"trials/0002/epoch-0004.pt", "trials/0003/last.pt"} <= found.names
    assert "trials/0002/epoch-0002.pt" not in found.names
    assert set(found.besides) == {"/elsewhere/model", "../../../../etc", "own.py"}


def test_a_parent_from_elsewhere_has_to_be_on_the_node(home: Path, make: Callable[[], Scratch]) -> None:
    (home / "trials/0000/point.yaml").write_text("parents: [/no/such/model, ../0001]\n")
    with pytest.raises(Unable, match="lacks /no/such/model, which point 0000 is made of; put it there too"):
        far(_work(home, kind="derive", kept=str(home / "derived")), Courier(home), make(), "point 0000").step()


# -- disks


def test_a_full_disk_of_the_driver_stops_the_sweep_and_one_of_the_node_the_node(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(home))

    with scratches(tmp_path / "scratch") as make:
        task = far(_work(home), Courier(home), make())
        task.step()
        with monkeypatch.context() as patch:
            patch.setattr(couriers, "unpack", full)
            report = task.step()
        assert (report["outcome"], report[FULL]) == (BLOCKED, True)
        assert str(home) in report["cause"]
    before = look(home)[0]
    with small_disk(tmp_path / "disk", 64) as disk, scratches(disk / "here") as make:
        (home / "trials/0000/metrics.csv").write_bytes(b"x" * 200_000)
        with pytest.raises(Unable, match=f"has no room left in {disk / 'here'}; free some there"):
            far(_work(home), Courier(home), make()).step()
    assert {n: s for n, s in before.items() if n.endswith(".pt")} == {
        n: s for n, s in look(home)[0].items() if n.endswith(".pt")
    }


def test_what_cannot_be_sent_stops_the_sweep_and_fails_no_trial(
    home: Path, make: Callable[[], Scratch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the job and after its step, and on the way there."""
    task = far(_work(home), Courier(home), make())
    assert task.step()["epoch"] == 1
    for error, said in (
        (Unfit("has more than 8 GiB"), "has more than 8 GiB"),
        (Moved("trials/0000/"), "kept changing"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(far_jobs, "packed", Mock(side_effect=error))
            report = task.step()
        assert report["outcome"] == BLOCKED
        assert said in report["cause"]
    with monkeypatch.context() as patch:
        patch.setattr(far_jobs, "unpack", Mock(side_effect=Unfit("is damaged")))
        assert far(_work(home), Courier(home), make()).step()["cause"] == "is damaged"
    _to_its_end(far(_work(home), Courier(home), make()))


def test_a_store_that_waited_while_the_job_went_to_another_writes_nothing(
    home: Path, make: Callable[[], Scratch], monkeypatch: pytest.MonkeyPatch
) -> None:
    courier = Courier(home)
    task = far(_work(home), courier, make())
    task.step()
    alone = courier._alone

    @contextlib.contextmanager
    def waits(sets: Iterable[str]) -> Iterator[None]:
        with alone(sets):
            courier._holders[task.name] = "another"
            yield

    monkeypatch.setattr(courier, "_alone", waits)
    written = Mock()
    monkeypatch.setattr(couriers, "unpack", written)
    assert "is done by another worker by now" in task.step()["cause"]
    written.assert_not_called()


def test_a_disk_that_fills_while_it_trains_is_the_nodes_own_trouble(home: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 40) as disk, scratches(disk / "here") as make:
        task = far(_work(home), Courier(home), make())
        with pytest.raises(Unable, match="has no room left"):
            _to_its_end(task)


def test_results_that_are_gone_are_not_made_anew(home: Path, make: Callable[[], Scratch]) -> None:
    task = far(_work(home), Courier(home), make())
    task.step()
    home.rename(home.with_name("moved"))
    report = task.step()
    assert report["outcome"] == BLOCKED
    assert "the disk went away" in report["cause"]
    assert not home.exists()


# -- the worker's own folder


def test_the_folder_goes_with_its_process_however_that_ends(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from sweeps.running.scratch import Scratch;"
        "print(Scratch('small', Path(sys.argv[1])).folder, flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    folder = Path(process.stdout.readline().strip())
    assert folder.is_dir()
    clear(tmp_path)
    assert folder.is_dir(), "its process lives"
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 60
    while folder.parent.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_a_dead_node_left_is_removed_by_the_next(tmp_path: Path) -> None:
    left, held, others = (tmp_path / f"{PREFIX}{name}" for name in ("left", "held", "link"))
    for each in (left, held):
        (each / "small").mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    others.symlink_to(elsewhere)
    lock = os.open(held, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    clear(tmp_path)
    os.close(lock)
    assert not left.exists()
    assert held.is_dir()
    assert elsewhere.is_dir()


def test_the_last_two_jobs_trials_stay(tmp_path: Path, make: Callable[[], Scratch]) -> None:
    scratch = make()
    for number in range(4):
        within = f"trials/{number:04d}/"
        scratch.keep((within, f"judgements/{number:04d}/"))
        path = scratch.folder / within / "last.pt"
        path.parent.mkdir()
        path.touch()
        stamps = look(scratch.folder, within)[0]
        scratch.same(stamps, stamps)
    assert sorted(path.name for path in (scratch.folder / "trials").iterdir()) == ["0002", "0003"]
    assert set(scratch.has()) == {"trials/0002/last.pt", "trials/0003/last.pt"}
