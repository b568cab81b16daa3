"""What FLOps knows of its containers and the engine does not: what should run, crashes, changes, where logs are."""

from __future__ import annotations

import json
import secrets
import threading
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from flops.adapters.docker_engine.container import NEVER, ContainerSpec
from flops.ports import InstanceChange
from flops.project.deployment import App, Instance, InstanceState, Role, Service
from flops.sqlite_file import SqliteFile

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from pathlib import Path

    from flops.project.deployment import ServiceSpec

MAX_CHANGES: Final = 10_000
CHANGES_PER_READ: Final = 100
_INSTALLATION: Final = "installation"
_TABLES: Final = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE apps (user TEXT, name TEXT, PRIMARY KEY (user, name));
CREATE TABLE services (
    position INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, user TEXT NOT NULL, app TEXT NOT NULL,
    role TEXT NOT NULL, project_id TEXT NOT NULL, is_leaving INTEGER NOT NULL DEFAULT 0);
CREATE TABLE instances (
    position INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, service TEXT NOT NULL,
    spec TEXT NOT NULL, status TEXT NOT NULL);
CREATE TABLE changes (cursor INTEGER PRIMARY KEY AUTOINCREMENT, document TEXT NOT NULL);
CREATE TABLE traces (
    position INTEGER PRIMARY KEY, instance TEXT NOT NULL UNIQUE, service TEXT NOT NULL, user TEXT NOT NULL,
    app TEXT NOT NULL);
