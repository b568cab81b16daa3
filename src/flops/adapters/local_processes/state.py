"""What the daemon must not forget: apps, services, processes, the log of changes and where the logs are."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from flops.adapters.local_processes.process import ProcessSpec, ProcessStatus, ServiceRecord
from flops.errors import StoreUnavailableError
from flops.sqlite_file import SqliteFile

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_log = logging.getLogger(__name__)

MAX_CHANGES: Final = 10_000
CHANGES_PER_READ: Final = 100
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS apps (user TEXT, name TEXT, PRIMARY KEY (user, name));
CREATE TABLE IF NOT EXISTS services (name TEXT PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS processes (
    position INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, service TEXT NOT NULL,
    spec TEXT NOT NULL, status TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS changes (cursor INTEGER PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS traces (
    instance TEXT PRIMARY KEY, service TEXT NOT NULL, user TEXT NOT NULL, app TEXT NOT NULL,
    log_file TEXT NOT NULL, directory TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS flags (name TEXT PRIMARY KEY);
"""

Change = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Remembered:
    """Everything that an earlier daemon knew."""

    apps: set[tuple[str, str]]
    services: dict[str, ServiceRecord]
    processes: list[tuple[ProcessSpec, ProcessStatus]]


@dataclass(frozen=True, slots=True)
class Trace:
    """What an instance has left on disk: its directory until its app is deleted, its log until it is forgotten."""

    instance: str
    log_file: str
    directory: str


