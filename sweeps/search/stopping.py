"""Which policy decides who goes on: by the name that a space gives it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sweeps.search.field import Policy
from sweeps.search.priors import Prior
from sweeps.space import Sweep

if TYPE_CHECKING:
    from sweeps.search.race.encoding import Encoding

first_in_first_out: Final = None
"""No policy: every trial runs to its end, in the order in which it was asked for."""


def policy(sweep: Sweep, encoding: Encoding | None = None) -> Policy | None:
    """The policy that a space asks for; None where every trial runs to its end.

    Args:
        encoding: of settings, where not all of the space can be had.
    """
    return POLICIES[sweep.stopping.name](sweep, encoding) if sweep.stopping.pauses else None


def _race(sweep: Sweep, encoding: Encoding | None) -> Policy:
    from sweeps.search.race import Race  # half a second

    prior = Prior(sweep.space)
    keep = sweep.stopping.keep_paused
    return Race(sweep.space, sweep.ask, keep_paused=keep, prior=prior if prior else None, encoding=encoding)


def _pareto_halving(sweep: Sweep, encoding: Encoding | None) -> Policy:
    from sweeps.search.halving import ParetoHalving

    return ParetoHalving(eta=float(sweep.stopping.eta), keep_paused=sweep.stopping.keep_paused)


POLICIES: dict[str, Callable[[Sweep, Encoding | None], Policy]] = {"race": _race, "pareto_halving": _pareto_halving}
