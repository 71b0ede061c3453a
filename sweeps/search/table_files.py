"""Rows of a table of learning curves in a file: parquet or JSON lines, read with every mistake told in one line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from robustray.disks import told
from robustray.errors import UserError
from robustray.files import from_json, write_whole

ABOUT = b"robustray table"
"""The key in a parquet schema's metadata under which what made a table stands, as JSON."""
LARGEST = 2**30
"""Bytes of a file that are read at most: what is in memory is several times as large."""


def read_rows(path: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows of a file in its order, empty cells left out, and what made it.

    Args:
        path: `.parquet`; anything else is JSON lines, an object per line, of which one `{"about": {...}}` may come first.

    Raises:
        UserError: it is not there, too large, or not such a file.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise UserError(f"{path}: has more than 1 GiB; tables are read as a whole")
        return _parquet(path) if path.suffix == ".parquet" else _lines(path)
    except OSError as error:
        raise UserError(f"{path}: {told(error).removeprefix(f'{path}: ')}") from None


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> None:
    """Writes rows as `read_rows` reads them, whole or not at all. Columns stand in the order of their first appearance."""
    if path.suffix != ".parquet":
        objects: Iterable[Mapping[str, Any]] = [{"about": about}, *rows]
        write_whole(path, "".join(f"{json.dumps(row, allow_nan=False)}\n" for row in objects))
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = pa.table({name: [row.get(name) for row in rows] for name in columns})
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({ABOUT: json.dumps(about)}), sink, compression="zstd")
    write_whole(path, sink.getvalue().to_pybytes())


def _parquet(path: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        metadata = table.schema.metadata or {}
        about = from_json(metadata.get(ABOUT, b"{}"))
        rows = [{key: value for key, value in row.items() if value is not None} for row in table.to_pylist()]
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path}: is no whole parquet file ({reason}); copy or make it again") from None
    return rows, about if isinstance(about, dict) else {}


def _lines(path: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    about: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{path}: is neither JSON lines nor named .parquet") from None
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = from_json(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise UserError(f"{path}:{number}: is no JSON object; a table has one per line")
        if not rows and not about and isinstance(row.get("about"), dict):
            about = row["about"]
        else:
            rows.append({key: value for key, value in row.items() if value is not None})
    return rows, about
