"""What a finished judgement says: `result.json`, `verdicts.parquet`, and an entry as RobustBench keeps them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from robustray.attacks.threats import in_255ths
from robustray.files import from_json, write_whole
from robustray.judge import Judge
from robustray.judging import chance, flags
from robustray.judging.plan import CLAIMED, EARLY, JOINED, Plan
from robustray.verdicts import CLEAN, Shard, Verdicts, read_shards

RESULT, VERDICTS, ENTRY = "result.json", "verdicts.parquet", "robustbench.json"


@dataclass(frozen=True)
class Model:
    """What was judged, in words; `spec` and `architecture` load it again."""

    name: str
    spec: str
    architecture: str
    weights: str
    given: str | None = None  # --architecture, where it was needed
    warnings: tuple[str, ...] = ()  # of the first look


def write(folder: Path, model: Model, judge: Judge, plan: Plan) -> dict[str, Any]:
    """Writes the result of a whole judgement into its folder and returns it.

    Where the folder has the result of more attacks, of which these are the first, that one stays.

    Raises:
        RuntimeError: the judgement is not finished.
    """
    shards = list(read_shards(folder, plan.stages[1:]))
    if len(shards) < len(plan.stages) * plan.shards:
        raise RuntimeError(f"{folder}: {len(shards)} of {len(plan.stages) * plan.shards} shards are judged")
    verdicts = Verdicts.of(shards)
    result = summary(model, judge, plan, shards, verdicts)
    stages = _stages_of(folder)
    if len(stages) > len(plan.stages) and stages[: len(plan.stages)] == plan.stages:
        return result
    table = pa.table({name: pa.array(getattr(verdicts, name)) for name in _COLUMNS})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    write_whole(folder / VERDICTS, buffer.getvalue())
    write_whole(folder / ENTRY, _json(entry(result)))
    write_whole(folder / RESULT, _json(result))
    return result


def _stages_of(folder: Path) -> tuple[str, ...]:
    """The stages of the result that lies in a folder, none where there is none."""
    try:
        return tuple(each["stage"] for each in from_json((folder / RESULT).read_text(encoding="utf-8"))["stages"])
    except (OSError, ValueError, KeyError, TypeError):
        return ()


_COLUMNS = ("image", "label", "broken_by", "clean_correct", "robust_correct")


def summary(model: Model, judge: Judge, plan: Plan, shards: Sequence[Shard], verdicts: Verdicts) -> dict[str, Any]:
    """Everything a reader needs to use the numbers, as plain data."""
    raised = [name for name in flags.found(shards) if name not in answered(plan)]
    return {
        "model": model.name,
        "spec": model.spec,
        "architecture": model.architecture,
        "given_architecture": model.given,
        "weights": model.weights,
        "data": judge.data.model_dump(mode="json"),
        "split": plan.split,
        "images": len(verdicts),
        "images_wanted": judge.images.model_dump(mode="json"),
        "threat": plan.threat.model_dump(mode="json"),
        "version": plan.version,
        "autoattack": judge.autoattack and not {JOINED, CLAIMED} & set(plan.extras),
        "accelerated": EARLY in plan.extras,
        "joined": {stage: [str(path.absolute()) for path in plan.files.get(stage, ())] for stage in (JOINED, CLAIMED)},
        "clean_accuracy": verdicts.clean_accuracy,
        "clean_interval": _interval(float(verdicts.clean_correct.sum()), len(verdicts)),
        "robust_accuracy": verdicts.robust_accuracy,
        "robust_interval": _interval(float(verdicts.robust_correct.sum()), len(verdicts)),
        "stages": [_stage(stage, [s for s in shards if s.attack == stage]) for stage in plan.stages],
        "flags": {name: flags.told(name, shards) for name in raised},
        "warnings": [*model.warnings, *chance.warnings(shards)],
        "seconds": sum(float(shard.info["seconds"]) for shard in shards),
        "shard_size": plan.shard_size,
        "passes_per_verdict": plan.passes,
        "packages": dict(plan.parts.get("packages", {})),
        "fingerprint": dict(plan.parts),
    }


def answered(plan: Plan) -> set[str]:
    """Flags that cast no doubt on this judgement: `rand` is how a randomised model is judged."""
    return {"randomised"} if plan.strength == "rand" else set()


def _stage(stage: str, shards: Sequence[Shard]) -> dict[str, Any]:
    told = {
        "stage": stage,
        "images": sum(len(shard.image) for shard in shards),
        "broken": sum(int(shard.broken.sum()) for shard in shards),
        "seconds": sum(float(shard.info["seconds"]) for shard in shards),
    }
    for name in ("zero_gradients", "outside", "not_finite"):
        count = sum(int(shard.info.get(name, 0)) for shard in shards)
        if count:
            told[name] = count
    distances = [float(shard.info["largest"]) for shard in shards if "largest" in shard.info]
    return told | ({"largest_perturbation": max(distances)} if distances and stage != CLEAN else {})


def entry(result: Mapping[str, Any]) -> dict[str, Any]:
    """An entry as RobustBench keeps in `model_info`. What only its authors know is left empty.

    `autoattack_acc` is filled where the result may be called AutoAttack; any other evaluation is `external`, the field
    that RobustBench has for it.
    """
    accuracy = f"{100 * result['robust_accuracy']:.2f}"
    whole = result["split"] == "test" and result["images_wanted"]["test"] == "all"
    images = f"{result['images']} images of {result['split']}"
    return {
        "link": "",
        "name": "",
        "authors": "",
        "additional_data": None,
        "number_forward_passes": 1,
        "dataset": result["data"]["name"],
        "venue": "",
        "architecture": result["architecture"],
        "eps": in_255ths(result["threat"]["eps"]),
        "clean_acc": f"{100 * result['clean_accuracy']:.2f}",
        "reported": "",
        **({"autoattack_acc": accuracy} if result["autoattack"] else {"external": accuracy}),
        "footnote": "" if result["autoattack"] and whole else f"Judged by {result['version']}, {images}.",
        "unreliable": bool(result["flags"]),
    }


def _interval(successes: float, images: int) -> list[float]:
    """95 % Wilson interval of a share of images."""
    from scipy.stats import binomtest

    if not images:
        return [0.0, 1.0]
    found = binomtest(round(successes), images).proportion_ci(method="wilson")
    return [float(found.low), float(found.high)]


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2) + "\n"
