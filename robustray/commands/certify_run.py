"""Certifies a classifier: counts answers to noisy copies, goes on where it was, and says what follows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from robustray import subjects
from robustray.certify import curves
from robustray.certify.counting import Noise
from robustray.certify.smoothed import base_of
from robustray.commands.certify_asked import Asked, alphas_of, check_sigma, level_of
from robustray.commands.certify_count import counted, parts_of
from robustray.commands.judge_run import check_home, source
from robustray.commands.looked_at import device_of, looked_at, rows_of
from robustray.errors import UserError
from robustray.files import as_csv, write_whole
from robustray.judging import identity
from robustray.verdicts import fingerprint

RESULTS = Path("results/certificates")
ABOUT = "certificate.json"
_UNFIXED = "from a generator that is seeded anew each time: what was counted cannot be repeated"


def run(asked: Asked, write: Callable[[str], None]) -> dict[str, Any]:
    """Certifies a classifier and returns its result, as `result.json` holds it.

    Raises:
        UserError: a flag, the model or the data is wrong, or the model cannot be certified.
    """
    level = level_of(asked.confidence)
    alphas = alphas_of(asked.alphas)
    check_sigma(asked.sigma)
    given = source(asked.data) if asked.data else None
    found = subjects.load(asked.model, architecture=asked.architecture, data=given, norm="l2")
    base = base_of(found)
    alphas = alphas or alphas_of((str(base.alpha),), f"{found.name}: its alpha of {base.alpha:g}")
    sigma = asked.sigma or base.sigma
    if sigma is None:
        raise UserError("--sigma is missing: the noise's deviation in pixels of [0, 1], for example --sigma 0.25")
    data = given or (None if found.judge is None else found.judge.data)
    if data is None:
        raise UserError("--data is missing: which images to certify on, for example --data cifar10")
    split = asked.split or ("validation" if found.judge else "test")
    if found.judge is not None:
        check_home(asked.model, split)
    rows = rows_of(found, data, split, asked.images, own_data=asked.data is None)
    noise, device = Noise(sigma, asked.first, asked.samples), device_of(asked.device)
    classes, warnings, named = looked_at(found.name, base.model, data, split, "l2", device, _UNFIXED)
    root = asked.results or (Path(asked.model) / "certificates" if Path(asked.model).is_dir() else RESULTS / found.name)
    parts = parts_of(found, base, data, split, rows, noise)
    if found.trial is None and named is None:
        parts["model"] = {"drawn": identity.drawn(found.model, found.name)}
    elif found.trial is None and named is not None:
        before = (path.parent for path in root.glob(f"*/{ABOUT}"))
        parts["model"] = {"answers": identity.known(before, named, found.weights, "model", "answers", file=ABOUT)}
    folder = root / f"{split}-noise{sigma:g}-{fingerprint(parts)}"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / ABOUT).exists():
        write_whole(folder / ABOUT, json.dumps(parts, indent=2, sort_keys=True))
    write(
        f"{len(rows)} images of {data.name} {split}, {'the robust part of ' * base.robust_part}{found.name} smoothed by noise "
        f"of sigma {sigma:g}: {noise.first} copies of each to pick a class, {noise.samples} to count it"
    )
    for warning in (*found.notes, *warnings):
        write(f"warning: {warning}")
    columns = counted(folder, base.model, data, split, rows, noise, device, asked.batch)
    known = curves.Counted(columns, noise, classes, level)
    about = {
        "model": asked.model, "name": found.name, "weights": found.weights, "data": data.name, "split": split,
        "images": len(rows), "sigma": sigma, "samples": noise.samples, "first": noise.first,
        "confidence": asked.confidence, "classes": classes,
    }  # fmt: skip
    return _written(folder, known, alphas, about, write)


def _written(
    folder: Path, counted: curves.Counted, alphas: list[float], about: dict[str, Any], write: Callable[[str], None]
) -> dict[str, Any]:
    """Writes curves, images and the result, and says them."""
    results = []
    for alpha in alphas:
        radii = counted.radii(counted.level, alpha) * counted.right
        start = [float(counted.curve(alpha, "smoothing", claimed, np.zeros(1))[0]) for claimed in curves.CLAIMS]
        entry = {"alpha": alpha, "certified_accuracy": start[0], "certified_accuracy_all": start[1],
                 "mean_radius": float(radii.mean()), "largest_radius": float(radii.max())}  # fmt: skip
        results.append(entry)
        write(
            f"alpha {alpha:g}: certified {start[0]:.2%} ({start[1]:.2%} with all claims at once), mean radius "
            f"{entry['mean_radius']:.4f}, largest {entry['largest_radius']:.4f}"
        )
    result = about | {"norm": "l2", "right": float(counted.right.mean()), "alphas": results}
    write_whole(folder / "curves.csv", as_csv(curves.table(counted, alphas)))
    write_whole(folder / "images.csv", as_csv(list(curves.images(counted, alphas))))
    write_whole(folder / "result.json", json.dumps(result, indent=2))
    write(str(folder / "result.json"))
    return result
