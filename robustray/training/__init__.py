"""The training loop and its independent choices: update, optimiser, schedule, averaging."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustray._lazy import lazy

if TYPE_CHECKING:
    from robustray.training._trainer import Trainer
    from robustray.training.averaging import Averaging, Ema, NoAveraging
    from robustray.training.optimisers import Optimiser, Sgd
    from robustray.training.schedules import Cosine, OneCycle, Schedule
    from robustray.training.updates import Plain, Update

__all__ = [
    "Averaging",
    "Cosine",
    "Ema",
    "NoAveraging",
    "OneCycle",
    "Optimiser",
    "Plain",
    "Schedule",
    "Sgd",
    "Trainer",
    "Update",
]

__getattr__ = lazy(
    __name__,
    {
        "Averaging": "averaging",
        "Cosine": "schedules",
        "Ema": "averaging",
        "NoAveraging": "averaging",
        "OneCycle": "schedules",
        "Optimiser": "optimisers",
        "Plain": "updates",
        "Schedule": "schedules",
        "Sgd": "optimisers",
        "Trainer": "_trainer",
        "Update": "updates",
    },
)
