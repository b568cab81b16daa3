"""Records as documents and back.

What has keys or numbers of somebody else's choice is kept as JSON text: BSON has no dots in keys and no big integers.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from flops.ports import PendingItem, ProjectRecord
from flops.project.records import command_from_json, command_to_json, project_from_json, project_to_json
from flops.wire.envelope import Envelope, decode_envelope
from flops.wire.requests import ProjectStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flops.adapters.mongo_store.server import Document

# A document holds at most 16 MiB; what is around the texts needs its share.
MAX_BYTES: Final = 14 * 1024 * 1024
RECORD_FIELDS: Final = dict.fromkeys(("project", "status", "watermarks", "revision", "own_sequence", "owner"), 1)


def record_of(document: Document) -> ProjectRecord:
    """The record in a project's document."""
    return ProjectRecord(
        project_from_json(json.loads(document["project"])),
        ProjectStatus.model_validate_json(document["status"]),
        document["revision"],
        document["own_sequence"],
        json.loads(document["watermarks"]),
        document["owner"],
    )


def fields_of(record: ProjectRecord) -> Document:
    """What a save sets in a project's document."""
    return {
        "user": record.project.user,
        "created": record.status.created,
        "owner": record.owner,
        "revision": record.revision + 1,
        "own_sequence": record.own_sequence,
        "project": json.dumps(project_to_json(record.project)),
        "status": record.status.model_dump_json(),
        "watermarks": json.dumps(dict(record.watermarks)),
        "ended": _end_of(record),
    }


def told(envelopes: Sequence[Envelope]) -> list[Document]:
    """Events or entries as a project's document holds them until they are moved."""
    return [{"id": item.id, "sequence": item.sequence, "envelope": item.encode().decode()} for item in envelopes]


def envelope_of(text: str) -> Envelope:
    """A stored envelope."""
    return decode_envelope("store", text.encode())


def pending_key(item_id: str) -> str:
    """The key under which a project's document holds a pending item: ids may hold dots, keys may not."""
    return hashlib.sha256(item_id.encode()).hexdigest()[:32]


def pending_document(item: PendingItem, place: tuple[int, int]) -> Document:
    """A pending item as a project's document holds it; keys have no order, so it knows its place."""
    return {
        "id": item.id,
        "place": list(place),
        "command": json.dumps(command_to_json(item.command)) if item.command else "",
        "envelope": item.envelope.encode().decode() if item.envelope else "",
    }


def pending_of(project_id: str, document: Document) -> PendingItem:
    """The item that ``pending_document`` made the document of."""
    command, envelope = document["command"], document["envelope"]
    return PendingItem(
        document["id"],
        project_id,
        command_from_json(json.loads(command)) if command else None,
        envelope_of(envelope) if envelope else None,
    )


def size_of(items: Sequence[Document]) -> int:
    """How many bytes the texts in some documents take, about."""
    return sum(len(text.encode()) for item in items for text in item.values() if isinstance(text, str))


def _end_of(record: ProjectRecord) -> str:
    """When an ended project was last heard of, as a text that sorts by time; empty for others."""
    if not record.project.phase.is_terminal:
        return ""
    return datetime.fromisoformat(record.status.updated).astimezone(UTC).isoformat()
