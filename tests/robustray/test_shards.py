"""Rows per image in files: any columns, whole or not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from robustray.shards import Rows, Store

SCHEMA = pa.schema([("image", pa.int32()), ("constant", pa.float64()), ("steps", pa.int16()), ("kept", pa.bool_())])
STORE = Store(SCHEMA)


def rows(constant: list[float], stage: str = "lipschitz", shard: int = 3, **info: Any) -> Rows:
    image = np.arange(len(constant), dtype=np.int32)
    columns: dict[str, NDArray[Any]] = {
        "image": image,
        "constant": np.array(constant, np.float64),
        "steps": (image % 5).astype(np.int16),
    }
    return Rows(stage, shard, {**columns, "kept": image % 2 == 0}, info)


def bits(column: NDArray[Any]) -> tuple[str, bytes]:
    return column.dtype.str, column.tobytes()


def alike(one: Rows | None, other: Rows) -> bool:
    return (
        one is not None
        and (one.stage, one.shard, one.info) == (other.stage, other.shard, other.info)
        and {name: bits(column) for name, column in one.columns.items()}
        == {name: bits(column) for name, column in other.columns.items()}
    )


@given(column=arrays.arrays(np.float64, st.integers(0, 6), elements=st.floats(allow_nan=True, allow_infinity=True)))
def test_a_float_per_image_comes_back_bit_for_bit(
    column: NDArray[np.float64], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, made = tmp_path_factory.mktemp("map"), rows(column.tolist(), seconds=1.5, norm="l2")
    STORE.write(folder, made)
    assert [path.name for path in folder.iterdir()] == ["lipschitz-0003.parquet"]
    assert alike(STORE.read(folder, "lipschitz", 3), made)


def test_nothing_is_there_before_it_is_written(tmp_path: Path) -> None:
    assert STORE.read(tmp_path, "lipschitz", 3) is None
    assert STORE.shards(tmp_path, "lipschitz") == []


def test_shards_of_a_stage_are_numbered_and_those_of_others_are_not_among_them(tmp_path: Path) -> None:
    for stage, shard in (("local", 10), ("local", 2), ("local-targeted", 7), ("local", 12_345)):
        STORE.write(tmp_path, rows([1.0], stage, shard))
    assert STORE.shards(tmp_path, "local") == [2, 10, 12_345]
    assert STORE.shards(tmp_path, "local-targeted") == [7]


def _another_number(table: pa.Table) -> pa.Table:
    return table.set_column(1, SCHEMA.field(1), pa.array([1.0, 2.5], pa.float64()))


def _another_info(table: pa.Table) -> pa.Table:
    return table.replace_schema_metadata({**table.schema.metadata, b"robustray": b'{"seed": 1}'})


@pytest.mark.parametrize(
    "change",
    [
        _another_number,
        _another_info,
        lambda table: table.slice(0, 1),
        lambda table: table.drop_columns(["steps"]),
        lambda table: table.append_column("more", table.column(0)),
        lambda table: table.set_column(1, "constant", table.column(1).cast(pa.float32())),
        lambda table: table.replace_schema_metadata({b"robustray": table.schema.metadata[b"robustray"]}),
    ],
)
def test_a_changed_file_is_not_there(change: Any, tmp_path: Path) -> None:
    STORE.write(tmp_path, rows([1.0, 2.0], seed=0))
    path = STORE.path(tmp_path, "lipschitz", 3)
    pq.write_table(change(pq.read_table(path)), path)
    assert STORE.read(tmp_path, "lipschitz", 3) is None


@pytest.mark.parametrize("left", [0.0, 0.5, 0.99])
def test_a_file_cut_short_is_not_there(left: float, tmp_path: Path) -> None:
    STORE.write(tmp_path, rows([1.0, 2.0]))
    path = STORE.path(tmp_path, "lipschitz", 3)
    path.write_bytes(path.read_bytes()[: int(left * path.stat().st_size)])
    assert STORE.read(tmp_path, "lipschitz", 3) is None


@pytest.mark.parametrize(("stage", "shard"), [("other", 3), ("lipschitz", 4)])
def test_a_file_under_another_name_is_not_there(stage: str, shard: int, tmp_path: Path) -> None:
    STORE.write(tmp_path, rows([1.0, 2.0]))
    STORE.path(tmp_path, "lipschitz", 3).rename(STORE.path(tmp_path, stage, shard))
    assert STORE.read(tmp_path, stage, shard) is None


def test_columns_are_those_of_the_schema(tmp_path: Path) -> None:
    made = rows([1.0, 2.0])
    for wrong in ({"image": made.columns["image"]}, {**made.columns, "more": made.columns["image"]}):
        with pytest.raises(ValueError, match="the schema has image, constant, steps, kept"):
            STORE.write(tmp_path, Rows("lipschitz", 3, wrong, {}))
    with pytest.raises(ValueError, match="length"):
        STORE.write(tmp_path, Rows("lipschitz", 3, {**made.columns, "steps": np.zeros(1, np.int16)}, {}))
    assert list(tmp_path.iterdir()) == []


def test_a_column_of_text_has_no_fixed_width() -> None:
    with pytest.raises(ValueError, match="name: a column of string has no fixed width"):
        Store(pa.schema([("name", pa.string())]))
