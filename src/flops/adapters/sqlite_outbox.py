"""The Outbox in one SQLite file: durable when ``append`` returns, numbered for ever."""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import threading
from typing import TYPE_CHECKING, Final

from flops.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BUSY_S: Final = 10.0
GENERATION_BYTES: Final = 4
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS numbering (project_id TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS generation (id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS events (
    project_id TEXT NOT NULL, sequence INTEGER NOT NULL, payload BLOB NOT NULL, PRIMARY KEY (project_id, sequence)
) WITHOUT ROWID;
"""


class SqliteOutbox:
    """See ``ports.Outbox``. Any thread; several processes may share the file."""

    def __init__(self, path: Path) -> None:
        """Open the file, and create it where there is none.

        Raises:
            StoreUnavailableError: it cannot be opened.
        """
        self._path = path
        self._lock = threading.Lock()
        with self._explained():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
            self._database = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.executescript(_SCHEMA)
        with self._transaction() as database:
            self._generation = _generation(database)

    def append(self, project_id: str, encode: Callable[[int], bytes]) -> tuple[int, bytes]:
        """See ``ports.Outbox``. If ``encode`` raises, nothing is stored and the number is given to the next event."""
        with self._transaction() as database:
            sequence = self._last(project_id) + 1
            payload = encode(sequence)
            self._set_last(project_id, sequence)
            database.execute("INSERT INTO events VALUES (?, ?, ?)", (project_id, sequence, payload))
        return sequence, payload

    @property
    def generation(self) -> str:
        """See ``ports.Outbox``."""
        return self._generation

    def unconfirmed(self, project_id: str, limit: int) -> list[tuple[int, bytes]]:
        """See ``ports.Outbox``."""
        query = "SELECT sequence, payload FROM events WHERE project_id = ? ORDER BY sequence LIMIT ?"
        with self._lock, self._explained():
            return self._database.execute(query, (project_id, limit)).fetchall()

    def confirm(self, project_id: str, sequence: int) -> None:
        """See ``ports.Outbox``."""
        with self._transaction() as database:
            if sequence <= self._last(project_id):
                database.execute("DELETE FROM events WHERE project_id = ? AND sequence <= ?", (project_id, sequence))

    def close(self) -> None:
        """Release the file. Idempotent."""
        with self._lock, self._explained():
            self._database.close()

    def _last(self, project_id: str) -> int:
        row = self._database.execute("SELECT last FROM numbering WHERE project_id = ?", (project_id,)).fetchone()
        return int(row[0]) if row else 0

    def _set_last(self, project_id: str, sequence: int) -> None:
        self._database.execute("INSERT OR REPLACE INTO numbering VALUES (?, ?)", (project_id, sequence))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._explained():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            finally:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailableError(str(self._path), str(error)) from error


def _generation(database: sqlite3.Connection) -> str:
    """The file's generation; a file that was made before there were generations goes on without one."""
    row = database.execute("SELECT id FROM generation").fetchone()
    if row is None:
        is_new = database.execute("SELECT 1 FROM numbering").fetchone() is None
        row = (secrets.token_hex(GENERATION_BYTES) if is_new else "",)
        database.execute("INSERT INTO generation VALUES (?)", row)
    return str(row[0])
