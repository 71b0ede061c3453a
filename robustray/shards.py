"""Tables with a row per image, one small file per (stage, shard), that a killed process finds again.

A store is a schema: which columns there are. Verdicts are one use of it; whatever else is found out image by image, such as
a map of local Lipschitz constants, is stored and resumed in the same way. A file that is there is whole: it was renamed
into place. One that is damaged counts as not there.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from robustray.files import from_json, write_whole


@dataclass(frozen=True)
class Rows:
    """What one stage found out about one shard of images."""

    stage: str
    shard: int
    columns: Mapping[str, NDArray[Any]]  # [n] each, in one order of images
    info: Mapping[str, Any]  # plain data about all of them: seconds, seed


@dataclass(frozen=True)
class Store:
    """Files with one schema. Its columns have a fixed width (whole numbers, floats, truth values), as numpy arrays do.

    Raises:
        ValueError: a column has not.
    """

    schema: pa.Schema

    def __post_init__(self) -> None:
        for field in self.schema:
            if np.dtype(field.type.to_pandas_dtype()).hasobject:
                raise ValueError(f"{field.name}: a column of {field.type} has no fixed width")

    @staticmethod
    def path(folder: Path, stage: str, shard: int) -> Path:
        """Where the rows of one (stage, shard) lie."""
        return folder / f"{stage}-{shard:04d}.parquet"

    @staticmethod
    def shards(folder: Path, stage: str) -> list[int]:
        """The shards of a stage that have a file, ascending."""
        return sorted(int(path.stem.rsplit("-", 1)[1]) for path in folder.glob(f"{stage}-[0-9]*.parquet"))

    def write(self, folder: Path, rows: Rows) -> None:
        """Writes one shard's rows, whole or not at all.

        Raises:
            ValueError: the columns are others than the schema's, or of different lengths.
        """
        if set(rows.columns) != set(self.schema.names):
            raise ValueError(f"columns {', '.join(rows.columns)}, but the schema has {', '.join(self.schema.names)}")
        arrays = [
            pa.array(column, type=field.type) for column, field in zip(self._cast(rows), self.schema, strict=True)
        ]
        info = json.dumps(dict(rows.info), sort_keys=True)
        table = pa.table(arrays, schema=self.schema)
        buffer = io.BytesIO()
        pq.write_table(table.replace_schema_metadata({"robustray": info, "sha256": self._digest(rows)}), buffer)
        write_whole(self.path(folder, rows.stage, rows.shard), buffer.getvalue())

    def read(self, folder: Path, stage: str, shard: int) -> Rows | None:
        """One shard's rows; None where the stage has not been run on it, or its file is damaged: it is run again."""
        try:
            with self.path(folder, stage, shard).open("rb") as file:  # pyarrow takes no name that is not UTF-8
                # One small file: `read_table` and its threads take five times as long.
                table = pq.ParquetFile(file).read(use_threads=False)
            metadata = table.schema.metadata or {}
            columns = {name: table.column(name).to_numpy() for name in self.schema.names}
            rows = Rows(stage, shard, columns, from_json(metadata[b"robustray"]))
            whole = table.schema.equals(self.schema) and metadata[b"sha256"].decode() == self._digest(rows)
            return rows if whole else None
        except (pa.ArrowException, OSError, KeyError, ValueError):
            return None

    def _cast(self, rows: Rows) -> list[NDArray[Any]]:
        return [np.asarray(rows.columns[field.name], field.type.to_pandas_dtype()) for field in self.schema]

    def _digest(self, rows: Rows) -> str:
        """SHA-256 over all that the rows say: parquet itself would give a changed byte back as another number."""
        digest = hashlib.sha256(json.dumps([rows.stage, rows.shard, dict(rows.info)], sort_keys=True).encode())
        for column in self._cast(rows):
            digest.update(column.dtype.str.encode() + column.tobytes())
        return digest.hexdigest()
