"""A field as arrays, a row a trial. Only what is new of it is read again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import compress, count
from operator import is_not
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweeps.search.field import Curve, Field
from sweeps.search.race.encoding import Encoding

Array = NDArray[np.float64]
RUNNING, PAUSED, COMPLETE, STOPPED, FAILED = range(5)
_CODES = {"running": RUNNING, "paused": PAUSED, "complete": COMPLETE, "stopped": STOPPED, "failed": FAILED}


class Rows:
    """Arrays with a row for each of a field's curves, in their order.

    Attributes:
        settings: [n, parameters] coordinates. inputs: [n, width] what a model sees of them.
        values: [n, rungs, objectives] better when larger; all nan where one was not measured.
        orders: [n, rungs] of the reports; -1 for what came with a whole trial from elsewhere.
        limited: [n, limits] what whole trials measured of metrics with limits that are no objectives; nan where nothing.
        states: [n] codes. reached, until: [n] indices of rungs, -1 for none. share: [n] of training that is done.
        seconds: [n] of a whole training, by the first report of it, else by a look; nan before. remaining: [n] of it, by the
            last one.
        tried: how often each setting was, by its key.
        version: changes with every change. evidence: with those that a model can see: not where a trial that waited is stopped.
    """

    def __init__(self, encoding: Encoding, objectives: Mapping[str, str], rungs: int, limited: Sequence[str]) -> None:
        """Nothing yet. Args: rungs: how many. limited: metrics with limits that are no objectives."""
        self._encoding = encoding
        self._signs = {name: 1.0 if mode == "max" else -1.0 for name, mode in objectives.items()}
        self._limited = limited
        self._rungs = rungs
        self._seen: list[Curve] = []
        self._keys: list[bytes] = []
        self._all: dict[str, NDArray[Any]] = {}
        self._room(0, 64)
        self.tried: Counter[bytes] = Counter()
        self.version = self.evidence = 0

    def __len__(self) -> int:
        return len(self._seen)

    def update(self, field: Field) -> None:
        """Takes in the curves that are other objects than before."""
        curves = field.curves
        new = list(
            compress(count(), map(is_not, curves, self._seen))
        )  # ten thousand are looked at before every decision
        for at in range(len(curves), len(self._seen)):
            self._forget(at)
        del self._seen[len(curves) :], self._keys[len(curves) :]
        new += range(len(self._seen), len(curves))
        if len(curves) > len(self._all["states"]):
            self._room(len(self._seen), 2 * len(curves))
        for at in new:
            self._read(at, curves[at])
        self.version += bool(new) or len(curves) != len(self.states)
        self.evidence += len(curves) != len(self.states)
        for name, array in self._all.items():
            setattr(self, name, array[: len(curves)])

    @property
    def measured(self) -> NDArray[np.bool_]:
        """[n, rungs] whether all objectives were."""
        return ~np.isnan(self.values[:, :, 0])

    def number(self, at: int) -> int:
        """Of the trial in a row."""
        return self._seen[at].number

    settings: Array
    inputs: Array
    values: Array
    orders: NDArray[np.int64]
    limited: Array
    states: NDArray[np.int64]
    reached: NDArray[np.int64]
    until: NDArray[np.int64]
    share: Array
    seconds: Array
    epochs: NDArray[np.int64]

    @property
    def first(self) -> NDArray[np.int64]:
        """[n] order of the first report of each; -1 where there is none."""
        never = np.iinfo(np.int64).max
        found: NDArray[np.int64] = np.where(self.orders < 0, never, self.orders).min(1, initial=never)
        return np.where(found == never, -1, found)

    @property
    def remaining(self) -> Array:
        """[n] seconds of training that are left."""
        return self.seconds * (1 - self.share)

    def _room(self, used: int, room: int) -> None:
        shapes: dict[str, tuple[tuple[int, ...], type]] = {
            "settings": ((len(self._encoding.axes),), float),
            "inputs": ((self._encoding.width,), float),
            "values": ((self._rungs, len(self._signs)), float),
            "orders": ((self._rungs,), int),
            "limited": ((len(self._limited),), float),
            "states": ((), int),
            "reached": ((), int),
            "until": ((), int),
            "share": ((), float),
            "seconds": ((), float),
            "epochs": ((), int),
        }
        before = self._all if used else {}
        self._all = {name: np.zeros((room, *shape), kind) for name, (shape, kind) in shapes.items()}
        for name, array in before.items():
            self._all[name][:used] = array[:used]
        if not used:
            for name, array in self._all.items():
                setattr(self, name, array[:0])

    def _forget(self, at: int) -> None:
        key = self._keys[at]
        self.tried[key] -= 1
        if not self.tried[key]:
            del self.tried[key]

    def _read(self, at: int, curve: Curve) -> None:
        to, before = self._all, b""
        if at < len(self._seen):
            before = self._evident(at)
            self._forget(at)
            self._seen[at] = curve
        else:
            self._seen.append(curve)
            self._keys.append(b"")
        to["settings"][at] = self._encoding.coordinates(curve.params)
        to["inputs"][at] = self._encoding.inputs(to["settings"][at : at + 1])[0]
        self._keys[at] = self._encoding.keys(to["settings"][at : at + 1])[0]
        self.tried[self._keys[at]] += 1
        to["states"][at] = _CODES[curve.state]
        to["reached"][at] = curve.rungs[-1].index if curve.rungs else -1
        to["until"][at] = curve.until
        to["share"][at] = curve.share
        to["epochs"][at] = curve.epochs
        to["values"][at] = np.nan
        to["orders"][at] = -1
        for rung in curve.rungs:
            to["values"][at, rung.index] = self._oriented(rung.metrics)
            to["orders"][at, rung.index] = rung.order
        if curve.state == "complete" and curve.final is not None and np.isnan(to["values"][at, -1]).any():
            to["values"][at, -1] = self._oriented(curve.final)
        to["seconds"][at] = np.nan if curve.seconds is None else curve.seconds
        whole = (
            {}
            if curve.state != "complete"
            else {**(curve.rungs[-1].metrics if curve.rungs else {}), **(curve.final or {})}
        )
        to["limited"][at] = [whole.get(name, np.nan) for name in self._limited]
        self.evidence += before != self._evident(at)

    def _evident(self, at: int) -> bytes:
        """What a model can see of a row."""
        seen = b"".join(self._all[name][at].tobytes() for name in ("inputs", "values", "orders", "seconds"))
        return seen + (self._all["reached"][at].tobytes() if self._all["states"][at] == FAILED else b"")

    def _oriented(self, metrics: Mapping[str, float]) -> list[float]:
        if not metrics.keys() >= self._signs.keys():
            return [np.nan] * len(self._signs)
        return [sign * metrics[name] for name, sign in self._signs.items()]
