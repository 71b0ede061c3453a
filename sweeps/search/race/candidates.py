"""New settings that are worth weighing."""

from __future__ import annotations

from collections.abc import Callable, Container

import numpy as np
from numpy.typing import NDArray

from sweeps.search.race.encoding import Encoding
from sweeps.search.race.options import RaceOptions

Array = NDArray[np.float64]
_TRIES = 4  # draws of `candidates` settings, where none was new


def untried(encoding: Encoding, settings: Array, tried: Container[bytes]) -> Array:
    """Those of the settings that are not among the tried ones, each once."""
    seen: set[bytes] = set()
    kept = []
    for at, key in enumerate(encoding.keys(settings)):
        if key not in tried and key not in seen:
            seen.add(key)
            kept.append(at)
    return settings[kept]


def at_random(
    encoding: Encoding,
    rng: np.random.Generator,
    tried: Container[bytes],
    count: int,
    fitting: Callable[[Array], Array] = lambda settings: settings,
) -> Array:
    """[1, parameters] a new setting; none where none was found. Args: fitting: those of settings that are wanted."""
    for _ in range(_TRIES):
        found = fitting(untried(encoding, encoding.random(rng, count), tried))
        if len(found):
            return found[:1]
    return found


def best(
    encoding: Encoding,
    rng: np.random.Generator,
    drawn: Array,
    front: Array,
    tried: Container[bytes],
    score: Callable[[Array], Array],
    options: RaceOptions,
) -> tuple[Array, float]:
    """The new setting of largest score, [1, parameters], and its score; none, and -inf, where all were tried.

    Args:
        drawn: settings that were drawn by chance. front: those that seem best. score: [k] of settings [k, parameters].
    """
    found = drawn
    if len(front):
        from_front = front[rng.integers(len(front), size=options.mutations)]
        moved = encoding.mutated(rng, from_front, chance=options.chance, step=options.step)
        found = np.concatenate([found, moved])
    found = untried(encoding, found, tried)
    if not len(found):
        return found, -np.inf
    scores = score(found)
    top = found[np.argsort(-scores, kind="stable")[: options.refined]]
    closer = encoding.mutated(
        rng, top[np.arange(options.refinements) % len(top)], chance=options.chance, step=options.close
    )
    closer = untried(encoding, closer, tried)
    if len(closer):
        found, scores = np.concatenate([found, closer]), np.concatenate([scores, score(closer)])
    at = int(scores.argmax())
    return found[at : at + 1], float(scores[at])
