"""Reading slices of Parquet files as one stream of batches with one schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa

from flops.errors import DataUnavailableError

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Iterator, Sequence

    import pyarrow.parquet as pq

    from flops.data.shares import Slice

HF_METADATA: Final = b"huggingface"
_BATCH_BYTES: Final = 4 * 1024 * 1024
_MAX_BATCH_ROWS: Final = 65_536


def same_columns(schemas: Sequence[tuple[str, pa.Schema]]) -> pa.Schema:
    """The schema that all named parts have; metadata other than Hugging Face's features may differ.

    Raises:
        DataUnavailableError: names two parts that differ, and how.
    """
    first_name, first = schemas[0]
    for name, schema in schemas[1:]:
        if _description(schema) != _description(first):
            message = (
                f"The partitions {first_name} and {name} have different columns: "
                f"{_description(first)} against {_description(schema)}."
            )
            raise DataUnavailableError(message, remedy="Put data of different kinds under different tags.")
    return first


def stream_slices(
    files: Sequence[pq.ParquetFile], slices: Sequence[Slice], schema: pa.Schema, opened: contextlib.ExitStack
) -> Iterator[pa.RecordBatch]:
    """The rows of the slices, in order, a few MiB at a time; closes ``opened`` at the end.

    Raises:
        DataUnavailableError: a file turns out to be damaged.
    """
    with opened:
        for part in slices:
            try:
                for batch in _rows(files[part.partition], part.start, part.stop):
                    yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)
            except (OSError, pa.ArrowException) as error:
                message = f"A stored partition is damaged: {error}."
                raise DataUnavailableError(message, remedy="Put the data again.") from error


def _rows(file: pq.ParquetFile, start: int, stop: int) -> Iterator[pa.RecordBatch]:
    """The rows ``start`` to ``stop``.

    Row groups that hold none of them are not read, and the others one by one: asked for several, Arrow reads ahead and
    holds them all in memory.
    """
    position = 0
    batch_rows = _batch_rows(file)
    for index in range(file.num_row_groups):
        group_end = position + file.metadata.row_group(index).num_rows
        if position >= stop or group_end <= start:
            position = group_end
            continue
        for batch in file.iter_batches(batch_size=batch_rows, row_groups=[index]):
            begin, end = max(start - position, 0), min(stop - position, batch.num_rows)
            if begin < end:
                yield batch.slice(begin, end - begin)
            position += batch.num_rows


def _batch_rows(file: pq.ParquetFile) -> int:
    """How many rows make a batch of a few MiB."""
    metadata = file.metadata
    size_bytes = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
    rows: int = _BATCH_BYTES * metadata.num_rows // max(size_bytes, 1)
    return max(1, min(_MAX_BATCH_ROWS, rows))


def _description(schema: pa.Schema) -> str:
    """The columns with their types and, if there are any, Hugging Face's features."""
    features = (schema.metadata or {}).get(HF_METADATA, b"").decode(errors="replace")
    columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
    return f"{columns}; features {features}" if features else columns
