"""A figure as a picture, which takes a browser."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import plotly.graph_objects as go

from robustray.errors import UserError
from robustray.files import write_whole
from robustray.plain import line

Format = Literal["png", "svg", "pdf"]
PATIENCE = 60
"""Seconds that a browser may take for one picture."""
_CHILD = """
import json, logging, os, sys
try:
    import kaleido
    asked = json.JSONDecoder().decode(sys.stdin.read())  # its caller wrote it
    for name in ("kaleido", "choreographer"):  # they tell of their every step
        logging.getLogger(name).setLevel(logging.ERROR)
    kopts = {"mathjax": False, "timeout": asked["patience"]}
    drawn = kaleido.calc_fig_sync(asked["figure"], opts=asked["opts"], kopts=kopts)
    sys.stdout.buffer.write(drawn.encode() if isinstance(drawn, str) else bytes(drawn))
    sys.stdout.buffer.flush()
    code = 0
except BaseException as error:
    first = next((arg for arg in error.args if isinstance(arg, str)), type(error).__name__)  # choreographer gives it in parts
    print(first.splitlines()[0][:500] if first else type(error).__name__, file=sys.stderr, flush=True)
    code = 1
os._exit(code)  # not by its end: where a browser died as it started, threads that listen to it would never end
"""


def png(figure: go.Figure, width: int | None = None, height: int | None = None, scale: float = 2) -> bytes:
    """The figure as a PNG; see `drawn`."""
    return drawn(figure, width, height, "png", scale)


def drawn(figure: go.Figure, width: int | None, height: int | None, kind: Format, scale: float = 2) -> bytes:
    """The figure as a PNG of `scale` times so many pixels, an SVG or a PDF, drawn by kaleido in a headless Chromium.

    Kaleido starts the browser without its sandbox, so this works as root and in containers; MathJax is off because it
    would be fetched from the network. It runs in a process of its own: a browser that dies as it starts leaves threads in
    its caller that wait for it for ever, and a sweep would be done and never end.

    Args:
        width, height: in pixels; without, the figure's own.

    Raises:
        ModuleNotFoundError: kaleido is not installed. TimeoutError: the browser took too long. RuntimeError: it came to grief.
    """
    if importlib.util.find_spec("kaleido") is None:
        raise ModuleNotFoundError("No module named 'kaleido'", name="kaleido")
    size = {"width": width, "height": height, "scale": scale if kind == "png" else 1}
    opts = {"format": kind} | {name: value for name, value in size.items() if value is not None}
    asked = f'{{"figure": {figure.to_json()}, "opts": {json.dumps(opts)}, "patience": {PATIENCE}}}'
    command = [sys.executable, "-P", "-c", _CHILD]
    try:
        done = subprocess.run(command, input=asked.encode(), capture_output=True, timeout=1.5 * PATIENCE, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"the browser took more than {1.5 * PATIENCE:g} s") from None
    if done.returncode or not done.stdout:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise RuntimeError(said[-1] if said else f"the browser's process ended with {done.returncode}")
    return done.stdout


def kind_of(out: Path) -> Format:
    """What a file is to hold, by the end of its name.

    Raises:
        UserError: it is none of them.
    """
    for kind in get_args(Format):
        if out.suffix.lower() == f".{kind}":
            return kind  # type: ignore[no-any-return]
    raise UserError(f"--out {out}: must end in .png, .svg or .pdf")


def save(figure: go.Figure, out: Path, width: int, height: int) -> None:
    """Writes the figure as PNG, SVG or PDF, by the name of the file.

    Raises:
        UserError: the name says none of them, or no browser drew it.
    """
    kind = kind_of(out)
    try:
        content = drawn(figure, width, height, kind)
    except Exception as error:  # a browser can fail in any way
        raise UserError(f"{out} was not drawn: {why_not(error)}") from None
    write_whole(out, content)


def beside(figure: go.Figure, stem: Path, size: tuple[int, int], formats: Sequence[str], scale: float = 2) -> list[str]:
    """Writes STEM.png, STEM.svg and STEM.pdf, as far as they are asked for, and removes older ones.

    Args:
        stem: of the names. size: in pixels. scale: of a PNG, as in `drawn`.

    Returns:
        Why one was not drawn, in a line; the first one that fails is the last that is tried, for it is the browser's fault.
    """
    notes: list[str] = []
    for kind in get_args(Format):
        path, content = stem.with_suffix(f".{kind}"), None
        if kind in formats and not notes:
            try:
                content = drawn(figure, *size, kind, scale)
            except Exception as error:  # a browser can fail in any way, and a page is whole without a picture
                notes.append(f"{path.name} was not drawn: {why_not(error)}")
        if content is None:
            path.unlink(missing_ok=True)
        else:
            write_whole(path, content)
    return notes


def why_not(error: Exception) -> str:
    """Why there is no picture, in one line."""
    return "kaleido is not installed (pip install 'robustray[png]')" if isinstance(error, ImportError) else line(error)
