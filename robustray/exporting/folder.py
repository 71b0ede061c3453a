"""Writes an export: a folder that is whole or not there, and is never written over by another model."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import safetensors.torch
from torch import Tensor

from robustray.derived import point
from robustray.derived.mixture import parts_of
from robustray.errors import UserError
from robustray.exporting import card, entry, judged, origin, programs, script
from robustray.files import whole_folder, write_whole
from robustray.subjects import Classifier, exported
from robustray.subjects.program import inside

Format = Literal["safetensors", "onnx"]
ONNX = "model.onnx"
NO_PARTS = (
    "This is a mixture, and its parents are no trials of ours: judged from here it is attacked as a whole, not through its "
    "parts as well. Judge the folder of the point itself for that."
)
OTHER_GRADIENTS = (
    "The program's gradients are not those of the network it came from: attacks on it are weaker or stronger than on that "
    "one."
)


@dataclass(frozen=True)
class Asked:
    """What is exported, and how."""

    model: Classifier
    spec: str
    home: Path | None  # the model's folder, where it has one
    data: str  # name of its images
    classes: int
    pixels: Tensor  # a few images [B, C, H, W] in [0, 1]
    format: Format = "safetensors"
    named: Sequence[Path] = ()  # results of judgements that lie elsewhere
    draw: Callable[[], bytes | None] = lambda: None  # the figure; None: there is none


def write(asked: Asked, out: Path) -> list[str]:
    """Writes an export into `out`, and returns what to tell of it, a line each.

    A folder that is an export of the same weights is brought up to date, file by file, and keeps what else lies in it.

    Raises:
        UserError: `out` is something else, or the model can neither be exported as a program nor be built again.
    """
    _check(out, asked.model)
    if asked.format == "onnx":
        programs.needs_onnx()
    contents, said = _contents(asked, out.absolute().name)
    if out.is_dir() and any(out.iterdir()):
        for name, content in contents.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            write_whole(out / name, content)
        return said
    with whole_folder(out) as aside:
        for name, content in contents.items():
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            write_whole(aside / name, content)
    return said


def _check(out: Path, model: Classifier) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not out.is_dir():
        raise UserError(f"--out {out}: is a file, and an export is a folder; name another")
    if not exported.there(out):
        raise UserError(f"--out {out}: holds something else, which is left as it is; name another folder")
    if (weights := exported.about(out)["weights"]) != model.weights:
        raise UserError(
            f"--out {out}: is an export of other weights, {str(weights)[:12]}, and is left as it is; these have "
            f"{model.weights[:12]}: name another folder"
        )


def _contents(asked: Asked, name: str) -> tuple[dict[str, str | bytes], list[str]]:
    """Every file of the export of a `name` by its own, and what to tell."""
    model, said = asked.model, []
    contents: dict[str, str | bytes] = {exported.WEIGHTS: _weights(model)}
    notes: list[str] = []
    rebuilt = _recipe(asked, contents)
    program: programs.Compared | str
    try:
        contents[exported.PROGRAM], program = programs.exported(inside(model.model), asked.pixels)
        contents[script.SCRIPT] = script.TEXT
    except programs.NoProgram as error:
        if not rebuilt:
            raise UserError(
                f"{asked.spec}: cannot be exported: {error}; and no trial of ours says how to build it again"
            ) from None
        program = str(error)
        said.append(f"no {exported.PROGRAM} and no {script.SCRIPT}: {error}; the export needs robustray to be loaded")
    if isinstance(program, programs.Compared) and not rebuilt:
        notes += [NO_PARTS] * bool(parts_of(model.model)) + [OTHER_GRADIENTS] * (program.gradients is False)
    if asked.format == "onnx":
        contents[ONNX] = _onnx(asked)
    judgements = judged.found(model, asked.spec, asked.home, asked.named)
    model = replace(model, name=name)
    if judgements:
        named = replace(model, architecture=origin.architecture(model))
        place, told = entry.robustbench(named, judgements[0] | {"architecture": named.architecture})
        contents[str(place)] = json.dumps(told, indent=2) + "\n"
    else:
        said.append("not judged: the card says so, and there is no entry for RobustBench")
    if (picture := asked.draw()) is not None:
        contents[card.FIGURE] = picture
    source, chosen = origin.told(asked.model, asked.spec, asked.home, judgements)
    shape = tuple(asked.pixels.shape[1:])
    about = entry.about(model, source, shape, asked.classes, judgements, chosen, program, notes)
    files = [*contents, exported.ABOUT]
    told_ = card.Told(
        model, asked.data, shape, asked.classes, source, judgements, chosen, program, files, notes, picture is not None
    )
    contents[card.CARD] = card.text(told_)
    contents[exported.ABOUT] = json.dumps(about, indent=2) + "\n"
    return contents, [*notes, *said]


def _weights(model: Classifier) -> bytes:
    state = inside(model.model).state_dict()
    plain = {name: value for name, value in state.items() if isinstance(value, Tensor) and not value.is_quantized}
    if other := sorted(state.keys() - plain.keys()):
        raise UserError(
            f"{model.name}: cannot be exported: its state {other[0]} is no plain tensor, as safetensors holds"
        )
    # A copy each: weights that two layers share are kept once by no reader that takes a name for a tensor.
    return safetensors.torch.save({name: value.detach().contiguous().clone() for name, value in plain.items()})


def _recipe(asked: Asked, contents: dict[str, str | bytes]) -> bool:
    """Adds what our code builds the model from. Whether that is enough."""
    if asked.model.trial is not None:
        contents[exported.TRIAL] = asked.model.trial.to_yaml()
        return True
    if asked.home is None or not (asked.home / point.FILE).is_file():
        return False
    contents[point.FILE] = (asked.home / point.FILE).read_bytes()
    return exported.builds(asked.home)


def _onnx(asked: Asked) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ONNX
        try:
            programs.onnx(inside(asked.model.model), asked.pixels, path)
        except programs.NoProgram as error:
            raise UserError(f"{asked.spec}: cannot be exported as ONNX: {error}") from None
        return path.read_bytes()
