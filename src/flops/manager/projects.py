"""Load → step → save → do: the manager's way of handling one event of one project."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from flops.errors import StaleVersionError, UndecodableMessageError
from flops.ports import PendingItem, ProjectRecord
from flops.project.deployment import Role
from flops.project.glance import first_status, follow
from flops.project.state import Deadlines, Project
from flops.project.workflow import step
from flops.wire.envelope import Envelope
from flops.wire.events import MANAGER, Event, PhaseEntered, ProjectAccepted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from flops.ports import Store

log = logging.getLogger(__name__)

MAX_ATTEMPTS: Final = 20


class Projects:
    """All projects. ``hand_over`` gets what a saved step wants done, in order."""

    def __init__(
        self, store: Store, deadlines: Deadlines, hand_over: Callable[[Sequence[PendingItem]], None], *, owner: str
    ) -> None:
        self._store, self._deadlines, self._hand_over, self._owner = store, deadlines, hand_over, owner
        self._lock = threading.RLock()

    def begin(self, project_id: str, accepted: ProjectAccepted, *, cause: str = "") -> None:
        """Make a new project of its first event, unless it exists already."""
        with self._lock:
            if self._store.load(project_id) is None:
                status = first_status(project_id, datetime.now(UTC).isoformat())
                record = ProjectRecord(Project(project_id, deadlines=self._deadlines), status, owner=self._owner)
                self._advance(record, _own(record, accepted, f"{project_id}:begin", cause), accepted)

    def happened(self, project_id: str, event: Event, *, event_id: str, cause: str = "", phase: str = "") -> None:
        """Handle an event that the manager itself has to tell. Idempotent in ``event_id``.

        With ``phase`` given, it is none for a project that is in another one.
        """

        def happen(record: ProjectRecord) -> ProjectRecord:
            if phase not in {"", record.project.phase} or self._store.has_event(project_id, event_id):
                return record
            return self._advance(record, _own(record, event, event_id, cause), event)

        self._handle(project_id, happen)

    def received(self, project_id: str, envelope: Envelope, event: Event | None) -> Mapping[str, int] | None:
        """Handle an event from the wire once; returns the project's watermarks, or None if there is no such project.

        One that comes before its predecessors changes nothing and stays unconfirmed, so its producer sends it again.
        """
        return self._handle(project_id, lambda record: self._hear(record, envelope, event))

    def keep_entry(self, project_id: str, entry: Envelope) -> Mapping[str, int] | None:
        """Keep an inbox entry of the project's own observer; returns as ``received`` does.

        Raises:
            UndecodableMessageError: it is somebody else's.
        """
        return self._handle(project_id, lambda record: self._keep(record, entry))

    def _handle(self, project_id: str, change: Callable[[ProjectRecord], ProjectRecord]) -> Mapping[str, int] | None:
        with self._lock:
            for _ in range(MAX_ATTEMPTS):
                record = self._store.load(project_id)
                if record is None:
                    return None
                try:
                    return change(record).watermarks
                except StaleVersionError:
                    continue
        raise StaleVersionError(project_id)

    def _hear(self, record: ProjectRecord, envelope: Envelope, event: Event | None) -> ProjectRecord:
        if envelope.sequence and not _is_next(record, envelope):
            return record
        if self._store.has_event(record.project.id, envelope.id):
            return record
        if envelope.sequence:
            record = _with_watermark(record, envelope)
        if event is None:
            return self._store.save(record, events=[envelope])
        return self._advance(record, envelope, event)

    def _keep(self, record: ProjectRecord, entry: Envelope) -> ProjectRecord:
        observer = f"/{Role.OBSERVER}/{record.project.service_name(Role.OBSERVER)}"
        if not entry.source.startswith(f"{observer}."):
            raise UndecodableMessageError(entry.type, f"only {observer} makes entries of this project")
        if not _is_next(record, entry):
            return record
        news = {"entries": entry.sequence, "last_entry": str(entry.data.get("text", ""))}
        record = replace(record, status=record.status.model_copy(update=news))
        return self._store.save(_with_watermark(record, entry), entries=[entry])

    def _advance(self, record: ProjectRecord, envelope: Envelope, event: Event) -> ProjectRecord:
        project, commands = step(record.project, event)
        time = envelope.time.isoformat()
        status = follow(record.status, event, time)
        told = [envelope] if envelope.source == MANAGER else []
        record = replace(record, own_sequence=record.own_sequence + len(told))
        if project.phase is not record.project.phase:
            entered = PhaseEntered(phase=project.phase)
            status = follow(status, entered, time)
            told.append(_own(record, entered, f"{envelope.id}:{project.phase}", envelope.id))
            record = replace(record, own_sequence=record.own_sequence + 1)
        items = [PendingItem(f"{item.id}:publish", project.id, envelope=item) for item in told]
        items += [
            PendingItem(f"{project.id}:{record.revision}:{number}", project.id, command=command)
            for number, command in enumerate(commands)
        ]
        news = told if envelope.source == MANAGER else [envelope, *told]
        status = status.model_copy(update={"app": project.app.name})
        record = self._store.save(replace(record, project=project, status=status), events=news, pending=items)
        self._hand_over(items)
        return record


def _own(record: ProjectRecord, event: Event, event_id: str, cause: str) -> Envelope:
    return Envelope(
        id=event_id,
        source=MANAGER,
        type=event.type,
        subject=record.project.id,
        time=datetime.now(UTC),
        data=event.model_dump(mode="json"),
        sequence=record.own_sequence + 1,
        causation_id=cause,
    )


def _is_next(record: ProjectRecord, envelope: Envelope) -> bool:
    return envelope.sequence == record.watermarks.get(envelope.source, 0) + 1


def _with_watermark(record: ProjectRecord, envelope: Envelope) -> ProjectRecord:
    return replace(record, watermarks={**record.watermarks, envelope.source: envelope.sequence})
