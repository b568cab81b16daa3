"""The manager's memory in one SQLite file: the embedded default."""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from flops.errors import StaleVersionError, StoreUnavailableError
from flops.ports import Deadline, PendingItem, ProjectRecord
from flops.project.records import command_from_json, command_to_json, project_from_json, project_to_json
from flops.wire.envelope import Envelope, decode_envelope
from flops.wire.requests import ProjectStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

MAX_DEAD_LETTERS: Final = 5_000
SCHEMA_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE projects (
    id TEXT PRIMARY KEY, user TEXT NOT NULL, revision INTEGER NOT NULL, own_sequence INTEGER NOT NULL,
    project TEXT NOT NULL, status TEXT NOT NULL, watermarks TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX projects_by_user ON projects (user);
CREATE TABLE events (
    project_id TEXT NOT NULL, position INTEGER NOT NULL, event_id TEXT NOT NULL, envelope TEXT NOT NULL,
    PRIMARY KEY (project_id, position), UNIQUE (project_id, event_id)) WITHOUT ROWID;
CREATE TABLE entries (
    project_id TEXT NOT NULL, sequence INTEGER NOT NULL, envelope TEXT NOT NULL,
    PRIMARY KEY (project_id, sequence)) WITHOUT ROWID;
CREATE TABLE pending (
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, project_id TEXT NOT NULL,
    command TEXT, envelope TEXT);
CREATE TABLE deadlines (project_id TEXT PRIMARY KEY, name TEXT NOT NULL, due REAL NOT NULL, after_s REAL NOT NULL);
CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE dead_letters (
    number INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, payload BLOB NOT NULL, reason TEXT NOT NULL,
    time REAL NOT NULL);
"""


class SqliteStore:
    """``ports.Store`` on SQLite: write-ahead log, full synchronisation, one writer at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        with self._translating():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
            path.chmod(0o600)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            self._create()

    def _create(self) -> None:
        with self._writing():
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    self._database.execute(statement)
                self._database.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            elif version > SCHEMA_VERSION:
                raise StoreUnavailableError(
                    str(self._path), f"its schema {version} was made by a later version of FLOps"
                )

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailableError(str(self._path), str(error)) from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._translating():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._translating():
            yield self._database

    def load(self, project_id: str) -> ProjectRecord | None:
        """See ports.Store."""
        with self._reading() as database:
            row = database.execute(f"{_SELECT} WHERE id = ?", (project_id,)).fetchone()
        return _record(row) if row else None

    def save(
        self,
        record: ProjectRecord,
        *,
        events: Sequence[Envelope] = (),
        entries: Sequence[Envelope] = (),
        pending: Sequence[PendingItem] = (),
    ) -> ProjectRecord:
        """See ports.Store."""
        with self._writing() as database:
            _write_record(database, record)
            _write_events(database, record.project.id, events)
            database.executemany(
                "INSERT OR IGNORE INTO entries VALUES (?, ?, ?)",
                [(record.project.id, entry.sequence, entry.encode().decode()) for entry in entries],
            )
            database.executemany(
                "INSERT OR IGNORE INTO pending (id, project_id, command, envelope) VALUES (?, ?, ?, ?)",
                [_pending_row(item) for item in pending],
            )
        return ProjectRecord(record.project, record.status, record.revision + 1, record.own_sequence, record.watermarks)

    def has_event(self, project_id: str, event_id: str) -> bool:
        """See ports.Store."""
        with self._reading() as database:
            found = database.execute(
                "SELECT 1 FROM events WHERE project_id = ? AND event_id = ?", (project_id, event_id)
            ).fetchone()
        return found is not None

    def pending(self) -> list[PendingItem]:
        """See ports.Store."""
        with self._reading() as database:
            rows = database.execute("SELECT id, project_id, command, envelope FROM pending ORDER BY ordinal").fetchall()
        return [
            PendingItem(
                item_id,
                project_id,
                command_from_json(json.loads(command)) if command else None,
                decode_envelope("store", envelope.encode()) if envelope else None,
            )
            for item_id, project_id, command, envelope in rows
        ]

    def clear(self, item_id: str) -> None:
        """See ports.Store."""
        self._write("DELETE FROM pending WHERE id = ?", item_id)

    def projects(self, user: str = "") -> list[ProjectRecord]:
        """See ports.Store."""
        with self._reading() as database:
            rows = database.execute(f"{_SELECT} WHERE ? IN ('', user)", (user,)).fetchall()
        return sorted((_record(row) for row in rows), key=lambda record: record.status.created, reverse=True)

    def events(self, project_id: str, *, after: int, limit: int) -> list[tuple[int, Envelope]]:
        """See ports.Store."""
        with self._reading() as database:
            rows = database.execute(
                "SELECT position, envelope FROM events WHERE project_id = ? AND position > ? ORDER BY position LIMIT ?",
                (project_id, after, limit),
            ).fetchall()
        return [(position, decode_envelope("store", envelope.encode())) for position, envelope in rows]

    def entries(self, project_id: str, *, after: int, limit: int) -> list[Envelope]:
        """See ports.Store."""
        with self._reading() as database:
            rows = database.execute(
                "SELECT envelope FROM entries WHERE project_id = ? AND sequence > ? ORDER BY sequence LIMIT ?",
                (project_id, after, limit),
            ).fetchall()
        return [decode_envelope("store", envelope.encode()) for (envelope,) in rows]

    def set_deadline(self, deadline: Deadline) -> None:
        """See ports.Store."""
        self._write(
            "INSERT OR REPLACE INTO deadlines VALUES (?, ?, ?, ?)",
            deadline.project_id,
            deadline.name,
            deadline.due,
            deadline.after_s,
        )

    def take_due(self, now: float) -> list[Deadline]:
        """See ports.Store."""
        with self._reading() as database:
            rows = database.execute(
                "SELECT project_id, name, due, after_s FROM deadlines WHERE due <= ? ORDER BY due", (now,)
            ).fetchall()
        return [Deadline(*row) for row in rows]

    def drop_deadline(self, deadline: Deadline) -> None:
        """See ports.Store."""
        self._write(
            "DELETE FROM deadlines WHERE project_id = ? AND name = ? AND due = ?",
            deadline.project_id,
            deadline.name,
            deadline.due,
        )

    def remember(self, key: str, value: str) -> None:
        """See ports.Store."""
        self._write("INSERT OR REPLACE INTO facts VALUES (?, ?)", key, value)

    def recall(self, key: str) -> str:
        """See ports.Store."""
        with self._reading() as database:
            row = database.execute("SELECT value FROM facts WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else ""

    def keep_dead_letter(self, topic: str, payload: bytes, reason: str, time: float) -> None:
        """See ports.Store."""
        with self._writing() as database:
            database.execute(
                "INSERT INTO dead_letters (topic, payload, reason, time) VALUES (?, ?, ?, ?)",
                (topic, payload, reason, time),
            )
            database.execute(
                "DELETE FROM dead_letters WHERE number <= (SELECT max(number) FROM dead_letters) - ?",
                (MAX_DEAD_LETTERS,),
            )

    def delete(self, project_id: str) -> None:
        """See ports.Store."""
        with self._writing() as database:
            database.execute("DELETE FROM projects WHERE id = ?", (project_id,))
            for table in ("events", "entries", "pending", "deadlines"):
                database.execute(f"DELETE FROM {table} WHERE project_id = ?", (project_id,))  # noqa: S608  fixed names

    def close(self) -> None:
        """See ports.Store."""
        with self._lock:
            self._database.close()

    def _write(self, statement: str, *values: object) -> None:
        with self._writing() as database:
            database.execute(statement, values)


_SELECT: Final = "SELECT project, status, revision, own_sequence, watermarks FROM projects"


def _record(row: tuple[str, str, int, int, str]) -> ProjectRecord:
    project, status, revision, own_sequence, watermarks = row
    return ProjectRecord(
        project_from_json(json.loads(project)),
        ProjectStatus.model_validate_json(status),
        revision,
        own_sequence,
        json.loads(watermarks),
    )


def _write_record(database: sqlite3.Connection, record: ProjectRecord) -> None:
    values = (
        record.project.user,
        record.revision + 1,
        record.own_sequence,
        json.dumps(project_to_json(record.project)),
        record.status.model_dump_json(),
        json.dumps(dict(record.watermarks)),
        record.project.id,
    )
    if record.revision == 0:
        statement = (
            "INSERT OR IGNORE INTO projects (user, revision, own_sequence, project, status, watermarks, id)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)"
        )
        written = database.execute(statement, values).rowcount
    else:
        statement = (
            "UPDATE projects SET user = ?, revision = ?, own_sequence = ?, project = ?, status = ?, watermarks = ?"
            " WHERE id = ? AND revision = ?"
        )
        written = database.execute(statement, (*values, record.revision)).rowcount
    if written != 1:
        raise StaleVersionError(record.project.id)


def _write_events(database: sqlite3.Connection, project_id: str, events: Sequence[Envelope]) -> None:
    (last,) = database.execute(
        "SELECT coalesce(max(position), 0) FROM events WHERE project_id = ?", (project_id,)
    ).fetchone()
    database.executemany(
        "INSERT INTO events VALUES (?, ?, ?, ?)",
        [
            (project_id, last + number, envelope.id, envelope.encode().decode())
            for number, envelope in enumerate(events, start=1)
        ],
    )


def _pending_row(item: PendingItem) -> tuple[str, str, str | None, str | None]:
    return (
        item.id,
        item.project_id,
        json.dumps(command_to_json(item.command)) if item.command else None,
        item.envelope.encode().decode() if item.envelope else None,
    )
