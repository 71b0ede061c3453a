"""What a measure may look at beside its model: other models, and a finished judgement of this one."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from robustray import subjects
from robustray.attacks.threats import in_255ths
from robustray.attacks.versions import VERSIONS
from robustray.commands.judge_run import RESULTS
from robustray.data.base import DataSource
from robustray.data.splits import Indices, named
from robustray.errors import UserError
from robustray.files import from_json
from robustray.judging import images
from robustray.judging.answers import Copies
from robustray.judging.plan import CLAIMED, EARLY, JOINED
from robustray.measures.base import Ground, Judged
from robustray.subjects import Classifier
from robustray.verdicts import CLEAN, STORE, Verdicts, fingerprint, in_order, read_shards

UNLIKE = {JOINED, CLAIMED, EARLY}
"""Stages with which a judgement is not called AutoAttack."""


@dataclass(frozen=True)
class Others:
    """Loads models beside the one that is measured, each once; `architecture` is for bare weights."""

    architecture: str | None
    data: DataSource | None
    norm: str
    device: torch.device
    _known: dict[str, tuple[nn.Module, str]] = field(default_factory=dict)

    def __call__(self, spec: str) -> tuple[nn.Module, str]:
        if spec not in self._known:
            found = subjects.load(spec, architecture=self.architecture, data=self.data, norm=self.norm)
            self._known[spec] = Copies(found.model).to(self.device).eval().requires_grad_(False), found.weights
        return self._known[spec]


class _Asked(Protocol):
    """The flags of the command that a judgement's command has too."""

    @property
    def model(self) -> str: ...
    @property
    def data(self) -> str | None: ...
    @property
    def images(self) -> int | None: ...
    @property
    def architecture(self) -> str | None: ...


def judged(ground: Ground, found: Classifier, asked: _Asked) -> Judged:
    """The finished judgement by AutoAttack of a model on a ground's images, of several the one with the most saved images.

    Raises:
        UserError: there is none; the message has the command that makes one.
    """
    if ground.split == "train":
        raise UserError("AutoAttack judges validation and test images alone: say --split validation or --split test")
    wanted = {
        "weights": found.weights, "data": ground.data.identity(ground.split), "split": ground.split,
        "rows": named(ground.rows), "threat": ground.threat.model_dump(mode="json"),
        "family": "standard", "attacks": list(VERSIONS["standard"]),
    }  # fmt: skip
    for folder in _folders(asked.model, found):
        parts = _read(folder / "judgement.json")
        if all(parts.get(name) == value for name, value in wanted.items()) and not UNLIKE & set(parts["extras"]):
            there = _of(folder, parts, ground.rows)
            if there is not None:
                return there
    own = found.judge is not None
    words = [
        "python", "-m", "robustray", "judge", asked.model, "--split", ground.split,
        "--threat", ground.threat.norm, "--eps", in_255ths(ground.threat.eps),
        *(() if own and asked.data is None else ("--data", asked.data or ground.data.name)),
        *(() if asked.images is None else ("--images", str(asked.images))),
        *(() if asked.architecture is None else ("--architecture", asked.architecture)),
        "--version", "standard", "--save-adversarial",
    ]  # fmt: skip
    raise UserError(
        f"there is no finished AutoAttack of {asked.model} on these {len(ground)} {ground.split} images; judge first: "
        f"{shlex.join(words)}"
    )


def _folders(spec: str, found: Classifier) -> Iterator[Path]:
    """Folders of judgements, those with saved images first; a sweep keeps its trials' beside them."""
    folder = Path(spec).absolute()
    roots = (folder / "judgements", folder.parent.parent / "judgements" / folder.name, RESULTS / found.name)
    there = [path.parent for root in roots for path in sorted(root.glob("*/judgement.json"))]
    yield from sorted(there, key=lambda folder: -len(list(folder.glob("adversarial/*"))))


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, Mapping) else {}


def _of(folder: Path, parts: Mapping[str, Any], rows: Indices) -> Judged | None:
    """The judgement in a folder; None where it is not finished."""
    stages = in_order(parts["extras"], parts["attacks"])
    shards = range(-(-len(rows) // parts["shard"]))
    if any(set(shards) - set(STORE.shards(folder, stage)) for stage in (CLEAN, *stages)):
        return None
    verdicts = Verdicts.read(folder, stages)
    if not np.array_equal(verdicts.image, rows):
        return None
    where = {
        int(row): (shard.attack, shard.shard)
        for shard in read_shards(folder, stages)
        for row in shard.image[shard.broken].tolist()
    }
    kept = lru_cache(maxsize=16)(lambda stage, number: images.load(folder, stage, number))

    def saved(asked: Indices, x: Tensor) -> Tensor:
        found = x.clone()
        for at, row in enumerate(asked.tolist()):
            file = kept(*where[row]) if row in where else None
            if file is not None and row in file[0]:
                found[at] = torch.from_numpy(file[1][int(np.argmax(file[0] == row))]).to(x)
        return found

    mark = fingerprint({**parts, "robust": verdicts.robust_accuracy})
    return Judged(verdicts.clean, verdicts.robust, verdicts.broken_by, mark, saved)
