"""What is known before a search: how likely settings are to be the best, as the priors of a space say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING

from sweeps.search.sampling import at
from sweeps.space.distributions import UNKNOWN, Distribution, Parameter, Scalar

if TYPE_CHECKING:
    import numpy as np

SPREAD = 0.25
"""The standard deviation of a prior, as a share of its range on the option's own scale."""
OTHERS = 0.25
"""How likely each of the other values of a choice is, beside the one that is taken to be the best."""


class Prior:
    """A density over settings, and draws from it.

    Of numbers it is a Gaussian around the prior, cut off at the ends of the range, on the option's own scale: that of its
    logarithm where that is uniform. Of a choice, every other value is a quarter as likely. Options without a prior are as
    likely everywhere, and options are independent (as Hvarfner et al., ICLR 2022, arXiv:2204.11051, have it).
    """

    def __init__(self, space: Sequence[Parameter]) -> None:
        """Args: space: all options in template order, those of a branch after its choice."""
        self.space = tuple(space)
        self.known = {each.name: each.distribution for each in space if each.distribution.prior is not UNKNOWN}
        """What has a prior, by name. Without any, all settings are as likely."""

    def __bool__(self) -> bool:
        return bool(self.known)

    def log_density(self, params: Mapping[str, object]) -> float:
        """The logarithm of the density at a setting, in units of the density at the mode: 0 there, lower away from it.

        sum over options of -(u - u0)^2 / (2 SPREAD^2), u in [0, 1] along the option's scale and u0 its prior; log OTHERS for
        another value of a choice. Options that a setting does not have add nothing.

        Args:
            params: as `Sweep.ask` gives them.
        """
        return sum(_log_density(self.known[name], value) for name, value in params.items() if name in self.known)

    def draw(self, rng: np.random.Generator) -> dict[str, object]:
        """A setting drawn from the density, as `Sweep.ask` gives them."""
        params: dict[str, object] = {}
        for parameter in self.space:
            share = rng.random()  # for each option, of other branches too: a draw moves all others by nothing
            if all(params.get(name) == label for name, label in parameter.condition):
                params[parameter.name] = _drawn(parameter.distribution, share)
        return params


def _log_density(distribution: Distribution, value: object) -> float:
    if distribution.kind == "choice":
        return 0.0 if _same(value, distribution.prior) else math.log(OTHERS)
    assert isinstance(value, int | float)
    assert isinstance(distribution.prior, int | float)
    return -0.5 * ((distribution.way(value) - distribution.way(distribution.prior)) / SPREAD) ** 2


def _drawn(distribution: Distribution, share: float) -> Scalar:
    """The value below which a share in [0, 1) of the density lies."""
    if distribution.prior is UNKNOWN:
        return distribution.checked(at(share, distribution.to_optuna()))
    if distribution.kind == "choice":
        weights = [1.0 if _same(value, distribution.prior) else OTHERS for value in distribution.choices]
        left = share * sum(weights)
        for value, weight in zip(distribution.choices, weights, strict=True):
            left -= weight
            if left < 0:
                return value
        return distribution.choices[-1]
    assert isinstance(distribution.prior, int | float)
    bell = NormalDist(distribution.way(distribution.prior), SPREAD)
    low, high = bell.cdf(0), bell.cdf(1)
    return distribution.scaled(min(max(bell.inv_cdf(low + share * (high - low)), 0.0), 1.0))


def _same(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other
