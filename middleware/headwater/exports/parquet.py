"""Parquet, by the extra `headwater[parquet]`. Columns with their types and zone, zstd, row groups. Knows no folder."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from headwater.errors import ConfigError
from headwater.exports.columns import COLUMNS, NAMES, TIMES, VERSION, Value

ROWS_PER_GROUP: Final = 16_384
_BATCH: Final = 4_096


def check() -> None:
    """Raises ConfigError where the extra is not installed."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise ConfigError("Parquet needs an extra: pip install 'headwater[parquet]'; jsonl needs none") from None


@lru_cache(maxsize=1)
def _schema() -> Any:
    import pyarrow as pa

    kinds = {"text": pa.string(), "whole": pa.int64(), "number": pa.float64(), "time": pa.timestamp("ms", tz="UTC")}
    fields = [pa.field(column.name, kinds[column.kind]) for column in COLUMNS]
    return pa.schema(fields, metadata={"headwater.columns": str(VERSION)})


class Parquet:
    """A file that is being written."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        self._writer = pq.ParquetWriter(path, _schema(), compression="zstd")
        self._rows: list[list[Value]] = []

    def write(self, row: list[Value]) -> None:
        """Add a row."""
        self._rows.append(row)
        if len(self._rows) >= ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        columns = zip(*self._rows, strict=True)
        arrays = [pa.array(column, type=field.type) for column, field in zip(columns, _schema(), strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=_schema()), row_group_size=ROWS_PER_GROUP)
        self._rows = []

    def close(self) -> None:
        """Write the last row group and the footer."""
        if self._rows:
            self._flush()
        self._writer.close()


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file, times in milliseconds. Raises ValueError where it is none of ours."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    check()
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_BATCH):
            for name in (NAMES[at] for at in TIMES):
                at = batch.schema.get_field_index(name)
                batch = batch.set_column(at, name, batch.column(at).cast(pa.int64()))
            yield from batch.to_pylist()


def entries(path: Path) -> Iterator[tuple[int, str]]:
    """Shard and place of each row."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_BATCH, columns=["shard", "entry_id"]):
            yield from zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)
