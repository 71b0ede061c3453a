"""The listeners that a space asks for, by name: looked for before anything starts, opened when the sweep begins."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from robustray.errors import UserError
from robustray.plugins import trust
from robustray.registry import Options
from sweeps.listeners.telling import Aside, Ear
from sweeps.record import Record
from sweeps.space import Sweep

Params = Callable[[int], Mapping[str, Any]]
"""The options of a trial."""
Opener = Callable[[Any, Sweep, Record, Callable[[str], None]], Callable[[], Ear]]
"""From its options, the sweep, its record and where lines go: what makes the ear, in another thread."""
PACKAGES = {
    "prometheus": "prometheus_client",
    "tensorboard": "tensorboardX",
    "mlflow": "mlflow",
    "wandb": "wandb",
}
"""By listener, the package that it needs. The extra of its name installs it."""


def check(sweep: Sweep) -> None:
    """Sees whether the packages are there, without loading them.

    Raises:
        UserError: one is not.
    """
    for name in sweep.listeners.named:
        if importlib.util.find_spec(PACKAGES[name]) is None:
            raise UserError(
                f"listeners.{name}: needs the package {PACKAGES[name]}, which is not installed; pip install "
                f"'robustray[{name}]', or leave it out"
            )


def named(sweep: Sweep, folder: Path, *, here: bool) -> None:
    """A server that runs are sent to is one which this user has named: a results folder of somebody else's could name any.

    Args:
        here: whether he wrote the space, and so names it now; else it was read from the folder.

    Raises:
        UserError: he has not named it on this machine.
    """
    uri = getattr(sweep.listeners.named.get("mlflow"), "uri", None)
    if uri is None:
        return
    key = hashlib.sha256(f"mlflow {uri}".encode(errors="backslashreplace")).hexdigest()
    if here:
        trust.trust(key, f"listeners.mlflow.uri {uri}")
    elif not trust.trusts(key):
        raise UserError(
            f"{folder}: its listeners.mlflow.uri is {uri}, which you have not named on this machine; say {trust.FLAG} if you "
            "trust it"
        )


@contextlib.contextmanager
def opened(sweep: Sweep, record: Record, say: Callable[[str], None]) -> Iterator[list[Aside]]:
    """All of them while the block runs, each in its own thread."""
    with contextlib.ExitStack() as stack:
        asked = sweep.listeners.named.items()
        yield [stack.enter_context(Aside(name, _OPENERS[name](own, sweep, record, say), say)) for name, own in asked]


def _prometheus(options: Any, sweep: Sweep, record: Record, say: Callable[[str], None]) -> Callable[[], Ear]:
    def make() -> Ear:
        from sweeps.listeners.prometheus import Exporter

        return Exporter(record.folder, options.port, say)

    return make


def _tensorboard(options: Options, sweep: Sweep, record: Record, say: Callable[[str], None]) -> Callable[[], Ear]:
    def make() -> Ear:
        from sweeps.listeners.tensorboard import Boards
        from sweeps.listeners.tracking import Tracking

        return Tracking(Boards(record.folder / "tensorboard"))

    return make


def _mlflow(options: Any, sweep: Sweep, record: Record, say: Callable[[str], None]) -> Callable[[], Ear]:
    def make() -> Ear:
        from sweeps.listeners.mlflow import Runs
        from sweeps.listeners.tracking import Tracking

        return Tracking(Runs(sweep.name, record.folder, options.uri, options.experiment or sweep.name))

    return make


def _wandb(options: Any, sweep: Sweep, record: Record, say: Callable[[str], None]) -> Callable[[], Ear]:
    def make() -> Ear:
        from sweeps.listeners.tracking import Tracking
        from sweeps.listeners.wandb import Runs

        return Tracking(Runs(sweep.name, record.folder, options.project or sweep.name, options.mode))

    return make


_OPENERS: dict[str, Opener] = {
    "prometheus": _prometheus,
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
    "wandb": _wandb,
}