"""
# An image that a service alone has used goes with it.
_IMAGES: Final = "ALTER TABLE traces ADD COLUMN image TEXT NOT NULL DEFAULT ''"


@dataclass(frozen=True, slots=True)
class Status:
    """How an instance is doing.

    ``run`` is the container's run that was last told to be running, ``ended_run`` the one whose end was counted.
    ``runs_in_a_row`` counts the runs since, and with, the last long one.
    """

    state: InstanceState = InstanceState.SCHEDULED
    restarts: int = 0
    reason: str = ""
    exit_code: int | None = None
    runs_in_a_row: int = 0
    run: str = NEVER
    ended_run: str = NEVER


@dataclass(frozen=True, slots=True)
class Supervised:
    """An instance: what it should be and what it is."""

    spec: ContainerSpec
    status: Status


class State:
    """A SQLite file that the managers of one machine share. Every call raises StoreUnavailableError."""

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path)
        self._file.migrate((_TABLES, _IMAGES))
        self._changed, self._writes = threading.Condition(), 0
        fact = (_INSTALLATION, secrets.token_hex(4))
        self._file.write("INSERT OR IGNORE INTO facts VALUES (?, ?)", *fact)

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    @property
    def writes(self) -> int:
        """How often this process has written a change."""
        return self._writes

    def wait(self, writes: int, timeout_s: float) -> None:
        """Wait until this process has written a change more often than that."""
        with self._changed:
            self._changed.wait_for(lambda: self._writes > writes, timeout_s)

    # --- reading

    @property
    def installation(self) -> str:
        """The id that tells this installation's containers from those of others."""
        query = "SELECT value FROM facts WHERE name = ?"
        return str(self._file.rows(query, _INSTALLATION)[0][0])

    def apps(self) -> list[App]:
        """All apps, sorted."""
        return [App(*row) for row in self._file.rows("SELECT user, name FROM apps ORDER BY user, name")]

    def services(self, app: App | None = None, project_id: str = "") -> list[Service]:
        """All services, or those of one app or of one project, in the order of their deployment."""
        query = "SELECT name, user, app, role, project_id FROM services WHERE ? IN ('', project_id) ORDER BY position"
        with self._file.reading() as database:
            services = [_service(database, row) for row in database.execute(query, (project_id,)).fetchall()]
        return [service for service in services if app is None or service.app == app]

    def instance(self, instance: str) -> Supervised | None:
        """An instance that is to be looked after; None also for one that is being undeployed."""
        query = """SELECT i.spec, i.status FROM instances i JOIN services s ON s.name = i.service
                   WHERE i.id = ? AND NOT s.is_leaving"""
        rows = self._file.rows(query, instance)
        return _supervised(rows[0]) if rows else None

    def instances(self) -> dict[str, InstanceState]:
        """The state of every instance that is to be looked after."""
        query = """SELECT i.id, i.status FROM instances i JOIN services s ON s.name = i.service
                   WHERE NOT s.is_leaving"""
        return {name: _status(status).state for name, status in self._file.rows(query)}

    def has_instance(self, instance: str) -> bool:
        """Whether an instance is known, also while it is being undeployed."""
        return bool(self._file.rows("SELECT 1 FROM instances WHERE id = ?", instance))

    def trace(self, name: str) -> str | None:
        """The instance of that name, or the first one of the service of that name, that ever ran."""
        query = "SELECT instance FROM traces WHERE instance = ? OR service = ? ORDER BY instance = ? DESC, position"
        rows = self._file.rows(f"{query} LIMIT 1", name, name, name)
        return rows[0][0] if rows else None

    def traces_of(self, app: App) -> list[str]:
        """The instances that have left something behind, of an app."""
        query = "SELECT instance FROM traces WHERE user = ? AND app = ?"
        return [instance for (instance,) in self._file.rows(query, app.user, app.name)]

    def traces_of_service(self, service: str) -> list[str]:
        """The instances that have left something behind, of a service."""
        return [row[0] for row in self._file.rows("SELECT instance FROM traces WHERE service = ?", service)]

    def images_of(self, service: str) -> set[str]:
        """The images that only instances of a service have used."""
        return {row[0] for row in self._file.rows("SELECT image FROM traces WHERE service = ?", service)} - {""}

    def spec(self, instance: str) -> ContainerSpec | None:
        """What an instance should be."""
        rows = self._file.rows("SELECT spec FROM instances WHERE id = ?", instance)
        return ContainerSpec.from_json(json.loads(rows[0][0])) if rows else None

    def ports(self) -> set[int]:
        """The ports that instances have."""
        rows = self._file.rows("SELECT json_extract(spec, '$.port') FROM instances")
        return {port for (port,) in rows if port}

    def changes(self, after: int) -> list[InstanceChange]:
        """The changes after a cursor, oldest first; at most ``CHANGES_PER_READ``."""
        query = "SELECT cursor, document FROM changes WHERE cursor > ? ORDER BY cursor LIMIT ?"
        return [_change(cursor, text) for cursor, text in self._file.rows(query, after, CHANGES_PER_READ)]

    # --- writing

    def add_app(self, app: App) -> None:
        """Remember an app."""
        self._file.write("INSERT OR IGNORE INTO apps VALUES (?, ?)", app.user, app.name)

    def forget_app(self, app: App) -> bool:
        """Forget an app, unless it has a service; returns whether it is forgotten."""
        query = """DELETE FROM apps WHERE user = ?1 AND name = ?2
                   AND NOT EXISTS (SELECT 1 FROM services WHERE user = ?1 AND app = ?2)"""
        with self._file.writing() as database:
            database.execute(query, (app.user, app.name))
            left = database.execute("SELECT 1 FROM apps WHERE user = ? AND name = ?", (app.user, app.name))
            return left.fetchone() is None

    def add_service(self, spec: ServiceSpec, containers: Sequence[ContainerSpec]) -> bool:
        """Remember a service and its instances, all or nothing; False where its app is unknown.

        Does nothing when there is one of that name.
        """
        app = (spec.app.user, spec.app.name)
        with self._file.writing() as database:
            if database.execute("SELECT 1 FROM services WHERE name = ?", (spec.name,)).fetchone():
                return True
            if not database.execute("SELECT 1 FROM apps WHERE user = ? AND name = ?", app).fetchone():
                return False
            database.execute(
                "INSERT INTO services (name, user, app, role, project_id) VALUES (?, ?, ?, ?, ?)",
                (spec.name, *app, str(spec.role), spec.project_id),
            )
            for container in containers:
                values = (container.instance, spec.name, json.dumps(container.to_json()), _text(Status()))
                database.execute("INSERT INTO instances (id, service, spec, status) VALUES (?, ?, ?, ?)", values)
                image = container.image if spec.role is Role.INFERENCE else ""
                trace = (container.instance, spec.name, *app, image)
                database.execute("DELETE FROM traces WHERE instance = ?", trace[:1])
                database.execute(
                    "INSERT INTO traces (instance, service, user, app, image) VALUES (?, ?, ?, ?, ?)", trace
                )
            for container in containers:
                _append(database, spec.name, container.instance, "")
        self._wake()
        return True

    def change_spec(self, spec: ContainerSpec) -> None:
        """Let an instance be made otherwise from now on."""
        self._file.write("UPDATE instances SET spec = ? WHERE id = ?", json.dumps(spec.to_json()), spec.instance)

    def record(self, instance: str, status: Status, log_tail: str = "") -> None:
        """Keep a new status of an instance that is still to be looked after, and tell of it as a change."""
        with self._file.writing() as database:
            service = database.execute(
                """SELECT s.name FROM instances i JOIN services s ON s.name = i.service
                   WHERE i.id = ? AND NOT s.is_leaving""",
                (instance,),
            ).fetchone()
            if service is None:
                return
            database.execute("UPDATE instances SET status = ? WHERE id = ?", (_text(status), instance))
            _append(database, service[0], instance, log_tail)
        self._wake()

    def leave(self, service: str) -> list[ContainerSpec]:
        """From now on nobody starts anything of a service; returns its instances."""
        with self._file.writing() as database:
            database.execute("UPDATE services SET is_leaving = 1 WHERE name = ?", (service,))
            rows = database.execute("SELECT spec FROM instances WHERE service = ? ORDER BY position", (service,))
            return [ContainerSpec.from_json(json.loads(text)) for (text,) in rows.fetchall()]

    def forget_service(self, service: str) -> None:
        """Forget a service of which nothing runs any more, and tell that its instances were removed."""
        with self._file.writing() as database:
            rows = database.execute("SELECT id, status FROM instances WHERE service = ? ORDER BY position", (service,))
            removed = {name: replace(_status(text), state=InstanceState.REMOVED) for name, text in rows.fetchall()}
            for name, status in removed.items():
                database.execute("UPDATE instances SET status = ? WHERE id = ?", (_text(status), name))
            for name in removed:
                _append(database, service, name, "")
            database.execute("DELETE FROM instances WHERE service = ?", (service,))
            database.execute("DELETE FROM services WHERE name = ?", (service,))
        self._wake()

    def forget_trace(self, instance: str) -> None:
        """Forget that an instance has left something behind."""
        self._file.write("DELETE FROM traces WHERE instance = ?", instance)

    def _wake(self) -> None:
        with self._changed:
            self._writes += 1
            self._changed.notify_all()


