"""One SQLite file as every part of FLOps opens it: private, durable when a write returns, with its faults explained."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from flops.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

BUSY_S: Final = 30.0
PAGES_PER_STEP: Final = 1000


class SqliteFile:
    """Write-ahead log, full synchronisation, one writer at a time. Any thread; several processes may share the file.

    Every call raises StoreUnavailableError when the file cannot be read or written, and then has changed nothing.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.RLock()
        with self._explained():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.chmod(0o600)
            self._database = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA auto_vacuum = INCREMENTAL")  # of effect on a new file only
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")

    def migrate(self, migrations: Sequence[str]) -> None:
        """Bring the schema to the last version; each migration is a script that makes one version of the one before.

        Raises:
            StoreUnavailableError: also where a later version of FLOps has made the file.
        """
        if self.rows("PRAGMA user_version") == [(len(migrations),)]:
            return
        with self.writing() as database:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version > len(migrations):
                raise StoreUnavailableError(
                    str(self._path), f"its schema {version} was made by a later version of FLOps"
                )
            for script in migrations[version:]:
                for statement in filter(str.strip, script.split(";")):
                    database.execute(statement)
            database.execute(f"PRAGMA user_version = {len(migrations)}")

    def rows(self, query: str, *values: object) -> list[Any]:
        """What a query finds."""
        with self.reading() as database:
            return database.execute(query, values).fetchall()

    def write(self, statement: str, *values: object) -> int:
        """Execute one statement in a transaction of its own; returns how many rows it has changed."""
        with self.writing() as database:
            return database.execute(statement, values).rowcount

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for queries."""
        with self._lock, self._explained():
            yield self._database

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The connection in a transaction, which an exception undoes."""
        with self._lock, self._explained():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            finally:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")

    def compact(self, least_free: float) -> None:
        """Give unused space back to the disk, if at least that part of the file is unused; in steps, between others."""
        free, total = (self.rows(f"PRAGMA {count}")[0][0] for count in ("freelist_count", "page_count"))
        if free >= max(1, least_free * total):
            for _ in range(0, free, PAGES_PER_STEP):
                with self.reading() as database:
                    # A script is executed to its end; a query would free the one page of its first step.
                    database.executescript(f"PRAGMA incremental_vacuum ({PAGES_PER_STEP})")
        self.rows("PRAGMA wal_checkpoint (TRUNCATE)")

    def close(self) -> None:
        """Release the file. Idempotent."""
        with self._lock, self._explained():
            self._database.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailableError(str(self._path), str(error)) from error
