"""The file through which an actor hands its training data to the model process in another interpreter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

DATA_FILE: Final = "data.arrow"
_BATCH_ROWS: Final = 1_000


def write_arrow(table: pa.Table, path: Path) -> None:
    """Write an uncompressed Arrow IPC stream, which every version of ``datasets.Dataset.from_file`` maps into memory.

    The file appears at once and complete. Hugging Face features in the schema's metadata are kept.
    """
    import pyarrow.ipc  # noqa: PLC0415  the learner loads Arrow only when it has data

    unfinished = path.with_name(f".{path.name}.unfinished")
    with unfinished.open("wb") as file, pyarrow.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=_BATCH_ROWS)
    unfinished.replace(path)
