"""Loads a model and writes its export."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from robustray import subjects
from robustray.commands.judge_run import source
from robustray.data.device import DeviceImages
from robustray.errors import UserError
from robustray.exporting import folder
from robustray.exporting.judged import sweep_of
from robustray.judging import first_look

EXPORTS = Path("exports")
_PATIENCE = 120  # seconds that drawing the figure may take


@dataclass(frozen=True)
class Asked:
    """The flags of the command."""

    model: str
    out: Path | None = None
    form: Literal["safetensors", "onnx"] = "safetensors"
    data: str | None = None
    norm: str = "linf"
    architecture: str | None = None
    judgements: tuple[Path, ...] = ()
    figure: bool = True


def run(asked: Asked, write: Callable[[str], None]) -> Path:
    """Exports a classifier, says what there is to say, and returns the folder.

    Raises:
        UserError: a flag, the model or the data is wrong, or the folder holds something else.
    """
    given = source(asked.data) if asked.data else None
    found = subjects.load(asked.model, architecture=asked.architecture, data=given, norm=asked.norm)
    data = given or (None if found.judge is None else found.judge.data)
    if data is None:
        raise UserError("--data is missing: which images the model takes, for example --data cifar10")
    path = Path(asked.model)
    home = path if path.is_dir() else None
    sweep = sweep_of(home)
    out = asked.out or EXPORTS / (found.name if sweep is None else f"{sweep.name}-{found.name}")
    images = data.load("train")
    pixels = DeviceImages(images.take(np.arange(min(8, len(images)))), torch.device("cpu")).batch(slice(None))[0]
    warnings = first_look.look(found.name, found.model, pixels, data.classes, (), asked.norm)
    with torch.no_grad():
        classes = found.model(pixels[:1].clone()).shape[1]
    for note in (*found.notes, *warnings):
        write(f"warning: {note}")

    def drawn() -> bytes | None:
        if not asked.figure or home is None or sweep is None:
            return None
        return _figure(sweep, home.absolute().name, write)

    wanted = folder.Asked(found, asked.model, home, data.name, classes, pixels, asked.form, asked.judgements, drawn)
    for said in folder.write(wanted, out):
        write(f"note: {said}")
    write(str(out))
    return out


def _figure(sweep: Path, number: str, write: Callable[[str], None]) -> bytes | None:
    """The sweep's frontier with a trial marked, as the command `analysis picture` draws it: figures are that package's."""
    with tempfile.TemporaryDirectory() as aside:
        file = Path(aside) / "frontier.png"
        command = [
            sys.executable,
            "-m",
            "analysis",
            "picture",
            str(sweep),
            "--trial",
            str(int(number)),
            "--out",
            str(file),
        ]
        path = os.pathsep.join(filter(None, sys.path))
        try:
            done = subprocess.run(  # noqa: S603 - this interpreter, on a folder that is an argument
                command,
                capture_output=True,
                text=True,
                timeout=_PATIENCE,
                check=False,
                cwd=aside,
                env=os.environ | {"PYTHONPATH": path},
            )
            said = done.stderr.strip().splitlines()
        except subprocess.TimeoutExpired:
            said = ["it took too long"]
        if not file.is_file():
            write(f"note: no figure: {said[-1] if said else 'it could not be drawn'}")
            return None
        return file.read_bytes()
