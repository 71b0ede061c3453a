"""Contenders of the training benchmark: at which settings each is run, and how their speeds compare."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from _bench import Bench
from _references import REFERENCES

PRECISIONS = ("fp32", "tf32", "bf16")
AUTOCAST = "autocast around the network, which it does not offer"


@dataclass(frozen=True)
class Contender:
    """Who is measured, at which setting.

    Attributes:
        who: `ours` or `plain`, which are our trainer, or a reference.
        defense: what is trained.
        setting: its name in the tables; of a reference a precision, or `documented`.
        precision: of products and convolutions.
        documented: whether that is the fastest setting that a reference documents.
        note: what else a reader of the table should know.
    """

    who: str
    defense: str
    setting: str
    precision: str
    documented: bool = False
    note: str = ""


Speeds = dict[Contender, float]
"""Images per second."""


@dataclass
class Measured:
    """Seconds of all steps, the most memory in MiB, the last loss."""

    seconds: list[float] = field(default_factory=list)
    memory: float = 0.0
    loss: float = math.nan

    def speed(self, batch: int) -> float:
        """Images per second of the median step."""
        return batch / statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Range of the steps over their median, in percent."""
        return 100 * (max(self.seconds) - min(self.seconds)) / statistics.median(self.seconds)


def settings(name: str, precisions: Sequence[str], device: str) -> list[Contender]:
    """A reference at each precision and at its fastest documented setting, which on a CPU is float32 for all of them."""
    reference = REFERENCES[name]
    notes = {"bf16": AUTOCAST, "fp32": f"{reference.documented}; one row for both" if device == "cpu" else ""}
    asked = dict.fromkeys([*precisions, *(["fp32"] if device == "cpu" else [])])
    found = [
        Contender(name, reference.defense, each, each, device == "cpu" and each == "fp32", notes.get(each, ""))
        for each in asked
    ]
    if device != "cpu":  # torch comes with TF32 in convolutions
        found.append(Contender(name, reference.defense, "documented", "tf32", True, reference.documented))
    return found


def ratios(ours: Contender, speeds: Speeds, who: str) -> tuple[float, float]:
    """Our speed over that of `who` at the same precision, and at its documented setting; nan where that was not measured."""
    theirs = [each for each in speeds if (each.who, each.defense) == (who, ours.defense)]
    same = (each for each in theirs if each.setting == ours.precision)
    documented = (each for each in theirs if each.documented)
    first, second = (next((speeds[ours] / speeds[each] for each in kind), math.nan) for kind in (same, documented))
    return first, second


def add_targets(bench: Bench, speeds: Speeds, device: str) -> None:
    """The targets of TRADES-10 on PreActResNet-18: fp32 at the same precision, bf16 beside what is documented."""
    ours = [each for each in speeds if each.who == "ours" and each.defense == "trades"]
    names = list(dict.fromkeys(each.who for each in speeds if each.who in REFERENCES and each.defense == "trades"))
    authors = [name for name in names if name == "trades"]

    def add(target: str, wanted: float, precisions: Iterable[str], column: int, beside: list[str]) -> None:
        ways = [each for each in ours if each.precision in precisions]
        if not ways or not beside:
            bench.targets.append(
                f"TARGET {target} not measured {'without a reference' if ways else 'at this precision'}"
            )
            return
        found = [[ratios(way, speeds, name)[column] for name in beside] for way in ways]
        if any(math.isnan(each) for row in found for each in row):
            bench.targets.append(f"TARGET {target} not measured beside all of {', '.join(beside)}")
            return
        bench.target(target, max(min(row) for row in found), wanted, at_most=False)

    if device == "cpu":
        add("train-fp32-over-authors", 1.6, ["fp32"], 0, authors)
        add("train-bf16-over-authors", 2.5, ["bf16"], 1, authors)
        add("train-fp32-over-fastest", 1.1, ["fp32"], 0, names)
        add("train-bf16-over-fastest", 1.9, ["bf16"], 1, names)
    else:
        add("train-best-over-fastest", 4.0, PRECISIONS, 1, names)
