"""The part of a store that one project's loop needs, in memory, so that tens of thousands of traces take minutes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flops.errors import StaleVersionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flops.ports import Deadline, PendingItem, ProjectRecord
    from flops.wire.envelope import Envelope


class MemoryStore:
    """Saves everything or nothing, and compares revisions, as the port says."""

    def __init__(self) -> None:
        self.records: dict[str, ProjectRecord] = {}
        self.told: list[Envelope] = []
        self.pending_items: dict[str, PendingItem] = {}
        self.deadlines: dict[str, Deadline] = {}
        self._event_ids: set[tuple[str, str]] = set()

    def load(self, project_id: str) -> ProjectRecord | None:
        return self.records.get(project_id)

    def save(
        self,
        record: ProjectRecord,
        *,
        events: Sequence[Envelope] = (),
        entries: Sequence[Envelope] = (),
        pending: Sequence[PendingItem] = (),
    ) -> ProjectRecord:
        assert not entries
        project_id = record.project.id
        known = self.records.get(project_id)
        if record.revision != (known.revision if known else 0):
            raise StaleVersionError(project_id)
        ids = [(project_id, event.id) for event in events]
        assert len({*ids} - self._event_ids) == len(ids), "an event is saved once"
        self._event_ids.update(ids)
        self.told += events
        self.pending_items |= {item.id: item for item in pending}
        self.records[project_id] = replace(record, revision=record.revision + 1)
        return self.records[project_id]

    def has_event(self, project_id: str, event_id: str) -> bool:
        return (project_id, event_id) in self._event_ids

    def clear(self, item: PendingItem) -> None:
        self.pending_items.pop(item.id, None)

    def set_deadline(self, deadline: Deadline) -> None:
        self.deadlines[deadline.project_id] = deadline
