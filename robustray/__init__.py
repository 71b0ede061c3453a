"""Train and judge one adversarially robust image classifier.

Pixels are float32 in [0, 1] everywhere outside a model, eps is in pixels, and normalisation is a model's first layer.
The names below load on first use, so that `import robustray` and everything about options stays free of torch.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from robustray.lazy import lazy

if TYPE_CHECKING:
    from robustray.defenses.step import Loss, Step
    from robustray.errors import UserError
    from robustray.trial import TrialConfig

try:
    __version__ = version("robustray")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"

__all__ = ["Loss", "Step", "TrialConfig", "UserError", "__version__"]

_ROOMS = (
    "attacks",
    "data",
    "defenses",
    "evaluation",
    "judging",
    "models",
    "registry",
    "subjects",
    "training",
    "verdicts",
)
__getattr__ = lazy(
    __name__,
    {"Loss": "defenses.step", "Step": "defenses.step", "TrialConfig": "trial", "UserError": "errors"}
    | dict.fromkeys(_ROOMS, ""),
)
