"""`python -m robustray data`: what data there is, whether it is whole, and how it comes to be there."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, cast

import numpy as np
import typer
from numpy.typing import NDArray
from pydantic import ValidationError

from robustray.commands.plugin_flags import Plugin
from robustray.data.base import DataSource, Split
from robustray.data.doubts import doubts
from robustray.data.images import Images
from robustray.data.mix import Mix
from robustray.data.pixels import histogram, moments
from robustray.data.places import ROOT, own_root, roots
from robustray.data.reading import by
from robustray.data.stored import Stored
from robustray.data.unpacking import brought
from robustray.errors import UserError, nearest
from robustray.options.choose import choose
from robustray.options.mistakes import mistakes
from robustray.options.yaml import Place, dotted, parse
from robustray.registry import parts

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
CLASSES_SHOWN = 20
"""Counts by class that are written out."""


def data(
    name: Annotated[str | None, typer.Argument(help="A data source to check; without one, all are listed.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="An option of the source: --set path=...")
    ] = None,
    origin: Annotated[
        Path | None,
        typer.Option("--from", help="An archive to unpack, or a folder to read: images are decoded into the cache."),
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch it with torchvision, where that can.")] = False,
    leaks: Annotated[
        str | None,
        typer.Option(
            help="Look for test images in what is trained on: '{name: generated, path: 1m.npz}', as batch.mix, or train."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="Where --leaks computes: auto, cpu, cuda:0 ...")] = "auto",
    plugin: Plugin = None,
) -> None:
    """Lists the data sources and whether they are found, or checks one: counts, pixels, duplicates. Reads test too."""
    if name is None:
        if settings or origin or download or leaks:
            raise UserError(f"data: which source? known: {', '.join(parts('data'))}")
        for line in _listed():
            typer.echo(line)
        return
    source = _source(name, settings or [])
    if origin is not None and download:
        raise UserError(f"data {name}: --from and --download exclude each other")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if download:
        source = _fetched(source)
    elif origin is not None:
        if not isinstance(source, Stored):
            raise UserError(f"data {name}: reads no folder, so --from has no meaning")
        source = brought(source, origin)
    for line in checks(source) if leaks is None else _leaks(source, leaks, device):
        typer.echo(line)


def _listed() -> Iterator[str]:
    yield f"looked for in {', '.join(f'{root}/NAME' for root in roots())} (${ROOT} comes first where it is set)"
    for name, cls in parts("data").items():
        yield f"{name:20} {_state(cast(type[DataSource], cls))}"


def _state(cls: type[DataSource]) -> str:
    needed = [name for name, field in cls.model_fields.items() if field.is_required()]
    if needed:
        return f"lies where its options say: {', '.join(needed)}"
    source = cls.model_validate({})
    try:
        source.check()
    except UserError as error:
        return str(error).removeprefix(f"{source.name}: ")
    return f"found: {source.home()}" if isinstance(source, Stored) else "comes with its library"


def _source(name: str, settings: list[str]) -> DataSource:
    known = parts("data")
    if name not in known:
        raise UserError(f"there is no data {name!r}; {nearest(name, known)}")
    options = {}
    for text in settings:
        key, equals, written = text.partition("=")
        place = Place(0, f"--set {text}")
        if not equals:
            raise UserError(f"{place.text}: must look like validation=2000")
        options[key.strip()] = parse(written, partial(_always, place))[0]
    try:
        return cast(DataSource, known[name].model_validate(options))
    except ValidationError as error:
        wrong = mistakes(error, known[name])
        keys = min(wrong, key=lambda keys: str(keys[0]) not in options)  # what was written before what is missing
        raise UserError(f"data {name}: {dotted(keys)}: {wrong[keys]}") from None


def _always(place: Place, _: int) -> Place:
    return place


def _fetched(source: DataSource) -> DataSource:
    if not isinstance(source, Stored) or source.dataset is None:
        how = f"; {source.obtain}" if isinstance(source, Stored) else ""
        raise UserError(f"data {source.name}: cannot be downloaded{how}")
    from robustray.data.published import download

    home = own_root() / source.name if source.path is None else Path(source.path)
    download(source.dataset, home)
    return source.model_copy(update={"path": str(home)})


def checks(source: DataSource) -> Iterator[str]:
    """Reads a source whole, and tells what is in it, line by line.

    Raises:
        UserError: something is missing or damaged.
    """
    source.check()
    yield f"{source.name}: {source.classes} classes" + (f", {source.home()}" if isinstance(source, Stored) else "")
    splits: dict[Split, Images] = {}
    for split in SPLITS:
        start = time.perf_counter()
        found = splits[split] = source.load(split)
        took = time.perf_counter() - start
        yield _row(split, f"{len(found):,} images {by(found.images.shape[1:])}, read in {took:.2f} s")
        yield _row("", f"by class: {_by_class(found.labels, source.classes)}")
    for split in SPLITS:
        yield _row(f"{split} pixels", _pixels(splits[split].images))
    for split in SPLITS:
        yield _row(f"{split} identity", source.identity(split))
    yield from (f"warning: {doubt}" for doubt in doubts(source, SPLITS[1:]))
    yield from _as_published(source)
    yield _duplicates(splits)


def _row(what: str, text: str) -> str:
    return f"  {what:20} {text}"


def _by_class(labels: NDArray[np.int64], classes: int) -> str:
    counts = np.bincount(labels, minlength=classes)
    if (counts == counts[0]).all():
        return f"{counts[0]} each"
    shown = " ".join(map(str, counts[:CLASSES_SHOWN]))
    return shown if classes <= CLASSES_SHOWN else f"{shown} ..., {counts.min()} to {counts.max()} in all {classes}"


def _pixels(images: NDArray[np.uint8]) -> str:
    counts = histogram(images)
    values = np.flatnonzero(counts.sum(axis=0))
    mean, std = (" ".join(f"{value:.4f}" for value in values) for values in moments(counts))
    return f"{values[0]} to {values[-1]} of 255, mean {mean}, std {std} in [0, 1]"


def _as_published(source: DataSource) -> Iterator[str]:
    """For information: a subset, or images packed anew, are as good."""
    if isinstance(source, Stored) and source.dataset is not None:
        from robustray.data.published import altered

        same, other = altered(source.dataset, dict.fromkeys((*source.located("train"), *source.located("test"))))
        if same or other:
            yield _row("checksums", f"{len(same)} files as published" + (f", not {', '.join(other)}" if other else ""))


def _leaks(source: DataSource, text: str, device: str) -> Iterator[str]:
    """The nearest of further images to test images, or of the source's own training images."""
    from robustray.data import leaks
    from robustray.devices import pick_device

    source.check()
    test = source.load("test")
    if text == "train":
        what, others = "train", source.read("train")
    else:
        mix = choose("mix", text, "--leaks")
        assert isinstance(mix, Mix)
        what, others = Path(mix.path).name, mix.read(test.shape, source.classes)
    yield f"{source.name}: {len(test):,} test images against {len(others):,} of {what}"
    found = leaks.nearest(test, others, device=pick_device(device), within=leaks.WITHIN)
    yield from leaks.lines(test, others, found, what)


def _duplicates(splits: dict[Split, Images]) -> str:
    seen = {_digest(image) for split in ("train", "validation") for image in splits[split].images}
    rows = [row for row, image in enumerate(splits["test"].images) if _digest(image) in seen]
    if not rows:
        return _row("duplicates", "no test image is in train")
    shown = ", ".join(map(str, rows[:5])) + (" ..." if len(rows) > 5 else "")
    return f"warning: {len(rows)} of {len(splits['test'])} test images are in train too: rows {shown} of test"


def _digest(image: NDArray[np.uint8]) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(image).data).digest()
