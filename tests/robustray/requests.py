"""Requests for a training, in which one option is another, and what they train to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import nn

from robustray.models import SmallCnn
from robustray.registry import Part
from robustray.training import Trainer, checkpoints
from robustray.trial import TrialConfig
from tests.robustray.made import made

JUDGE: dict[str, Any] = {
    "data": {"name": "digits", "validation": 1200},
    "threat": {"norm": "linf", "eps": 0.1},
    "cheap": {"name": "pgd", "steps": 1},
}
BASE: dict[str, Any] = {
    "judge": JUDGE,
    "batch": {"size": 50},
    "model": {"name": "small_cnn", "width": 2, "dropout": 0.2},
    "averaging": {"name": "ema", "decay": 0.3},
    "schedule": {"name": "one_cycle", "epochs": 3, "lr": 0.1},
}
"""Of a trial of six steps, in three epochs."""


def small_network(self: SmallCnn, channels: int, height: int, width: int, outputs: int) -> nn.Module:
    """In place of `small_cnn`: of a hundredth of a second, with batch norm, so that an attack's mode matters, and dropout."""
    return nn.Sequential(
        nn.Conv2d(channels, self.width, 3),
        nn.BatchNorm2d(self.width),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(self.dropout),
        nn.Linear(self.width * (height - 2) * (width - 2), outputs),
    )


def read(options: dict[str, Any]) -> TrialConfig | None:
    """The trial, or None where it is refused."""
    try:
        return TrialConfig.model_validate(options)
    except ValidationError:
        return None


def weights(config: TrialConfig, folder: Path) -> str:
    """A hash of the model and of its average after all steps, without validation and files in between."""
    trainer = Trainer(config, folder, device="cpu")
    size = config.batch.size
    with trainer.at_work():
        for epoch in range(trainer.epochs):
            trainer.progress.completed, order = epoch, trainer.batches.order(epoch)
            for number in range(trainer.steps_per_epoch):
                trainer.progress.batch_in_epoch = number
                trainer.train_step(order[number * size : (number + 1) * size])
        trainer.progress.completed = trainer.epochs
        if trainer.average.estimates:
            trainer._estimate()
    states = [trainer.model.state_dict(), trainer.average.model.state_dict()]
    return hashlib.sha256("".join(map(checkpoints.weights_hash, states)).encode()).hexdigest()


def changed(cls: type[Part], settings: dict[str, Any]) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """That one's name, its value, and all options of a part of which it is changed: to each other choice, to another number."""
    plain = made(cls, **settings).model_dump(mode="json")
    words = sorted(set(_words(cls.model_json_schema())))
    for keys, value in _leaves(plain):
        for other in _others(value, words):
            tree = _put(plain, keys, other)
            try:
                part = cls.model_validate(tree)
            except ValidationError:
                continue
            if part.model_dump(mode="json") != plain:
                yield ".".join(map(str, keys)), other, part.model_dump(mode="json")
                if not isinstance(other, str):
                    break


def _words(schema: Any) -> Iterator[str]:
    inside = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    for each in inside:
        yield from _words(each)
    if isinstance(schema, dict):
        yield from (word for word in [*schema.get("enum", ()), schema.get("const")] if isinstance(word, str))


def _leaves(tree: Any, keys: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if not isinstance(tree, dict | list):
        yield keys, tree
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        if key != "name":
            yield from _leaves(value, (*keys, key))


def _others(value: Any, words: list[str]) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [other for other in (0.5 * value, value + 0.5, value - 0.1, value + 1, value - 1) if other != value]
    return [*(word for word in words if word != value), *([0.01, 1] if value is None else [])]


def _put(tree: Any, keys: tuple[Any, ...], value: Any) -> Any:
    if not keys:
        return value
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[keys[0]] = _put(tree[keys[0]], keys[1:], value)
    return copy
