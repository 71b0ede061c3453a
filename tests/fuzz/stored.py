"""Readers of copies in stores: what another machine, or whoever may write there, has left for this one."""

from __future__ import annotations

import functools
import http.server
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from robustray.errors import UserError
from robustray.files import write_whole
from robustray.plugins import trust
from sweeps.record import JOURNAL
from sweeps.storage import fetching, layout, named
from sweeps.storage import store as stores
from sweeps.storage.kept import Kept
from sweeps.storage.lease import Holder
from sweeps.storage.sets import Stamp
from sweeps.storage.store import Entry, Store, Trouble

HOME = "trials/0000"
NAMES = (JOURNAL, "sweep.yaml", f"{HOME}/last.pt", f"{HOME}/previous.pt", f"{HOME}/metrics.csv")
URL = "s3://bucket/team/small"


def away(folder: Path) -> None:
    """A trial's folder that has left its checkpoints in a copy beside it."""
    url = f"file://{folder.parent}/store"
    trust.take_over(named.key(url))
    for name in NAMES[2:4]:
        Store(url).write(name, b"weights")
    (folder / HOME).mkdir(parents=True)
    fetching.leave(folder / HOME, folder, url, dict.fromkeys(NAMES[2:4], 7))


def bring(folder: Path) -> int:
    return fetching.bring(folder / HOME)


def known(folder: Path) -> None:
    """What is known of a copy, beside a sweep's folder."""
    Kept(URL, "me", {name: Stamp(1, 2, 3) for name in NAMES}, dict.fromkeys(NAMES, "tag")).write(folder / "small")


def read_known(folder: Path) -> Kept:
    found = Kept.read(folder / "small", URL)
    write_whole(folder / "read", repr(found))
    return found


def read_record(folder: Path) -> layout.Known:
    """The few words of a record that workers and readers ask for."""
    return layout.known((folder / JOURNAL).read_bytes())


def lease(folder: Path) -> None:
    (folder / "lease").write_bytes(replace(Holder.myself(10.0), host="elsewhere").content())


def read_lease(folder: Path) -> str:
    found = Holder.read((folder / "lease").read_bytes())
    return "" if found is None else f"{found.name} {found.held} {found.gone}"


def listing(folder: Path) -> None:
    """As a server of S3 answers who asks what is there."""
    items = "".join(
        f"<Contents><Key>team/small/{name}</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified>"
        f"<ETag>&quot;{number:032x}&quot;</ETag><Size>{number + 1}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for number, name in enumerate(NAMES)
    )
    head = f"<Name>bucket</Name><Prefix>team/small/</Prefix><KeyCount>{len(NAMES)}</KeyCount><MaxKeys>1000</MaxKeys>"
    (folder / "listing.xml").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"{head}<IsTruncated>false</IsTruncated>{items}</ListBucketResult>"
    )


def read_listing(folder: Path) -> dict[str, Entry]:
    """Through the client that a sweep has, over a connection of its own to a server of ours."""
    _Server.answer = (folder / "listing.xml").read_bytes()
    entries, _ = _store().files()
    for name in entries:
        path = Path(os.path.normpath(folder / name))
        assert path.is_relative_to(folder), name
    return entries


class _Server(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answer = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    def do_HEAD(self) -> None:
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *said: Any) -> None:
        pass


@functools.cache
def _store() -> Store:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_address[1]}",
        "AWS_ACCESS_KEY_ID": "made",
        "AWS_SECRET_ACCESS_KEY": "up",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    once = {"s3": {"config_kwargs": {"retries": {"max_attempts": 0}}}}
    with patch.dict(stores._OPTIONS, once):  # a damaged answer is tried again after longer and longer pauses
        store = Store(URL)
    store._system.retries = 1
    return store


READS: tuple[tuple[str, str, Any, Any, tuple[type[Exception], ...]], ...] = (
    ("files that stay away", f"{HOME}/{fetching.ELSEWHERE}", away, bring, (UserError,)),
    ("what is known of a copy", ".small.copy.json", known, read_known, ()),
    ("lease", "lease", lease, read_lease, ()),
    ("listing of S3", "listing.xml", listing, read_listing, (Trouble,)),
)
