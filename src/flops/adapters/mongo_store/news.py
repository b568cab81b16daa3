"""What one save writes into a project's document, and under which condition."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from flops.adapters.mongo_store.documents import MAX_BYTES, fields_of, pending_document, pending_key, size_of, told
from flops.errors import RecordTooLargeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flops.adapters.mongo_store.server import Document
    from flops.ports import PendingItem, ProjectRecord
    from flops.wire.envelope import Envelope


class News:
    """One save. ``mark`` is its own: a document that has it was written by it."""

    def __init__(
        self,
        record: ProjectRecord,
        events: Sequence[Envelope],
        entries: Sequence[Envelope],
        pending: Sequence[PendingItem],
    ) -> None:
        self.mark = uuid.uuid4().hex
        self.project_id, self.revision = record.project.id, record.revision
        self.event_ids = [event.id for event in events]
        self._events, self._entries = told(events), told(entries)
        self._pending = {
            pending_key(item.id): pending_document(item, (self.revision, number)) for number, item in enumerate(pending)
        }
        self._fields = fields_of(record) | {"mark": self.mark}
        self._told_bytes = size_of([*self._events, *self._entries])
        self._size_bytes = self._told_bytes + size_of([self._fields, *self._pending.values()])
        if self._size_bytes > MAX_BYTES:
            raise RecordTooLargeError(self.project_id, self._size_bytes, MAX_BYTES)

    def document(self) -> Document:
        """The document of a new project."""
        return {
            "_id": self.project_id,
            **self._fields,
            "history": uuid.uuid4().hex,
            "has_history": self._is_told,
            "moved": 0,
            "new_events": self._events,
            "new_entries": self._entries,
            "new_items": len(self._events) + len(self._entries),
            "new_bytes": self._told_bytes,
            "pending": self._pending,
            "deadline": None,
        }

    def condition(self) -> Document:
        """When the save may be done: nobody else has saved, its events are new, and there is room."""
        condition: Document = {
            "_id": self.project_id,
            "revision": self.revision,
            "new_bytes": {"$lte": MAX_BYTES - self._size_bytes},
        }
        if self.event_ids:
            condition["$nor"] = [{"new_events.id": {"$in": self.event_ids}}]
        return condition

    def fits(self, new_bytes: int) -> bool:
        """Whether there is room beside that many bytes."""
        return new_bytes <= MAX_BYTES - self._size_bytes

    def change(self) -> Document:
        """The save."""
        change: Document = {"$set": self._fields | {f"pending.{key}": item for key, item in self._pending.items()}}
        if self._is_told:
            change["$set"]["has_history"] = True
            change["$inc"] = {"new_items": len(self._events) + len(self._entries), "new_bytes": self._told_bytes}
            change["$push"] = {"new_events": {"$each": self._events}, "new_entries": {"$each": self._entries}}
        return change

    @property
    def _is_told(self) -> bool:
        return bool(self._events or self._entries)
