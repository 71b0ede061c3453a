"""Trainings of a table as files of a folder, one each, and the table that is made of them."""

from __future__ import annotations

import hashlib
import json
import random
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from _bench import machine

from robustray.errors import UserError
from robustray.files import write_whole
from robustray.seeding import derive
from sweeps.search.sampling import at
from sweeps.search.table_files import read_rows, write_rows
from sweeps.search.tables import Table
from sweeps.space import Sweep
from sweeps.space.templates import count, nth

ABOUT = "about.json"
Rows = list[dict[str, Any]]


class Training(NamedTuple):
    """One training of a table."""

    setting: int
    seed: int
    params: dict[str, object]


def settings(sweep: Sweep, wanted: int) -> list[dict[str, object]]:
    """So many settings of a space, each once; the first ones are the same however many are wanted.

    A scrambled Sobol sequence (`search.seed`), as sampler qmc has it, without the settings that came before; or all settings
    there are, in an order that the seed says.
    """
    seed = derive(sweep.search.seed, "table")
    if (there := count(sweep.template)) <= wanted:
        every = list(range(int(there)))
        random.Random(seed).shuffle(every)  # noqa: S311
        return [nth(sweep.template, index) for index in every]
    from scipy.stats import qmc

    names = [parameter.name for parameter in sweep.space]
    engine = qmc.Sobol(len(names), rng=seed % 2**32)
    found: dict[str, dict[str, object]] = {}
    while len(found) < wanted:
        point = dict(zip(names, engine.random(1)[0].tolist(), strict=True))
        params = sweep.ask(lambda each, point=point: at(point[each.name], each.distribution.to_optuna()))  # type: ignore[misc]
        found.setdefault(json.dumps(params, sort_keys=True), params)
    return list(found.values())


def trainings(sweep: Sweep, wanted: int, seeds: int, piece: tuple[int, int] = (1, 1)) -> Iterator[Training]:
    """Those of slice `piece[0]` of `piece[1]`, in the order in which they are made: all seeds of a setting, then the next."""
    own, of = piece
    for setting, params in enumerate(settings(sweep, wanted)):
        if setting % of == own - 1:
            yield from (Training(setting, seed, params) for seed in range(seeds))


def identity(sweep: Sweep) -> str:
    """SHA-256 of what curves and the order of settings depend on in a space.

    Where its images lie is no part of it, and neither are options at their defaults: new ones change no old table.
    """
    judge = sweep.judge.model_dump(mode="json", exclude_defaults=True)
    judge["data"] = {key: value for key, value in judge.get("data", {}).items() if not isinstance(value, str)}
    names = [sweep.judge.data.name, sweep.judge.cheap.name]
    parts = [names, judge, sweep.resolved()["trial"], sweep.search.seed]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Made:
    """What has been trained of a table: a folder of parts, and the table that was joined before.

    Args:
        folder: of the parts; made when it is not there.
        path: of the table.
        about: what makes it; `space` is its identity.

    Raises:
        UserError: the folder or the table is of another space.
    """

    folder: Path
    path: Path
    about: dict[str, Any]

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = self.folder / ABOUT
        if not kept.exists():
            write_whole(kept, json.dumps(self.about, indent=1) + "\n")
        try:
            said: list[tuple[Path, dict[str, Any]]] = [(self.folder, json.loads(kept.read_text()))]
        except ValueError:
            raise UserError(f"{kept}: is damaged; remove it if these parts are of this space") from None
        if self.path.exists():
            said.append((self.path, read_rows(self.path)[1]))
        for where, about in said:
            if about.get("space") != self.about["space"]:
                raise UserError(f"{where}: was made of another space; give other --parts and --out, or remove it")

    def joined(self) -> Rows:
        """The rows of the table that was joined before."""
        return read_rows(self.path)[0] if self.path.exists() else []

    def file(self, setting: int, seed: int) -> Path:
        """The part of a training."""
        return self.folder / f"{setting:05d}-{seed}.jsonl"

    def left(self, wanted: Iterable[Training]) -> list[Training]:
        """Those that are in neither."""
        there = {(row["setting"], row["seed"]) for row in self.joined()}
        return [
            each
            for each in wanted
            if (each.setting, each.seed) not in there and not self.file(each.setting, each.seed).exists()
        ]

    def keep(self, training: Training, rows: Rows) -> None:
        """A finished training."""
        common = {"setting": training.setting, "seed": training.seed, **training.params}
        text = "".join(f"{json.dumps({**common, **row})}\n" for row in rows)
        write_whole(self.file(training.setting, training.seed), text)

    def join(self, sweep: Sweep, seeds: int) -> Table:
        """Writes the table of all settings that were trained with every seed, and reads it back.

        Raises:
            UserError: there is none, or a part is damaged.
        """
        rows = self.joined()
        there = {(row["setting"], row["seed"]) for row in rows}
        for part in sorted(self.folder.glob("*.jsonl")):
            found, _ = read_rows(part)
            rows += [row for row in found if (row["setting"], row["seed"]) not in there]
        by_setting: dict[int, set[int]] = {}
        for row in rows:
            by_setting.setdefault(row["setting"], set()).add(row["seed"])
        rows = [row for row in rows if by_setting[row["setting"]] >= set(range(seeds))]
        if not rows:
            raise UserError(f"{self.folder}: no setting was trained with all {seeds} seeds yet")
        if (
            self.about["device"] == "cpu"
        ):  # on one thread: by the clock, a training beside others costs many times as much
            rows = [{**row, "seconds": row.get("cpu_seconds", row["seconds"])} for row in rows]
        rows.sort(key=lambda row: (row["setting"], row["seed"], row["epoch"]))
        order = {parameter.name: None for parameter in sweep.space}
        rows = [{**{key: row[key] for key in ("setting", "seed", *order) if key in row}, **row} for row in rows]
        loads = [row["load"] for row in rows if "load" in row]
        whole = {**self.about, "settings": len({row["setting"] for row in rows}), "seeds": seeds}
        if loads:
            whole["load"] = {"median": statistics.median(loads), "highest": max(loads)}
        write_rows(self.path, rows, whole)
        return Table.read(self.path, sweep)


def about(sweep: Sweep, device: str) -> dict[str, Any]:
    """What makes a table, as its metadata say it."""
    import torch

    return {
        "name": sweep.name,
        "space": identity(sweep),
        "made_by": "benchmarks/make_table.py",
        "drawn": f"Sobol sequence of search.seed {sweep.search.seed}, or all settings",
        "robust_accuracy": f"judge.cheap: {sweep.judge.cheap.model_dump_json(exclude_defaults=True)}",
        "seconds": "training steps alone; on a CPU the process's, which are cpu_seconds, on one thread; else by the clock",
        "images": sweep.judge.data.identity("train"),
        "device": device,
        "machine": machine(),
        "torch": torch.__version__,
    }
