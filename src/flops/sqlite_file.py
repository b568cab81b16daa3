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
MAX_TOGETHER: Final = 64
READERS_CACHE_KIB: Final = 256
OVERDUE_S: Final = 1.0
UNDONE: Final = "its transaction was undone"


class _Group:
    """Transactions of several threads that become durable together, or not at all."""

    def __init__(self) -> None:
        self.size, self._fault, self._ended = 0, "", threading.Event()

    def end(self, fault: str = "") -> None:
        """Let everybody go on; with a fault, nothing of the group was stored."""
        self._fault = fault
        self._ended.set()

    def has_ended(self, timeout_s: float) -> bool:
        """Whether it ends in time.

        Raises:
            sqlite3.OperationalError: nothing of it was stored.
        """
        if self._ended.wait(timeout_s) and self._fault:
            raise sqlite3.OperationalError(self._fault)
        return self._ended.is_set()


class SqliteFile:
    """Write-ahead log, full synchronisation, one writer at a time. Any thread; several processes may share the file.

    Threads that write at the same time share a commit, since waiting for the disk takes most of its time: each has a
    savepoint in one transaction, and whoever leaves with nobody waiting behind commits for all. Readers have a
    connection of their own. They wait for no writer, and see nothing that could still be undone.

    Every call raises StoreUnavailableError when the file cannot be read or written, and then has changed nothing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turn, self._reading, self._counting = threading.Lock(), threading.Lock(), threading.Lock()
        self._waiting, self._writer = 0, 0
        self._group: _Group | None = None
        with self._explained():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.chmod(0o600)
            self._database, self._readers = (_connection(path) for _ in range(2))
            self._database.execute("PRAGMA auto_vacuum = INCREMENTAL")  # of effect on a new file only
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._readers.execute(f"PRAGMA cache_size = -{READERS_CACHE_KIB}")

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
        """A connection for queries; within ``writing`` it is the same one."""
        if self._is_mine:
            with self._explained():
                yield self._database
        else:
            with self._reading, self._explained():
                yield self._readers

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The connection in a transaction, which an exception undoes. Durable at the end; nested, at the outermost."""
        with self._explained():
            if self._is_mine:
                with self._part(self._group):
                    yield self._database
                return
            with self._my_turn():
                group = self._begun()
                try:
                    with self._part(group):
                        yield self._database
                finally:
                    if self._group is group and (not self._waiting or group.size >= MAX_TOGETHER):
                        self._commit()
            while not group.has_ended(OVERDUE_S):
                with self._turn:  # whoever waited behind has gone away without committing
                    if self._group is group:
                        self._commit()

    @property
    def _is_mine(self) -> bool:
        """Whether this thread is writing."""
        return self._writer == threading.get_ident()

    @contextmanager
    def _part(self, group: _Group | None) -> Iterator[None]:
        """A part of a transaction, which an exception undoes."""
        if group is None:
            raise sqlite3.OperationalError(UNDONE)
        try:
            self._database.execute("SAVEPOINT one")
            yield
            self._database.execute("RELEASE one")
        except BaseException as error:
            self._undo(group, str(error))
            raise

    @contextmanager
    def _my_turn(self) -> Iterator[None]:
        with self._counting:
            self._waiting += 1
        try:
            self._turn.acquire()
        finally:
            with self._counting:
                self._waiting -= 1
        try:
            self._writer = threading.get_ident()
            yield
        finally:
            self._writer = 0
            self._turn.release()

    def _begun(self) -> _Group:
        """Begin a transaction within that of the others, or one for all who come now."""
        if self._group is None:
            self._database.execute("BEGIN IMMEDIATE")
            self._group = _Group()
        self._group.size += 1
        return self._group

    def _undo(self, group: _Group, cause: str) -> None:
        """Undo what one has written; where SQLite has undone everything (the disk is full, say), that of the others."""
        try:
            self._database.execute("ROLLBACK TO one")
            self._database.execute("RELEASE one")
        except sqlite3.Error:
            self._fail(group, cause)

    def _commit(self) -> None:
        group = self._group
        if group is None:
            return
        try:
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            self._fail(group, str(error))
        else:
            self._group = None
            group.end()

    def _fail(self, group: _Group, fault: str) -> None:
        self._group = None
        try:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
        finally:
            group.end(fault or UNDONE)

    @contextmanager
    def _alone(self) -> Iterator[sqlite3.Connection]:
        """The connection outside any transaction."""
        with self._explained(), self._turn:
            self._commit()
            yield self._database

    def compact(self, least_free: float) -> None:
        """Give unused space back to the disk, if at least that part of the file is unused; in steps, between others."""
        free, total = (self.rows(f"PRAGMA {count}")[0][0] for count in ("freelist_count", "page_count"))
        if free >= max(1, least_free * total):
            for _ in range(0, free, PAGES_PER_STEP):
                with self._alone() as database:
                    # A script is executed to its end; a query would free the one page of its first step.
                    database.executescript(f"PRAGMA incremental_vacuum ({PAGES_PER_STEP})")
        with self._alone() as database:
            database.execute("PRAGMA wal_checkpoint (TRUNCATE)").fetchall()

    def close(self) -> None:
        """Release the file. Idempotent."""
        with self._turn, self._reading, self._explained():
            self._commit()
            self._readers.close()
            self._database.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailableError(str(self._path), str(error)) from error


def _connection(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