class StateFile:
    """A SQLite file. Changes are numbered here, so that they can be read even while the disk is full.

    Every method that writes raises StoreUnavailableError, except ``record``, which tries again later.
    """

    def __init__(self, path: Path, *, max_changes: int = MAX_CHANGES) -> None:
        self._max_changes = max_changes
        self._unsaved: list[tuple[ProcessStatus, Change | None]] = []
        self._file = SqliteFile(path)
        self._file.migrate((_TABLES,))
        self._cursor = int(self._file.rows("SELECT coalesce(max(cursor), 0) FROM changes")[0][0])

    def close(self) -> None:
        """Save what could not be saved before, if that is possible now, and release the file."""
        self.save_again()
        self._file.close()

    # --- reading

    def load(self) -> Remembered:
        """Everything, in the order in which it was first asked for."""
        services = self._file.rows("SELECT document FROM services ORDER BY rowid")
        processes = self._file.rows("SELECT spec, status FROM processes ORDER BY position")
        return Remembered(
            apps={(user, name) for user, name in self._file.rows("SELECT user, name FROM apps")},
            services={record.name: record for record in (ServiceRecord(**json.loads(text)) for (text,) in services)},
            processes=[
                (ProcessSpec.from_json(json.loads(spec)), ProcessStatus.from_json(json.loads(status)))
                for spec, status in processes
            ],
        )

    def changes(self, after: int) -> list[Change]:
        """The changes after a cursor, oldest first; at most ``CHANGES_PER_READ``."""
        query = "SELECT document FROM changes WHERE cursor > ? ORDER BY cursor LIMIT ?"
        saved = [json.loads(text) for (text,) in self._file.rows(query, after, CHANGES_PER_READ)]
        unsaved = [change for _, change in self._unsaved if change is not None and change["cursor"] > after]
        return [*saved, *unsaved][:CHANGES_PER_READ]

    def log_of(self, name: str) -> str | None:
        """The log file of an instance, or of a service's first instance."""
        query = "SELECT log_file FROM traces WHERE instance = ? OR service = ? ORDER BY instance = ? DESC, rowid"
        found = self._file.rows(f"{query} LIMIT 1", name, name, name)
        return found[0][0] if found else None

    def traces_of(self, user: str, app: str) -> list[Trace]:
        """What the instances of an app have left behind."""
        query = "SELECT instance, log_file, directory FROM traces WHERE user = ? AND app = ?"
        return [Trace(*row) for row in self._file.rows(query, user, app)]

    def traces_of_service(self, name: str) -> list[Trace]:
        """What the instances of a service have left behind."""
        return [
            Trace(*row)
            for row in self._file.rows("SELECT instance, log_file, directory FROM traces WHERE service = ?", name)
        ]

    def is_suspended(self) -> bool:
        """Whether FLOps was stopped on purpose and the services wait to be resumed."""
        return bool(self._file.rows("SELECT 1 FROM flags WHERE name = 'suspended'"))

    # --- writing

    def add_app(self, user: str, name: str) -> None:
        """Remember an app."""
        self._file.write("INSERT OR IGNORE INTO apps VALUES (?, ?)", user, name)

    def forget_app(self, user: str, name: str) -> None:
        """Forget an app."""
        self._file.write("DELETE FROM apps WHERE user = ? AND name = ?", user, name)

    def forget_traces(self, service: str) -> None:
        """Forget what the instances of a service have left behind."""
        self._file.write("DELETE FROM traces WHERE service = ?", service)

    def add_service(
        self,
        record: ServiceRecord,
        processes: Sequence[tuple[ProcessSpec, ProcessStatus]],
        changes: Sequence[Change],
    ) -> list[Change]:
        """Remember a service with its processes and changes, all or nothing; returns the changes, numbered."""
        with self._file.writing() as database:
            document = json.dumps(record.to_json())
            database.execute("INSERT INTO services VALUES (?, ?)", (record.name, document))
            for spec, status in processes:
                self._insert(database, spec, status)
                trace = (spec.id, record.name, record.user, record.app, spec.log_file, spec.directory)
                database.execute("INSERT OR REPLACE INTO traces VALUES (?, ?, ?, ?, ?, ?)", trace)
            return self._append(database, changes)

    def forget_service(self, name: str, changes: Sequence[Change]) -> list[Change]:
        """Forget a service with its processes; returns the changes, numbered."""
        with self._file.writing() as database:
            database.execute("DELETE FROM services WHERE name = ?", (name,))
            database.execute("DELETE FROM processes WHERE service = ?", (name,))
            return self._append(database, changes)

    def put_process(self, spec: ProcessSpec, status: ProcessStatus) -> None:
        """Remember a process, in the place of one with the same id if there is any."""
        with self._file.writing() as database:
            values = (json.dumps(spec.to_json()), json.dumps(status.to_json()), spec.id)
            updated = database.execute("UPDATE processes SET spec = ?, status = ? WHERE id = ?", values)
            if not updated.rowcount:
                self._insert(database, spec, status)

    def forget_processes(self, ids: Iterable[str]) -> None:
        """Forget processes."""
        with self._file.writing() as database:
            database.executemany("DELETE FROM processes WHERE id = ?", [(name,) for name in ids])

    def set_suspended(self, *, suspended: bool) -> None:
        """Remember whether FLOps was stopped on purpose."""
        statement = "INSERT OR IGNORE INTO flags VALUES ('suspended')" if suspended else "DELETE FROM flags"
        self._file.write(statement)

    def record(self, status: ProcessStatus, change: Change | None) -> None:
        """Keep a new status and the change that led to it; in memory only for as long as the disk is full."""
        if change is not None:
            change["cursor"] = self._next_cursor()
        self._unsaved.append((ProcessStatus.from_json(status.to_json()), change))
        self.save_again()

    def save_again(self) -> None:
        """Write what could not be written before."""
        if not self._unsaved:
            return
        try:
            with self._file.writing() as database:
                for status, change in self._unsaved:
                    values = (json.dumps(status.to_json()), status.id)
                    database.execute("UPDATE processes SET status = ? WHERE id = ?", values)
                    if change is not None:
                        self._insert_change(database, change)
                self._trim(database)
        except StoreUnavailableError as error:
            _log.warning("state not saved yet: %s", error)
        else:
            self._unsaved.clear()

    def _insert(self, database: sqlite3.Connection, spec: ProcessSpec, status: ProcessStatus) -> None:
        values = (spec.id, spec.group, json.dumps(spec.to_json()), json.dumps(status.to_json()))
        database.execute("INSERT INTO processes (id, service, spec, status) VALUES (?, ?, ?, ?)", values)

    def _append(self, database: sqlite3.Connection, changes: Sequence[Change]) -> list[Change]:
        numbered = [{**change, "cursor": self._next_cursor()} for change in changes]
        for change in numbered:
            self._insert_change(database, change)
        self._trim(database)
        return numbered

    def _next_cursor(self) -> int:
        self._cursor += 1
        return self._cursor

    def _insert_change(self, database: sqlite3.Connection, change: Change) -> None:
        database.execute("INSERT INTO changes VALUES (?, ?)", (change["cursor"], json.dumps(change)))

    def _trim(self, database: sqlite3.Connection) -> None:
        database.execute("DELETE FROM changes WHERE cursor <= ?", (self._cursor - self._max_changes,))
