"""Runs the (stage, shard) pairs of a judgement on one device or on several, one process each."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import Any, Literal

from robustray.errors import UserError
from robustray.evaluation._case import Case
from robustray.evaluation.plan import Plan
from robustray.trial import Judge
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

    def open(self, device: str) -> Case:
        """Loads the model onto a device.

        Raises:
            UserError: it cannot be loaded, or has other weights now.
        """
        from robustray.evaluation import _classifier

        data, norm = self.judge.data, self.judge.threat.norm
        found = _classifier.load(self.spec, architecture=self.architecture, data=data, norm=norm)
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


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(case: Case, order: Order, devices: list[str], told: Told) -> Iterator[Shard]:
    """Every stage on every shard, the earliest stage first; yields verdicts as they come.

    Args:
        case: the model, loaded on the first device; used where there is only one.
        devices: a process for each; the same one may be named more than once.

    Raises:
        UserError: a process could not load the model, or died.
    """
    places = min(len(devices), case.plan.shards)
    if places == 1:
        for stage in case.plan.stages:
            for shard in range(case.plan.shards):
                yield case.shard(stage, shard, keep_images=order.keep_images, tick=_bound(told, stage, shard))
        return
    yield from _in_processes(case.plan, order, devices[:places], told)


def _bound(told: Told, stage: str, shard: int) -> Callable[[float], None]:
    return lambda fraction: told(stage, shard, fraction)


def _in_processes(plan: Plan, order: Order, devices: list[str], told: Told) -> Iterator[Shard]:
    import torch

    context = _context()
    news, free = context.Queue(), context.Queue()
    for device in devices:
        free.put(device)
    threads = max(
        1, min(torch.get_num_threads(), cores() // max(1, devices.count("cpu")))
    )  # more would wait for each other
    pool = ProcessPoolExecutor(len(devices), context, initializer=_open, initargs=(order, free, news, threads))
    flying: dict[Future[Shard], int] = {}
    progress = [0] * plan.shards  # stages each shard is through
    try:
        while flying or min(progress) < len(plan.stages):
            busy = set(flying.values())
            waiting = sorted((p, s) for s, p in enumerate(progress) if s not in busy and p < len(plan.stages))
            for position, shard in waiting[: len(devices) - len(flying)]:
                flying[pool.submit(_work, plan.stages[position], shard)] = shard
            done, _ = wait(flying, timeout=0.2, return_when=FIRST_COMPLETED)
            with contextlib.suppress(Empty):
                while True:
                    told(*news.get_nowait())
            for future in done:
                progress[flying.pop(future)] += 1
                yield future.result()
    except Exception as error:
        from concurrent.futures.process import BrokenProcessPool

        if isinstance(error, BrokenProcessPool):
            raise UserError(
                "a judging process died (out of memory?); whole shards are kept: use fewer devices or a smaller --batch"
            ) from None
        raise
    finally:
        processes = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        if flying:
            for process in processes:
                process.terminate()


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


def _open(order: Order, free: Any, news: Any, threads: int) -> None:
    """In a new process: loads the model onto a device of its own; Ctrl-C is the parent's business, and so is its end."""
    global _case, _order, _news
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    news.cancel_join_thread()  # what nobody reads any more must not keep the process
    device = free.get()
    if device == "cpu":
        torch.set_num_threads(threads)
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


def _work(stage: str, shard: int) -> Shard:
    if isinstance(_case, UserError):
        raise _case

    def tick(fraction: float) -> None:
        _news.put((stage, shard, fraction))

    return _case.shard(stage, shard, keep_images=_order.keep_images, tick=tick)
