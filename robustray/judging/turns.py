"""Whose turn it is: which (stage, shard) can be started, and with how many threads. Pure; processes are elsewhere."""

from __future__ import annotations

from robustray.judging.plan import Plan

Turn = tuple[int, int]
"""A stage's place in the plan, and a shard."""


def places(plan: Plan, workers: int) -> int:
    """How many of so many processes have something to do."""
    return min(workers, plan.shards * plan.workers_per_shard)


def ready(plan: Plan, progress: list[int], flying: set[Turn], begun: set[Turn]) -> list[Turn]:
    """What can be started, the most urgent first: whose turn it is, then what may go ahead of it."""
    turns = sorted((p, s) for s, p in enumerate(progress) if p < len(plan.stages))
    nexts = [(p + 1, s) for p, s in turns if (p, s) in flying and p + 1 < len(plan.stages)]
    may = [(p, s) for p, s in nexts if plan.ahead(plan.stages[p]) and (p, s) not in begun]
    return [turn for turn in turns if turn not in flying] + may


def threads(plan: Plan, stage: str, cpus: int, workers: int) -> int:
    """CPU threads of a stage: the same in every run, whatever else is at work at that moment, so that bits are the same.

    More threads than cores would wait for each other.
    """
    following = plan.stages[plan.stages.index(stage) + 1 :][:1]
    paired = any(map(plan.ahead, (stage, *following)))
    return max(1, cpus // max(1, min(workers, plan.shards * (2 if paired else 1))))
