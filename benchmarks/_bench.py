"""What every benchmark here does alike: names the machine, keeps rows as CSV, and ends with a line per target."""

from __future__ import annotations

import csv
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from scipy import stats

from robustray.processors import cores

RESULTS = Path(__file__).parent / "results"


def machine() -> str:
    """The processor or GPU, and how many cores."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()} x{torch.cuda.device_count()}"
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].partition(":")[2].strip() if lines else name
    return f"{name}, {cores()} cores"


def interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of a mean by Student's t; of a single value, nothing is known."""
    if len(values) < 2:
        return math.nan, math.nan
    half = float(stats.t.ppf(0.975, len(values) - 1)) * float(stats.sem(values))
    return fmean(values) - half, fmean(values) + half


@dataclass
class Bench:
    """Rows and targets of one run."""

    name: str
    quick: bool
    kept: bool = True  # whether rows are written
    rows: list[dict[str, Any]] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    begun: datetime = field(default_factory=lambda: datetime.now(UTC))

    def row(self, case: str, measure: str, value: float, **more: Any) -> None:
        """One measurement, printed as it comes."""
        self.rows.append({"case": case, "measure": measure, "value": round(value, 4), **more})
        self._write()
        rest = "".join(f"  {key} {item}" for key, item in more.items())
        print(f"{case:18} {measure:44} {value:10.3f}{rest}", flush=True)

    def target(self, name: str, measured: float, wanted: float, *, at_most: bool = True) -> None:
        """One target of the project, met or not."""
        met = measured <= wanted if at_most else measured >= wanted
        sign = "<=" if at_most else ">="
        self.targets.append(f"TARGET {name} {measured:.3f} {sign}{wanted:g} {'met' if met else 'missed'}")

    def close(self) -> None:
        """Prints where the rows are, and the targets."""
        print(f"\n{self.path if self.kept else 'nothing is written'}")
        print("\n".join(self.targets))

    @property
    def path(self) -> Path:
        """`results/<date>-<name>[-quick].csv`, of the day on which the benchmark began."""
        return RESULTS / f"{self.begun:%Y-%m-%d}-{self.name}{'-quick' if self.quick else ''}.csv"

    def _write(self) -> None:
        """All rows so far: what is measured is kept, whatever comes after it."""
        if not self.kept:
            return
        RESULTS.mkdir(exist_ok=True)
        common = {"machine": machine(), "torch": torch.__version__, "load": round(os.getloadavg()[0], 1)}
        keys: Sequence[str] = list(dict.fromkeys(key for row in self.rows for key in row))
        with self.path.open("w", newline="") as file:
            writer = csv.DictWriter(file, [*keys, *common])
            writer.writeheader()
            writer.writerows({**row, **common} for row in self.rows)
