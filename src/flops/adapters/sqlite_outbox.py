"""The Outbox in one SQLite file: durable when ``append`` returns, numbered for ever."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from flops.sqlite_file import SqliteFile

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

GENERATION_BYTES: Final = 4
_MIGRATIONS: Final = (
    """
    CREATE TABLE IF NOT EXISTS numbering (project_id TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS events (
        project_id TEXT NOT NULL, sequence INTEGER NOT NULL, payload BLOB NOT NULL, PRIMARY KEY (project_id, sequence)
    ) WITHOUT ROWID;
    """,
    "CREATE TABLE IF NOT EXISTS generation (id TEXT NOT NULL)",
)


class SqliteOutbox:
    """See ``ports.Outbox``. Any thread; several processes may share the file."""

    def __init__(self, path: Path) -> None:
        """Open the file, and create it where there is none.

        Raises:
            StoreUnavailableError: it cannot be opened.
        """
        self._file = SqliteFile(path)
        self._file.migrate(_MIGRATIONS)
        with self._file.writing() as database:
            self._generation = _generation(database)

    def append(self, project_id: str, encode: Callable[[int], bytes]) -> tuple[int, bytes]:
        """See ``ports.Outbox``. If ``encode`` raises, nothing is stored and the number is given to the next event."""
        with self._file.writing() as database:
            sequence = _last(database, project_id) + 1
            payload = encode(sequence)
            _set_last(database, project_id, sequence)
            database.execute("INSERT INTO events VALUES (?, ?, ?)", (project_id, sequence, payload))
        return sequence, payload

    @property
    def generation(self) -> str:
        """See ``ports.Outbox``."""
        return self._generation

    def unconfirmed(self, project_id: str, limit: int) -> list[tuple[int, bytes]]:
        """See ``ports.Outbox``."""
        query = "SELECT sequence, payload FROM events WHERE project_id = ? ORDER BY sequence LIMIT ?"
        return self._file.rows(query, project_id, limit)

    def confirm(self, project_id: str, sequence: int) -> None:
        """See ``ports.Outbox``."""
        with self._file.writing() as database:
            if sequence <= _last(database, project_id):
                database.execute("DELETE FROM events WHERE project_id = ? AND sequence <= ?", (project_id, sequence))

    def close(self) -> None:
        """Release the file. Idempotent."""
        self._file.close()


def _last(database: sqlite3.Connection, project_id: str) -> int:
    row = database.execute("SELECT last FROM numbering WHERE project_id = ?", (project_id,)).fetchone()
    return int(row[0]) if row else 0


def _set_last(database: sqlite3.Connection, project_id: str, sequence: int) -> None:
    database.execute("INSERT OR REPLACE INTO numbering VALUES (?, ?)", (project_id, sequence))


def _generation(database: sqlite3.Connection) -> str:
    """The file's generation; a file that was made before there were generations goes on without one."""
    row = database.execute("SELECT id FROM generation").fetchone()
    if row is None:
        is_new = database.execute("SELECT 1 FROM numbering").fetchone() is None
        row = (secrets.token_hex(GENERATION_BYTES) if is_new else "",)
        database.execute("INSERT INTO generation VALUES (?)", row)
    return str(row[0])
