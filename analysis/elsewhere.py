"""A sweep's folder by name, or by the URL of its copy: then what tables and figures need comes here first."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robustray.disks import told
from robustray.errors import UserError
from sweeps.record.lock import FolderLock


def swept(text: str) -> Path:
    """The folder of a sweep. For a URL that is the one below `results/` in which `--results URL` would put it.

    Checkpoints stay where they are. A folder whose driver is at work here, or was the last to write the copy, is read as it is.

    Raises:
        UserError: the copy cannot be read, holds no sweep, or this machine's folder has gone another way.
    """
    from sweeps.storage import fetching, layout, lease, named, names, opened
    from sweeps.storage.kept import Kept
    from sweeps.storage.store import Store, Trouble

    if not names.is_url(text):
        return Path(text)
    url, _, name = names.checked(text).rpartition("/")
    if url.endswith(("/", ":")):
        raise UserError(f"{text}: is no sweep's folder; PROTOCOL://BUCKET/PATH/NAME is one")
    store, folder = Store(f"{url}/{name}"), names.cache(url) / name
    named.remember(store.url)
    try:
        try:
            lock = FolderLock(folder)
        except UserError:
            if (folder / layout.RECORD).exists():  # a driver is at work: nothing is newer
                return folder
            raise
        with lock:
            record, kept = store.read(layout.RECORD), Kept.read(folder, store.url)
            if record is None:
                raise UserError(f"{store.url}: no sweep here (no {layout.RECORD})")
            last = lease.last(store)
            if kept.owner and last is not None and last.owner == kept.owner and (folder / layout.RECORD).exists():
                return folder
            here = opened.standing(folder, record)
            if here == "apart":
                raise UserError(
                    f"{folder}: went another way than {store.url}; python -m sweeps mirror {store.url} OTHER brings that"
                )
            if here == "behind":
                fetching.fetch(store, folder, kept, away=fetching.reading)
    except Trouble as error:
        raise UserError(str(error)) from None
    except OSError as error:
        raise UserError(told(error)) from None
    return folder


Swept = Annotated[
    Path,
    typer.Argument(metavar="FOLDER|URL", help="the sweep's folder, results/NAME, or its copy, s3://...", parser=swept),
]
"""A sweep in a command line."""
