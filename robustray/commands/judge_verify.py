"""Checks a finished judgement and its saved adversarial images from disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from robustray import subjects
from robustray.attacks.versions import VERSIONS
from robustray.commands.judge_run import devices_of, first_images, looked_at
from robustray.errors import UserError
from robustray.files import from_json
from robustray.judge import Judge
from robustray.judging import result
from robustray.judging.case import Case
from robustray.judging.plan import Plan
from robustray.judging.verify import checked
from robustray.plain import line
from robustray.processors import cores
from robustray.verdicts import Verdicts, fingerprint


def verified(file: Path, write: Callable[[str], None], *, devices: tuple[str, ...] = ()) -> bool:
    """Checks a judgement and its saved adversarial images from disk. True where everything holds.

    Args:
        file: a `result.json`, or the folder it is in. devices: the first one is used.

    Raises:
        UserError: there is no such result, or what it was made from cannot be loaded.
    """
    folder = (file if file.is_dir() else file.parent).absolute()
    try:
        told = from_json((folder / result.RESULT).read_text(encoding="utf-8"))
        fields = {name: told[name] for name in ("data", "threat", "accelerated")}
        version = told["version"].removesuffix(", accelerated")
        version = version if version in VERSIONS else version.split("+")
        judge = Judge.model_validate({**fields, "version": version, "images": told["images_wanted"]})
        joined = {stage: tuple(map(Path, paths)) for stage, paths in told["joined"].items() if paths}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {line(error)}"
        raise UserError(f"{file}: no result of a judgement ({why})") from None
    gone = [path for paths in joined.values() for path in paths if not path.is_file()]
    if gone:
        raise UserError(f"{file}: {gone[0]}, which was joined, is gone")
    found = subjects.load(
        told["spec"], architecture=told["given_architecture"], data=judge.data, norm=judge.threat.norm
    )
    if found.weights != told["weights"]:
        write(f"{told['spec']} has other weights now: {found.weights[:12]}, not {told['weights'][:12]}")
        write("NOT verified")
        return False
    made: dict[str, Any] = {"shard_size": told["shard_size"], "files": joined}
    named = told["fingerprint"].get("model")
    plan = Plan.of(judge, found.weights, told["split"], model=named, **made)
    was, now = told["fingerprint"], json.loads(json.dumps(plan.parts))
    if other := sorted(key for key in {*was, *now} if was.get(key) != now.get(key)):
        raise UserError(f"{file}: was judged with other {', '.join(other)} than there are now")
    if not folder.name.endswith(fingerprint(now)):
        raise UserError(f"{folder}: the folder of a judgement must keep its name, which ends in {fingerprint(now)}")
    device = devices_of(devices)[0]
    torch.set_num_threads(min(torch.get_num_threads(), cores()))
    looked_at(found, judge, first_images(judge, told["split"]).to(device))
    case = Case(found.model, found.weights, judge, told["split"], folder.parent, device=device, named=named, **made)
    seen, verdicts = checked(case), Verdicts.read(folder, plan.stages[1:])
    write(f"{seen.images} adversarial images, largest {judge.threat.norm} perturbation {seen.largest:.6f}")
    for rows, what in (
        (seen.outside, "outside the threat or [0, 1]"),
        (seen.changed, "with another verdict now"),
        (seen.missing, "without a verdict, or broken without a saved image (judge with --save-adversarial)"),
        (seen.clean_changed, "whose clean verdict is another one now"),
    ):
        if rows:
            write(f"{len(rows)} images {what}: rows {', '.join(map(str, rows[:8]))}{' ...' if len(rows) > 8 else ''}")
    numbers = verdicts.clean_accuracy, verdicts.robust_accuracy
    agree = numbers == (told["clean_accuracy"], told["robust_accuracy"])
    if not agree:
        write(
            f"{result.RESULT} does not say what the verdicts add up to: clean {numbers[0]:.2%}, robust {numbers[1]:.2%}"
        )
    write("verified" if seen.sound and agree else "NOT verified")
    return seen.sound and agree
