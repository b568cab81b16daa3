"""``ports.Store`` on SQLite."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from flops.adapters.sqlite_store.rows import (
    CREATED,
    SELECT_PROJECT,
    envelope_of,
    pending_of,
    pending_row,
    record_of,
    write_record,
)
from flops.adapters.sqlite_store.schema import MIGRATIONS
from flops.ports import DEAD_LETTERS_AGE_S, MAX_DEAD_LETTERS, DeadLetter, Deadline, PendingItem, ProjectRecord
from flops.sqlite_file import SqliteFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from flops.ports import Place
    from flops.wire.envelope import Envelope

LEAST_FREE: Final = 0.25


class SqliteStore:
    """The manager's memory in one file, which several managers of one machine may share."""

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path)
        self._file.migrate(MIGRATIONS)

    def load(self, project_id: str) -> ProjectRecord | None:
        """See ports.Store."""
        rows = self._file.rows(f"{SELECT_PROJECT} WHERE id = ?", project_id)
        return record_of(rows[0]) if rows else None

    def save(
        self,
        record: ProjectRecord,
        *,
        events: Sequence[Envelope] = (),
        entries: Sequence[Envelope] = (),
        pending: Sequence[PendingItem] = (),
    ) -> ProjectRecord:
        """See ports.Store."""
        with self._file.writing() as database:
            write_record(database, record, events)
            database.executemany(
                "INSERT OR IGNORE INTO entries VALUES (?, ?, ?)",
                [(record.project.id, entry.sequence, entry.encode().decode()) for entry in entries],
            )
            database.executemany(
                "INSERT OR IGNORE INTO pending (id, project_id, command, envelope) VALUES (?, ?, ?, ?)",
                [pending_row(item) for item in pending],
            )
        return replace(record, revision=record.revision + 1)

    @contextmanager
    def together(self) -> Iterator[None]:
        """See ports.Store."""
        with self._file.writing():
            yield

    def has_event(self, project_id: str, event_id: str) -> bool:
        """See ports.Store."""
        return bool(self._file.rows("SELECT 1 FROM events WHERE project_id = ? AND event_id = ?", project_id, event_id))

    def pending(self, owner: str) -> list[PendingItem]:
        """See ports.Store."""
        query = (
            "SELECT pending.id, project_id, command, envelope FROM pending"
            " JOIN projects ON projects.id = project_id WHERE owner = ? ORDER BY ordinal"
        )
        return [pending_of(row) for row in self._file.rows(query, owner)]

    def clear(self, item: PendingItem) -> None:
        """See ports.Store."""
        self._file.write("DELETE FROM pending WHERE id = ?", item.id)

    def projects(self, user: str = "", *, before: Place | None = None, limit: int = 0) -> list[ProjectRecord]:
        """See ports.Store."""
        conditions, values = ["TRUE"], list[object]()
        if user:
            conditions.append("user = ?")
            values.append(user)
        if before:
            # The first condition is what the index is searched by.
            conditions.append(f"{CREATED} <= ? AND ({CREATED}, id) < (?, ?)")
            values.extend((before[0], *before))
        query = f"{SELECT_PROJECT} WHERE {' AND '.join(conditions)} ORDER BY {CREATED} DESC, id DESC LIMIT ?"
        return [record_of(row) for row in self._file.rows(query, *values, limit or -1)]

    def live(self, owner: str) -> list[ProjectRecord]:
        """See ports.Store."""
        rows = self._file.rows(f"{SELECT_PROJECT} WHERE owner = ? AND ended = ''", owner)
        return [record_of(row) for row in rows]

    def events(self, project_id: str, *, after: int, limit: int) -> list[tuple[int, Envelope]]:
        """See ports.Store."""
        query = "SELECT position, envelope FROM events WHERE project_id = ? AND position > ? ORDER BY position LIMIT ?"
        return [(position, envelope_of(text)) for position, text in self._file.rows(query, project_id, after, limit)]

    def entries(self, project_id: str, *, after: int, limit: int) -> list[Envelope]:
        """See ports.Store."""
        query = "SELECT envelope FROM entries WHERE project_id = ? AND sequence > ? ORDER BY sequence LIMIT ?"
        return [envelope_of(text) for (text,) in self._file.rows(query, project_id, after, limit)]

    def set_deadline(self, deadline: Deadline) -> None:
        """See ports.Store."""
        values = (deadline.project_id, deadline.name, deadline.due, deadline.after_s)
        self._file.write("INSERT OR REPLACE INTO deadlines VALUES (?, ?, ?, ?)", *values)

    def take_due(self, owner: str, now: float) -> list[Deadline]:
        """See ports.Store."""
        query = (
            "SELECT project_id, name, due, after_s FROM deadlines JOIN projects ON projects.id = project_id"
            " WHERE due <= ? AND owner = ? ORDER BY due"
        )
        return [Deadline(*row) for row in self._file.rows(query, now, owner)]

    def drop_deadline(self, deadline: Deadline) -> None:
        """See ports.Store."""
        statement = "DELETE FROM deadlines WHERE project_id = ? AND name = ? AND due = ?"
        self._file.write(statement, deadline.project_id, deadline.name, deadline.due)

    def adopt(self, former: str, owner: str) -> list[str]:
        """See ports.Store."""
        statement = "UPDATE projects SET owner = ?, revision = revision + 1 WHERE owner = ? RETURNING id"
        with self._file.writing() as database:
            return [project_id for (project_id,) in database.execute(statement, (owner, former)).fetchall()]

    def beat(self, manager: str) -> None:
        """See ports.Store."""
        self._file.write("INSERT INTO managers VALUES (?, 1) ON CONFLICT (id) DO UPDATE SET beats = beats + 1", manager)

    def beats(self) -> dict[str, int]:
        """See ports.Store."""
        return dict(self._file.rows("SELECT id, beats FROM managers"))

    def retire(self, manager: str) -> None:
        """See ports.Store."""
        self._file.write("DELETE FROM managers WHERE id = ?", manager)

    def take_office(self, office: str, manager: str, former: str) -> bool:
        """See ports.Store."""
        with self._file.writing() as database:
            rows = database.execute("SELECT manager FROM offices WHERE name = ?", (office,)).fetchall()
            holder = rows[0][0] if rows else ""
            if holder == former:
                database.execute("INSERT OR REPLACE INTO offices VALUES (?, ?)", (office, manager))
            return holder in {former, manager}

    def holder(self, office: str) -> str:
        """See ports.Store."""
        rows = self._file.rows("SELECT manager FROM offices WHERE name = ?", office)
        return str(rows[0][0]) if rows else ""

    def remember(self, key: str, value: str) -> None:
        """See ports.Store."""
        self._file.write("INSERT OR REPLACE INTO facts VALUES (?, ?)", key, value)

    def recall(self, key: str) -> str:
        """See ports.Store."""
        rows = self._file.rows("SELECT value FROM facts WHERE key = ?", key)
        return str(rows[0][0]) if rows else ""

    def keep_dead_letter(self, topic: str, payload: bytes, reason: str, time: float) -> None:
        """See ports.Store."""
        with self._file.writing() as database:
            database.execute(
                "INSERT INTO dead_letters (topic, payload, reason, time) VALUES (?, ?, ?, ?)",
                (topic, payload, reason, time),
            )
            database.execute(
                "DELETE FROM dead_letters WHERE number <= (SELECT max(number) FROM dead_letters) - ? OR time < ?",
                (MAX_DEAD_LETTERS, time - DEAD_LETTERS_AGE_S),
            )

    def dead_letters(self, after: int, limit: int) -> list[DeadLetter]:
        """See ports.Store."""
        query = "SELECT number, topic, payload, reason, time FROM dead_letters WHERE number > ? ORDER BY number LIMIT ?"
        return [DeadLetter(*row) for row in self._file.rows(query, after, limit)]

    def drop_dead_letters(self, numbers: Sequence[int] | None) -> int:
        """See ports.Store."""
        if numbers is None:
            return self._file.write("DELETE FROM dead_letters")
        with self._file.writing() as database:
            values = [(number,) for number in numbers]
            return database.executemany("DELETE FROM dead_letters WHERE number = ?", values).rowcount

    def ended_before(self, time: str, limit: int) -> list[str]:
        """See ports.Store."""
        query = (
            "SELECT id FROM projects WHERE ended <> '' AND ended < ? AND ("
            " EXISTS (SELECT 1 FROM events WHERE project_id = id)"
            " OR EXISTS (SELECT 1 FROM entries WHERE project_id = id)) ORDER BY ended LIMIT ?"
        )
        return [project_id for (project_id,) in self._file.rows(query, time, limit)]

    def forget_history(self, project_id: str) -> None:
        """See ports.Store."""
        with self._file.writing() as database:
            database.execute("DELETE FROM events WHERE project_id = ?", (project_id,))
            database.execute("DELETE FROM entries WHERE project_id = ?", (project_id,))

    def compact(self) -> None:
        """See ports.Store."""
        self._file.compact(LEAST_FREE)

    def delete(self, project_id: str) -> None:
        """See ports.Store."""
        with self._file.writing() as database:
            database.execute("DELETE FROM projects WHERE id = ?", (project_id,))
            for table in ("events", "entries", "pending", "deadlines"):
                database.execute(f"DELETE FROM {table} WHERE project_id = ?", (project_id,))  # noqa: S608  fixed names

    def close(self) -> None:
        """See ports.Store."""
        self._file.close()
