"""Runs the (stage, shard) pairs of a judgement on one device or on several, one process each."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import Any, Literal

import torch

from robustray import plugins, subjects
from robustray.errors import UserError
from robustray.judge import Judge
from robustray.judging import turns
from robustray.judging.case import Case
from robustray.judging.plan import Plan
from robustray.judging.turns import Turn
from robustray.processors import cores
from robustray.stopping import STOPS
from robustray.verdicts import Shard

Told = Callable[[str, int, float], None]
"""Told of a running attack: stage, shard, how far (0 to 1)."""


@dataclass(frozen=True)
class Order:
    """Everything a process needs to judge one model. Plain data: it travels."""

    spec: str
    architecture: str | None
    weights: str  # their hash, which every process must find
    judge: Judge
    split: Literal["validation", "test"]
    root: Path
    shard_size: int
    named: Mapping[str, Any]
    files: Mapping[str, tuple[Path, ...]]
    keep_images: bool

    def __getstate__(self) -> dict[str, Any]:
        """Options as they are written, behind the plugins that may have brought them: their classes have no place elsewhere."""
        return {**vars(self), "judge": self.judge.model_dump(mode="json"), "plugins": plugins.travelling()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        plugins.arrived(state.pop("plugins"))
        vars(self).update(state, judge=Judge.model_validate(state["judge"]))

    def open(self, device: str) -> Case:
        """Loads the model onto a device.

        Raises:
            UserError: it cannot be loaded, or has other weights now.
        """
        data, norm = self.judge.data, self.judge.threat.norm
        found = subjects.load(self.spec, architecture=self.architecture, data=data, norm=norm)
        if found.weights != self.weights:
            raise UserError(
                f"{self.spec}: another process gets other weights; a factory must always give the same network"
            )
        return Case(
            found.model,
            found.weights,
            self.judge,
            self.split,
            self.root,
            shard_size=self.shard_size,
            device=device,
            named=self.named,
            files=self.files,
        )


def run(case: Case, order: Order, devices: list[str], told: Told) -> Iterator[Shard]:
    """Every stage on every shard, the earliest stage first; yields verdicts as they come.

    Args:
        case: the model, loaded on the first device; used where there is only one.
        devices: a process for each; the same one may be named more than once. On the CPU each has its share of the cores, and
            at most as many threads as torch has here.

    Raises:
        UserError: a process could not load the model, or died.
    """
    plan = case.plan
    if turns.places(plan, len(devices)) == 1:
        for stage in plan.stages:
            for shard in range(plan.shards):
                yield case.shard(stage, shard, keep_images=order.keep_images, tick=_bound(told, stage, shard))
        return
    yield from _in_processes(plan, order, devices[: turns.places(plan, len(devices))], told)


def _bound(told: Told, stage: str, shard: int) -> Callable[[float], None]:
    return lambda fraction: told(stage, shard, fraction)


def _in_processes(plan: Plan, order: Order, devices: list[str], told: Told) -> Iterator[Shard]:
    context = _context()
    news, free = context.Queue(), context.Queue()
    for device in devices:
        free.put(device)
    cpus, most = cores(), torch.get_num_threads()
    pool = ProcessPoolExecutor(len(devices), context, initializer=_open, initargs=(order, free, news))
    flying: dict[Future[Shard], Turn] = {}
    ahead: set[Future[Shard]] = set()
    progress = [0] * plan.shards  # stages each shard is through
    begun: set[Turn] = set()  # ahead of their time, once
    try:
        while flying or min(progress) < len(plan.stages):
            for position, shard in turns.ready(plan, progress, set(flying.values()), begun)[
                : len(devices) - len(flying)
            ]:
                early = position > progress[shard]
                threads = min(most, turns.threads(plan, plan.stages[position], cpus, devices.count("cpu")))
                future = pool.submit(_work, plan.stages[position], shard, early, threads)
                flying[future] = position, shard
                if early:
                    begun.add((position, shard))
                    ahead.add(future)
            done, _ = wait(flying, timeout=0.2, return_when=FIRST_COMPLETED)
            with contextlib.suppress(Empty):
                while True:
                    told(*news.get_nowait())
            for future in done:
                _, shard = flying.pop(future)
                verdicts = future.result()
                if future not in ahead:  # else its turn, when it comes, finds it done
                    progress[shard] += 1
                    yield verdicts
    except BrokenProcessPool:
        raise UserError(
            "a judging process died (out of memory?); whole shards are kept: use fewer devices or a smaller --batch"
        ) from None
    finally:
        processes = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        if flying:
            for process in processes:
                process.kill()


def _context() -> Any:
    """Processes that come from a server with torch loaded, once for all of them, and no CUDA of anybody's."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "pandas"])  # which pyarrow imports when it meets its first array
    return context


_case: Case | UserError
_order: Order
_news: Any


def _open(order: Order, free: Any, news: Any) -> None:
    """In a new process: loads the model onto a device of its own; signals are the parent's business, and so is its end."""
    global _case, _order, _news
    for number in STOPS:  # a terminal and a scheduler send them to all
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    news.cancel_join_thread()  # what nobody reads any more must not keep the process
    device = free.get()
    _order, _news = order, news
    try:
        _case = order.open(device)
    except UserError as error:  # said in answer to the first piece of work; here it would be a traceback
        _case = error


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(stage: str, shard: int, ahead: bool, threads: int) -> Shard:
    if isinstance(_case, UserError):
        raise _case
    if _case.device.type == "cpu":
        torch.set_num_threads(threads)

    def tick(fraction: float) -> None:
        _news.put((stage, shard, fraction))

    return _case.shard(stage, shard, keep_images=_order.keep_images, ahead=ahead, tick=tick)
