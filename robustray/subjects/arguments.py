"""What a training script wrote down of its arguments, beside the weights that it saved."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from robustray.errors import UserError
from robustray.files import from_json

ARGUMENTS = "args.txt"
_WIDE = re.compile(r"wrn-(\d+)-(\d+)-swish")
_PREACT = re.compile(r"preact-resnet(\d+)-swish")


def architecture(path: Path) -> tuple[str, str]:
    """The architecture that weights at `path` belong to by the `args.txt` beside them, and where that is said.

    Such files are those of adversarial_robustness_pytorch (Rade, 2021), SCORE (Pang et al., 2022) and DM-Improves-AT (Wang et
    al., 2023): JSON, with `model` as in wrn-28-10-swish, the `data` it was trained on, and whether to `normalize` once more.

    Raises:
        UserError: there is no such file, or it tells of no network of ours.
    """
    file = path.parent / ARGUMENTS
    if not file.is_file():
        raise UserError(f"{path}: only weights; say what network they belong to with --architecture")
    said = _read(file)
    model, data = str(said.get("model")), str(said.get("data"))
    statistics = data.removesuffix("s").replace("-", "_")  # cifar10s: with further images, of a file
    if (wide := _WIDE.fullmatch(model)) is not None:
        options = f"name: deepmind_wide_resnet, depth: {wide[1]}, width: {wide[2]}"
    elif (preact := _PREACT.fullmatch(model)) is not None:
        options = f"name: deepmind_preact_resnet, depth: {preact[1]}"
    else:
        raise UserError(
            f"{path}: only weights; say what network they belong to with --architecture ({file} has model {model!r}, and only "
            "those as wrn-28-10-swish or preact-resnet18-swish are known by it)"
        )
    if said.get("normalize") is True:
        raise UserError(
            f"{file}: normalize is true, so pixels are normalised once more before the network; name a function that makes the "
            "whole of it, as package.module:function or file.py:function"
        )
    return f"{{{options}, statistics: {statistics}}}", str(file)


def _read(file: Path) -> dict[str, Any]:
    try:
        said = from_json(file.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: not JSON of a script's arguments ({error}); say --architecture instead") from None
    if not isinstance(said, dict):
        raise UserError(f"{file}: holds a {type(said).__name__}, not a script's arguments; say --architecture instead")
    return said