def _append(database: sqlite3.Connection, service: str, instance: str, log_tail: str) -> None:
    query = "SELECT name, user, app, role, project_id FROM services WHERE name = ?"
    found = _service(database, database.execute(query, (service,)).fetchone())
    document = {**asdict(found), "instance": instance, "log_tail": log_tail}
    cursor = database.execute("INSERT INTO changes (document) VALUES (?)", (json.dumps(document),)).lastrowid
    database.execute("DELETE FROM changes WHERE cursor <= ?", ((cursor or 0) - MAX_CHANGES,))


def _service(database: sqlite3.Connection, row: tuple[str, str, str, str, str]) -> Service:
    name, user, app, role, project_id = row
    rows = database.execute("SELECT spec, status FROM instances WHERE service = ? ORDER BY position", (name,))
    instances = tuple(_instance(_supervised(found)) for found in rows.fetchall())
    return Service(name, App(user, app), Role(role), project_id, instances)


def _change(cursor: int, text: str) -> InstanceChange:
    document = json.loads(text)
    instances = tuple(
        Instance(**{**instance, "state": InstanceState(instance["state"])}) for instance in document["instances"]
    )
    service = Service(
        document["name"], App(**document["app"]), Role(document["role"]), document["project_id"], instances
    )
    changed = next(instance for instance in instances if instance.id == document["instance"])
    return InstanceChange(cursor, service, changed, document["log_tail"])


def _instance(supervised: Supervised) -> Instance:
    spec, status = supervised.spec, supervised.status
    return Instance(spec.instance, spec.node, status.state, status.restarts, status.reason, status.exit_code)


def _supervised(row: tuple[str, str]) -> Supervised:
    return Supervised(ContainerSpec.from_json(json.loads(row[0])), _status(row[1]))


def _status(text: str) -> Status:
    document: dict[str, Any] = json.loads(text)
    return Status(**{**document, "state": InstanceState(document["state"])})


def _text(status: Status) -> str:
    return json.dumps(asdict(status))
