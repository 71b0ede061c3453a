"""`python -m sweeps mirror FROM TO`: a sweep's folder copied to a URL, or back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robustray.errors import UserError

if TYPE_CHECKING:
    from sweeps.storage import carried


def mirror(
    source: Annotated[
        str, typer.Argument(metavar="FROM", help="A sweep's folder, results/NAME, or its copy, s3://...")
    ],
    target: Annotated[
        str, typer.Argument(metavar="TO", help="The other of the two; the sweep's own folder is TO/NAME.")
    ],
) -> None:
    """Copy a sweep's folder to a store, or back, all of it; every file is read again and compared by size and SHA-256.

    Nobody may be at work on the sweep, on either side. A copy that was begun is completed by the same command.
    """
    from sweeps.storage.names import checked, is_url

    if is_url(source) == is_url(target):
        raise UserError("mirror: one of the two is a folder, the other a URL like s3://bucket/results")
    if is_url(target):
        _up(Path(source), checked(target))
    else:
        _down(checked(source), Path(target))


def _up(folder: Path, url: str) -> None:
    from sweeps.record import JOURNAL
    from sweeps.record.lock import FolderLock
    from sweeps.storage import carried, opened
    from sweeps.storage.fetching import bring_all
    from sweeps.storage.store import Store, Trouble

    if not (folder / JOURNAL).is_file():
        raise UserError(f"{folder}: no sweep here (no {JOURNAL})")
    store = Store(f"{url}/{folder.resolve().name}")
    try:
        with FolderLock(folder), opened.lease_of(store, typer.echo):
            there = store.read(JOURNAL)
            if (
                there is not None
                and opened.standing(folder, there) != "ahead"
                and there != (folder / JOURNAL).read_bytes()
            ):
                raise UserError(
                    f"{store.url}: has a record that does not end where that of {folder} goes on; choose another URL"
                )
            bring_all(folder)
            done = carried.to_store(folder, store)
    except Trouble as error:
        raise UserError(str(error)) from None
    _tell(done, store.url)


def _down(url: str, results: Path) -> None:
    from sweeps.record.lock import FolderLock
    from sweeps.storage import carried
    from sweeps.storage.store import Store, Trouble

    store, folder = Store(url), results / url.rpartition("/")[2]
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder}: is there already; name a folder TO in which there is no {folder.name}")
    try:
        with FolderLock(folder):
            done = carried.from_store(store, folder)
    except Trouble as error:
        raise UserError(str(error)) from None
    _tell(done, str(folder))


def _tell(done: carried.Carried, where: str) -> None:
    for line in done.odd:
        typer.echo(f"warning: left out: {line}")
    typer.echo(
        f"{where}: copied {done.files} ({done.size / 1e6:.1f} MB) of {done.compared} files, all compared by size and SHA-256"
    )
