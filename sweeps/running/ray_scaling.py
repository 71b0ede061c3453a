"""What Ray's autoscaler is asked for: places for so many jobs while there is work for them, and nothing from the end on."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from ray.autoscaler.sdk import request_resources

ARRIVAL = 1800.0
"""Seconds for which a sweep waits for a node: clouds may take long to find one with a GPU."""


class Scaling:
    """A request that stands until it is changed: nodes that it needs are started and kept, others may go when they idle."""

    def __init__(self, most: int | None) -> None:
        """Args: most: jobs at a time that are asked for; None where no autoscaler is to be asked."""
        self._most = most
        self._asked: tuple[int, dict[str, float]] = (0, {})

    def __bool__(self) -> bool:
        return self._most is not None

    def want(self, bundle: Mapping[str, float], *, left: int | None = None) -> None:
        """Asks for places.

        Args:
            bundle: what one job takes, by Ray's names. left: jobs that there still are; None while more may come.
        """
        if self._most is None:
            return
        count = self._most if left is None else min(left, self._most)
        if (wanted := (count, {name: much for name, much in bundle.items() if much})) != self._asked:
            self._asked = wanted
            request_resources(bundles=[dict(wanted[1]) for _ in range(count)])

    def over(self) -> None:
        """Asks for nothing more, whatever was asked for."""
        if self._asked[0]:
            self._asked = (0, {})
            with contextlib.suppress(Exception):  # of a cluster that is gone
                request_resources(bundles=[])
