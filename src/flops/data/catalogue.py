"""The partitions of one node on disk: ``<directory>/<tag>/<name>.parquet``.

A partition is written to a hidden file beside its place, synced and renamed, so a reader sees the old content or the
new one, and a reader that has the old one open keeps it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import uuid
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from flops.data.names import check_partition_name, check_tag, is_allowed
from flops.data.plain_types import plain_schema
from flops.data.shares import slices_of_share
from flops.data.stored_table import same_columns, stream_slices
from flops.errors import DataUnavailableError, InvalidDataError
from flops.ports import StoredPartition

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

logger = logging.getLogger(__name__)

_SUFFIX: Final = ".parquet"
_UNFINISHED_SUFFIX: Final = ".unfinished"
_FREE_SPACE: Final = "Free some space for FLOPS_HOME and put the data again."


class Catalogue:
    """Stores, lists and reads partitions. Any thread; one process per directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folders_lock = threading.Lock()
        self._reported: set[tuple[Path, int]] = set()

    def clean(self) -> int:
        """Remove what puts that never ended have left behind; returns how many files that were."""
        unfinished = list(self._directory.glob(f"*/.*{_UNFINISHED_SUFFIX}"))
        for path in unfinished:
            path.unlink(missing_ok=True)
        return len(unfinished)

    def put(
        self, tag: str, name: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch], *, examples: int
    ) -> StoredPartition:
        """Store a partition atomically, replacing one of the same name; batches are written as they come.

        Raises:
            InvalidDataError: tag or name is refused, or there are no examples or columns.
            DataUnavailableError: fewer examples came than announced, or the disk is full; nothing has changed.
        """
        check_tag(tag)
        check_partition_name(name)
        if examples < 1 or not schema.names:
            message = f"The partition {name!r} for tag {tag!r} is empty."
            raise InvalidDataError(message, remedy="Give a table with at least one column and one row.")
        target = self._directory / tag / f"{name}{_SUFFIX}"
        unfinished = target.with_name(f".{name}.{uuid.uuid4().hex}{_UNFINISHED_SUFFIX}")
        try:
            received = self._write(unfinished, schema, batches)
            if received != examples:
                message = f"Of {examples:,} examples for {tag}/{name} only {received:,} arrived; nothing was stored."
                raise DataUnavailableError(message, remedy="Put the data again.")
            unfinished.replace(target)
            _sync_directory(target.parent)
            return StoredPartition(tag, name, examples, target.stat().st_size)
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
            message = f"The partition {tag}/{name} cannot be stored as Parquet: {error}."
            raise InvalidDataError(message, remedy="Use columns of numbers, text, bytes, lists or structs.") from error
        except OSError as error:
            message = f"The partition {tag}/{name} cannot be stored: {error.strerror or error}."
            raise DataUnavailableError(message, remedy=_FREE_SPACE) from error
        finally:
            unfinished.unlink(missing_ok=True)

    def partitions(self, tags: Iterable[str] | None = None) -> list[StoredPartition]:
        """The readable partitions under any of the tags (or all), sorted by tag and name; reads only footers."""
        return [partition for partition, _ in self._stored(self._tags() if tags is None else tags)]

    def read(self, tags: Sequence[str], *, share: int, shares: int) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """The schema and, in bounded memory, the content of a share. All files are open when this returns.

        Raises:
            DataUnavailableError: nothing is there, too little for so many shares, or the schemas differ.
        """
        with contextlib.ExitStack() as opened:
            with self._folders_lock:
                stored = [(partition, opened.enter_context(self._open(path))) for partition, path in self._stored(tags)]
            names = ", ".join(repr(tag) for tag in tags)
            if not stored:
                message = f"There is no data under the tags {names} on this node."
                raise DataUnavailableError(message, remedy="'flops data list' shows what is there.")
            schema = same_columns([(f"{kept.tag}/{kept.name}", file.schema_arrow) for kept, file in stored])
            slices = slices_of_share([file.metadata.num_rows for _, file in stored], share=share, shares=shares)
            if not slices:
                message = f"There are too few examples under the tags {names} for {shares} learners on this node."
                raise DataUnavailableError(message, remedy="Put more data, or ask for fewer learners.")
            return schema, stream_slices([file for _, file in stored], slices, schema, opened.pop_all())

    def delete(self, tag: str, name: str | None = None) -> int:
        """Remove one partition or a whole tag; returns how many partitions that were. Idempotent.

        Raises:
            InvalidDataError: tag or name is refused.
        """
        folder = self._directory / check_tag(tag)
        pattern = f"{check_partition_name(name)}{_SUFFIX}" if name is not None else f"[!.]*{_SUFFIX}"
        with self._folders_lock:
            doomed = list(folder.glob(pattern))
            for path in doomed:
                path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                folder.rmdir()
        return len(doomed)

    def _write(self, path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
        with self._folders_lock:
            path.parent.mkdir(exist_ok=True, mode=0o700)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        examples = 0
        stored_schema = plain_schema(schema)
        is_plain = stored_schema.equals(schema)
        with os.fdopen(descriptor, "wb") as file:
            with pq.ParquetWriter(file, stored_schema, compression="lz4", write_page_checksum=True) as writer:
                for batch in batches:
                    writer.write_batch(batch if is_plain else batch.cast(stored_schema))
                    examples += batch.num_rows
            file.flush()
            os.fsync(file.fileno())
        return examples

    def _tags(self) -> list[str]:
        return [folder.name for folder in self._directory.iterdir() if folder.is_dir() and is_allowed(folder.name)]

    def _stored(self, tags: Iterable[str]) -> Iterator[tuple[StoredPartition, Path]]:
        for tag in sorted({check_tag(tag) for tag in tags}):
            for path in sorted((self._directory / tag).glob(f"*{_SUFFIX}"), key=lambda path: path.stem):
                if is_allowed(path.stem) and (partition := self._partition(tag, path)):
                    yield partition, path

    def _partition(self, tag: str, path: Path) -> StoredPartition | None:
        try:
            size_bytes = path.stat().st_size
            examples = pq.read_metadata(path).num_rows
        except FileNotFoundError:
            return None
        except (OSError, pa.ArrowException) as error:
            self._report_unreadable(path, error)
            return None
        return StoredPartition(tag, path.stem, examples, size_bytes) if examples else None

    def _open(self, path: Path) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(path, page_checksum_verification=True)
        except (OSError, pa.ArrowException) as error:
            message = f"The partition {path.parent.name}/{path.stem} can no longer be read: {error}."
            raise DataUnavailableError(
                message, remedy="Fetch again; if it happens again, put the data again."
            ) from error

    def _report_unreadable(self, path: Path, error: Exception) -> None:
        """Log once per file and content that it is skipped."""
        with contextlib.suppress(OSError):
            key = (path, path.stat().st_mtime_ns)
            if key not in self._reported:
                self._reported.add(key)
                logger.warning("skipping an unreadable partition", extra={"path": str(path), "reason": str(error)})


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
