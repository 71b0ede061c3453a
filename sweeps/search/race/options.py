"""What may be set of the race, and what of it was measured against what."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RaceOptions:
    """Defaults are the policy as it is; the rest are ablations.

    Attributes:
        start: trials that begin at random before the model is asked.
        whole_first: so many trainings come to their end before anything else waits.
        random_share: of later beginnings that are random.
        explore: in place of a random one, that of the drawn settings with the largest gain if variances were so many times as
            large; 0: a random one.
        candidates: random settings that are weighed. mutations: neighbours of settings on the first two predicted fronts.
        refinements: closer neighbours of the best `refined` of all these.
        chance, step: with which a parameter of a neighbour moves, and how far on a range in [0, 1]. close: of a closer one.
        fit_points: values a rung that hyperparameters are fitted to. model_points: that the model rests on.
        weighed: paused trials that may be chosen, and finished ones that gains are counted over, at most so many of each.
        guard: at every so many-th decision, where none of as many last reports was the end of a training, the best paused trial
            goes on; 0: never.
        finish_last: once less than a whole training is left of the budget, paused trials go on, and nothing begins that could
            not come to its end.
        own_values: a trial is predicted from what it measured, and not from what the model says that its setting measures.
        thompson: in place of expected gains, those of one draw for each trial, paused or new, from what is believed of it
            alone.
        random_horizon: gains are looked for at a rung that is drawn, and not always at the end (ifBO, ICML 2024).
        pausing: off, a trial that was begun is gone on with before anything else.
        cost_power: of the seconds that a gain is divided by; 0: whatever they cost.
        sampler_draws: the first `start` beginnings are left to the sampler.
        prior_weight: gamma; a score counts exp(gamma w log density / n) times at n trials, w how far the prior is believed.
        prior_trials: k, trials after which a prior that the model does not bear out is not believed: see `race.trust`.
    """

    start: int = 8
    whole_first: int = 0
    random_share: float = 0.1
    explore: float = 0.0
    candidates: int = 250
    mutations: int = 250
    refinements: int = 160
    refined: int = 20
    chance: float = 0.4
    step: float = 0.15
    close: float = 0.05
    fit_points: int = 150
    model_points: int = 200
    weighed: int = 150
    guard: int = 3
    finish_last: bool = True
    own_values: bool = False
    thompson: bool = False
    random_horizon: bool = False
    pausing: bool = True
    cost_power: float = 1.0
    sampler_draws: bool = False
    prior_weight: float = 10.0
    prior_trials: float = 8.0
