"""Records as rows and back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from flops.errors import StaleVersionError
from flops.ports import PendingItem, ProjectRecord
from flops.project.records import command_from_json, command_to_json, project_from_json, project_to_json
from flops.wire.envelope import Envelope, decode_envelope
from flops.wire.requests import ProjectStatus

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

SELECT_PROJECT: Final = "SELECT project, status, revision, own_sequence, watermarks, owner FROM projects"
CREATED: Final = "json_extract(status, '$.created')"
_INSERT: Final = """
INSERT OR IGNORE INTO projects (user, revision, own_sequence, project, status, watermarks, owner, ended, events, id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING events
"""
_UPDATE: Final = """
UPDATE projects SET user = ?, revision = ?, own_sequence = ?, project = ?, status = ?, watermarks = ?, owner = ?,
    ended = ?, events = events + ? WHERE id = ? AND revision = ? RETURNING events
"""


def record_of(row: tuple[str, str, int, int, str, str]) -> ProjectRecord:
    """The record in a row of ``SELECT_PROJECT``."""
    project, status, revision, own_sequence, watermarks, owner = row
    return ProjectRecord(
        project_from_json(json.loads(project)),
        ProjectStatus.model_validate_json(status),
        revision,
        own_sequence,
        json.loads(watermarks),
        owner,
    )


def write_record(database: sqlite3.Connection, record: ProjectRecord, events: Sequence[Envelope]) -> None:
    """Write a record with its new events if its revision is still the stored one."""
    values = (
        record.project.user,
        record.revision + 1,
        record.own_sequence,
        json.dumps(project_to_json(record.project)),
        record.status.model_dump_json(),
        json.dumps(dict(record.watermarks)),
        record.owner,
        _end_of(record),
        len(events),
        record.project.id,
    )
    if record.revision:
        written = database.execute(_UPDATE, (*values, record.revision)).fetchall()
    else:
        written = database.execute(_INSERT, values).fetchall()
    if not written:
        raise StaleVersionError(record.project.id)
    first = written[0][0] - len(events) + 1
    database.executemany(
        "INSERT INTO events VALUES (?, ?, ?, ?)",
        [
            (record.project.id, position, envelope.id, envelope.encode().decode())
            for position, envelope in enumerate(events, start=first)
        ],
    )


def pending_row(item: PendingItem) -> tuple[str, str, str | None, str | None]:
    """Id, project, command, envelope."""
    return (
        item.id,
        item.project_id,
        json.dumps(command_to_json(item.command)) if item.command else None,
        item.envelope.encode().decode() if item.envelope else None,
    )


def pending_of(row: tuple[str, str, str | None, str | None]) -> PendingItem:
    """The item that ``pending_row`` made the row of."""
    item_id, project_id, command, envelope = row
    return PendingItem(
        item_id,
        project_id,
        command_from_json(json.loads(command)) if command else None,
        envelope_of(envelope) if envelope else None,
    )


def envelope_of(text: str) -> Envelope:
    """A stored envelope."""
    return decode_envelope("store", text.encode())


def _end_of(record: ProjectRecord) -> str:
    """When an ended project was last heard of, as a text that sorts by time; empty for others."""
    if not record.project.phase.is_terminal:
        return ""
    return datetime.fromisoformat(record.status.updated).astimezone(UTC).isoformat()
