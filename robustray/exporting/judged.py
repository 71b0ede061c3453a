"""What is known of a model's accuracy: the finished judgements that lie where judgements of it are kept."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from robustray.attacks.versions import strength
from robustray.data.splits import named
from robustray.errors import UserError
from robustray.files import from_json
from robustray.judge import Judge
from robustray.judging import result
from robustray.judging.plan import Plan, family
from robustray.plain import line
from robustray.subjects import Classifier, exported
from robustray.verdicts import CLEAN, Verdicts, read_shards, stages

RESULTS = Path("results/judgements")
"""Where `judge` keeps those of models that have no folder."""
JOURNAL = "study.journal"


def sweep_of(home: Path | None) -> Path | None:
    """The folder of the sweep that a trial's folder belongs to, where there is one."""
    if home is None:
        return None
    sweep = home.absolute().parent.parent
    return sweep if (sweep / JOURNAL).is_file() else None


def found(model: Classifier, spec: str, home: Path | None, named: Iterable[Path] = ()) -> list[dict[str, Any]]:
    """Results of finished judgements of these weights, each as `result.json` has it; those on test first, larger ones first.

    Args:
        spec: by which the model was found. home: its folder, where it has one.
        named: further results, or their folders.

    Raises:
        UserError: one that is named is none, or of another model.
    """
    kept = [*_named(model, named), *(told for folder in _folders(model, home) if (told := _told(model, spec, folder)))]
    if home is not None and exported.there(home):
        kept += exported.about(home).get("judgements", [])
    unlike = {json.dumps([each["fingerprint"], each["version"]], sort_keys=True): each for each in reversed(kept)}
    return sorted(unlike.values(), key=lambda each: (each["split"] != "test", not each["autoattack"], -each["images"]))


def _folders(model: Classifier, home: Path | None) -> Iterator[Path]:
    """Folders of judgements: a trial's own, those of its sweep, and those of models without a folder."""
    roots = [RESULTS / model.name]
    if home is not None:
        roots.insert(0, home / "judgements")
        if (sweep := sweep_of(home)) is not None:
            roots.insert(0, sweep / "judgements" / home.absolute().name)
    for root in roots:
        yield from sorted(path.parent for path in root.glob("*/judgement.json"))


def _named(model: Classifier, paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    for path in paths:
        file = path / result.RESULT if path.is_dir() else path
        try:
            told = from_json(file.read_text(encoding="utf-8"))
            weights = told["weights"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"--judgement {path}: no result of a judgement ({line(error)})") from None
        if weights != model.weights:
            raise UserError(
                f"--judgement {path}: is of a model with weights {str(weights)[:12]}, not {model.weights[:12]}"
            )
        yield told


def _told(model: Classifier, spec: str, folder: Path) -> dict[str, Any] | None:
    """The result of a finished judgement of these weights: as it was written, or, in a sweep, from its verdicts."""
    try:
        parts = from_json((folder / "judgement.json").read_text(encoding="utf-8"))
        if parts["weights"] != model.weights:
            return None
        if (folder / result.RESULT).is_file():
            told: dict[str, Any] = from_json((folder / result.RESULT).read_text(encoding="utf-8"))
            return told
        return _of_verdicts(model, spec, folder, parts)
    except (OSError, ValueError, KeyError, TypeError):  # of another version, or damaged: `judge` says so, not this
        return None


def _of_verdicts(model: Classifier, spec: str, folder: Path, parts: Mapping[str, Any]) -> dict[str, Any] | None:
    """What verdicts add up to, where every attack was run on every shard; None where some are missing.

    No image and no label is read: the list of rows that is judged stands in the verdicts, and its hash beside them.
    """
    if model.judge is None:
        return None
    own: Judge = model.judge
    judge = own.model_copy(update={"version": "rand"}) if parts["family"] == "rand" else own
    power = strength(judge.version)
    if parts["family"] != family(judge.attacks, power) or parts["threat"] != judge.threat.model_dump():
        return None
    extras = tuple(parts["extras"])
    order = stages(folder)
    shards = [each for each in read_shards(folder, order) if each.attack in (CLEAN, *extras, *judge.attacks)]
    rows = np.sort(np.concatenate([each.image for each in shards if each.attack == CLEAN])).astype(np.int64)
    plan = Plan(
        parts["split"], judge.version_name, judge.attacks, power, judge.threat, rows, parts["shard"], parts["seed"], parts,
        extras,
    )  # fmt: skip
    whole = named(rows) == parts["rows"]
    if not whole or len(shards) < len(plan.stages) * plan.shards:
        return None
    about = result.Model(model.name, spec, model.architecture, model.weights)
    return result.summary(about, judge, plan, shards, Verdicts.of(shards))
