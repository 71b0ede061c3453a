"""What each measure takes, in passes and seconds, and the papers' way beside it.

    python benchmarks/measures.py [--quick] [--keep]

Every registered measure is taken of one small trained network on handwritten digits, with its defaults, with --quick with what
it names for contracts. Passes of images are counted in the network, and what a measure declares stands beside them. Where a
paper's script takes the same (`_plain_measures.py`), ours and theirs take turns, and of each the fastest of three is kept; a
target is a ratio, ours to theirs. Lanczos here runs to a relative 1e-3 at each end of the spectrum, there to 1e-2 at both at
once.

Without --keep nothing is written: seconds of a machine with other work on it are no finding.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from typing import Any

import torch
from _bench import Bench
from _plain_measures import PLAIN

from robustray.errors import UserError
from robustray.measures.base import Ground, Measure
from robustray.measures.taking import take
from robustray.registry import parts
from robustray.testing.derived import trained
from robustray.testing.measures import Passes, ground

IMAGES, FEW = 300, 60
ROUNDS = 3
WANTED = {"lipschitz": (0.4, 0.6), "robust_loss": (0.7, 0.7), "flatness": (0.7, 0.7), "hessian": (4.0, 4.0)}
"""Ours over theirs: passes, seconds."""


def counted(work: Callable[[Ground], Any], images: int, *, weights: bool) -> tuple[float, float]:
    """Passes per image, and seconds, of one piece of work.

    Args:
        weights: whether gradients go to the weights too, as they do in scripts that do not turn that off.
    """
    count = [0]
    network = copy.deepcopy(trained(0)).eval().requires_grad_(weights)
    here = ground(Passes(network, count), images)
    work(here)
    passes = count[0] / images
    plain = ground(network, images)
    begun = time.perf_counter()
    work(plain)
    return passes, time.perf_counter() - begun


def beside(measure: Measure, images: int, bench: Bench) -> None:
    """One measure, and the papers' way of taking it where there is one."""
    name, seconds, passes = measure.name, dict[str, float](), dict[str, float]()
    ways: dict[str, Callable[[Ground], Any]] = {"ours": lambda here: take(measure, here)}
    if name in PLAIN:
        ways["plain"] = lambda here: PLAIN[name](here, measure)
    for _ in range(ROUNDS if len(ways) > 1 else 1):
        for way, work in ways.items():
            passes[way], took = counted(work, images, weights=way == "plain")
            seconds[way] = min(took, seconds.get(way, took))
    declared = measure.passes(ground(images=images)) / images if measure.needs_model else 0.0
    for way in ways:
        bench.row(name, f"{way}: passes per image", passes[way])
        bench.row(name, f"{way}: seconds", seconds[way], images=images)
    bench.row(name, "declared passes per image" + ("" if measure.fixed_cost else ", at most"), declared)
    if name in PLAIN:
        few, fast = WANTED[name]
        bench.target(f"measures_{name}_passes", passes["ours"] / passes["plain"], few)
        bench.target(f"measures_{name}_seconds", seconds["ours"] / seconds["plain"], fast)


def main(argv: list[str] | None = None) -> int:
    """Runs all; returns 0."""
    about, _, _ = (__doc__ or "").partition("\n")
    flags = argparse.ArgumentParser(description=about)
    flags.add_argument("--quick", action="store_true", help="cheap options, few images")
    flags.add_argument("--keep", action="store_true", help="write a dated table: on a machine that does nothing else")
    asked = flags.parse_args(argv)
    torch.set_num_threads(1)
    bench = Bench("measures", quick=asked.quick, kept=asked.keep)
    for name, cls in parts("measure").items():
        if any(field.is_required() for field in cls.model_fields.values()):
            print(f"{name}: left out, for it needs options")
            continue
        options = getattr(cls, "cheap", {}) if asked.quick else {}
        measure = cls.model_validate({"name": name, **options})
        assert isinstance(measure, Measure)
        try:
            beside(measure, FEW if asked.quick else IMAGES, bench)
        except UserError as error:  # it builds on what this network has not: a judgement, say
            print(f"{name}: left out ({error})")
    bench.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
