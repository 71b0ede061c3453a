"""The training loop and its independent choices: update, optimiser, schedule, averaging, curriculum."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustray.lazy import lazy

if TYPE_CHECKING:
    from robustray.training.averaging import Averaging, Ema, NoAveraging
    from robustray.training.awp import Awp
    from robustray.training.curricula import Curriculum
    from robustray.training.cusp import Cusp
    from robustray.training.entropy_sgd import EntropySgd
    from robustray.training.free import Free
    from robustray.training.optimisers import Adam, AdamW, Optimiser, Sgd
    from robustray.training.ramps import Ramps
    from robustray.training.sam import Sam
    from robustray.training.schedules import Constant, Cosine, Cyclic, Late, MultiStep, OneCycle, Schedule
    from robustray.training.stages import Stages
    from robustray.training.trainer import Trainer
    from robustray.training.updates import Minibatch, Plain, Update
    from robustray.training.weight_noise import WeightNoise

__all__ = [
    "Adam",
    "AdamW",
    "Averaging",
    "Awp",
    "Constant",
    "Cosine",
    "Curriculum",
    "Cusp",
    "Cyclic",
    "Ema",
    "EntropySgd",
    "Free",
    "Late",
    "Minibatch",
    "MultiStep",
    "NoAveraging",
    "OneCycle",
    "Optimiser",
    "Plain",
    "Ramps",
    "Sam",
    "Schedule",
    "Sgd",
    "Stages",
    "Trainer",
    "Update",
    "WeightNoise",
]

__getattr__ = lazy(
    __name__,
    {
        "Adam": "optimisers",
        "AdamW": "optimisers",
        "Averaging": "averaging",
        "Awp": "awp",
        "Constant": "schedules",
        "Cosine": "schedules",
        "Curriculum": "curricula",
        "Cusp": "cusp",
        "Cyclic": "schedules",
        "Ema": "averaging",
        "EntropySgd": "entropy_sgd",
        "Free": "free",
        "Late": "schedules",
        "Minibatch": "updates",
        "MultiStep": "schedules",
        "NoAveraging": "averaging",
        "OneCycle": "schedules",
        "Optimiser": "optimisers",
        "Plain": "updates",
        "Ramps": "ramps",
        "Sam": "sam",
        "Schedule": "schedules",
        "Sgd": "optimisers",
        "Stages": "stages",
        "Trainer": "trainer",
        "Update": "updates",
        "WeightNoise": "weight_noise",
    },
)
