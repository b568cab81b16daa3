"""The observer's memory in one SQLite file of its own directory; also the outbox of its entries."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from flops.sqlite_file import SqliteFile
from flops.wire.envelope import Envelope, decode_envelope
from flops.wire.requests import ProjectStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from flops.observer.inbox import Reading

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS read (event_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sources (source TEXT PRIMARY KEY, sequence INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entries (sequence INTEGER PRIMARY KEY, envelope TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_RESTORED: Final = "CREATE TABLE restored (event_id TEXT PRIMARY KEY) WITHOUT ROWID"
_REACH: Final = (
    "INSERT INTO sources VALUES (?, ?) ON CONFLICT (source) DO UPDATE SET sequence = max(sequence, excluded.sequence)"
)


class SqliteInbox:
    """``observer.inbox.InboxStore`` and ``delivery.publisher.Unconfirmed`` on SQLite."""

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path)
        self._file.migrate((_SCHEMA, _RESTORED))
        self._has_restored = bool(self._file.rows("SELECT 1 FROM restored LIMIT 1"))

    def status(self) -> ProjectStatus | None:
        """See InboxStore."""
        value = self._fact("status")
        return ProjectStatus.model_validate_json(value) if value else None

    def watermarks(self) -> dict[str, int]:
        """See InboxStore."""
        return dict(self._file.rows("SELECT source, sequence FROM sources"))

    def read_of(self, event_ids: Collection[str]) -> set[str]:
        """See InboxStore."""
        query = "SELECT event_id FROM read WHERE event_id IN (SELECT value FROM json_each(?))"
        return {event_id for (event_id,) in self._file.rows(query, json.dumps([*event_ids]))}

    def last_sequence(self) -> int:
        """See InboxStore."""
        return int(self._file.rows("SELECT coalesce(max(sequence), 0) FROM entries")[0][0])

    def append(self, readings: Sequence[Reading], status: ProjectStatus) -> None:
        """See InboxStore."""
        numbered = [(item.event.source, item.event.sequence) for item in readings if item.event.sequence]
        skipped = [pair for item in readings for pair in item.skipped.items()]
        entries = [(item.number, item.entry.decode()) for item in readings if item.number]
        with self._file.writing() as database:
            database.executemany("INSERT INTO read VALUES (?)", [(item.event.id,) for item in readings])
            database.execute("INSERT OR REPLACE INTO facts VALUES ('status', ?)", (status.model_dump_json(),))
            database.executemany(_REACH, [*numbered, *skipped])
            database.executemany("INSERT INTO entries VALUES (?, ?)", entries)

    def restore(self, entries: Sequence[Envelope]) -> None:
        """See InboxStore."""
        self._has_restored = self._has_restored or bool(entries)
        with self._file.writing() as database:
            for entry in entries:
                row = (entry.sequence, entry.encode().decode())
                database.execute("INSERT OR IGNORE INTO entries VALUES (?, ?)", row)
                database.execute("INSERT OR IGNORE INTO restored VALUES (?)", (str(entry.data["event_id"]),))
                database.execute("INSERT OR REPLACE INTO facts VALUES ('confirmed', ?)", (str(entry.sequence),))

    def was_restored(self, event_id: str) -> bool:
        """See InboxStore."""
        found = "SELECT 1 FROM restored WHERE event_id = ?"
        return self._has_restored and bool(self._file.rows(found, event_id))

    def page(self, *, after: int, limit: int) -> list[Envelope]:
        """See InboxStore."""
        rows = self._file.rows(
            "SELECT envelope FROM entries WHERE sequence > ? ORDER BY sequence LIMIT ?", after, limit
        )
        return [decode_envelope("inbox", envelope.encode()) for (envelope,) in rows]

    def unconfirmed(self, project_id: str, limit: int) -> list[tuple[int, bytes]]:  # noqa: ARG002  of one project
        """See Unconfirmed."""
        confirmed = int(self._fact("confirmed") or 0)
        rows = self._file.rows(
            "SELECT sequence, envelope FROM entries WHERE sequence > ? ORDER BY sequence LIMIT ?", confirmed, limit
        )
        return [(sequence, envelope.encode()) for sequence, envelope in rows]

    def confirm(self, project_id: str, sequence: int) -> None:  # noqa: ARG002  the file holds one project
        """See Unconfirmed."""
        with self._file.writing() as database:
            if int(self._fact("confirmed") or 0) < sequence <= self.last_sequence():
                database.execute("INSERT OR REPLACE INTO facts VALUES ('confirmed', ?)", (str(sequence),))

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def _fact(self, key: str) -> str:
        rows = self._file.rows("SELECT value FROM facts WHERE key = ?", key)
        return str(rows[0][0]) if rows else ""
