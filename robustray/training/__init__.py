"""The training loop and its independent choices: update, optimiser, schedule, averaging."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustray._lazy import lazy

if TYPE_CHECKING:
    from robustray.training._trainer import Trainer
    from robustray.training.averaging import Averaging, Ema, NoAveraging
    from robustray.training.awp import Awp
    from robustray.training.entropy_sgd import EntropySgd
    from robustray.training.free import Free
    from robustray.training.optimisers import Optimiser, Sgd
    from robustray.training.sam import Sam
    from robustray.training.schedules import Cosine, OneCycle, Schedule
    from robustray.training.updates import Minibatch, Plain, Update
    from robustray.training.weight_noise import WeightNoise

__all__ = [
    "Averaging",
    "Awp",
    "Cosine",
    "Ema",
    "EntropySgd",
    "Free",
    "Minibatch",
    "NoAveraging",
    "OneCycle",
    "Optimiser",
    "Plain",
    "Sam",
    "Schedule",
    "Sgd",
    "Trainer",
    "Update",
    "WeightNoise",
]

__getattr__ = lazy(
    __name__,
    {
        "Averaging": "averaging",
        "Awp": "awp",
        "Cosine": "schedules",
        "Ema": "averaging",
        "EntropySgd": "entropy_sgd",
        "Free": "free",
        "Minibatch": "updates",
        "NoAveraging": "averaging",
        "OneCycle": "schedules",
        "Optimiser": "optimisers",
        "Plain": "updates",
        "Sam": "sam",
        "Schedule": "schedules",
        "Sgd": "optimisers",
        "Trainer": "_trainer",
        "Update": "updates",
        "WeightNoise": "weight_noise",
    },
)
