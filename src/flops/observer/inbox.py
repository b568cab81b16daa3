"""Events in, entries out: each event once, each source in its own order, entries numbered without gaps."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

from flops.observer.rendering import line_of
from flops.project.deployment import Role
from flops.project.glance import first_status, follow
from flops.project.state import Phase
from flops.wire.envelope import Envelope, encode_json
from flops.wire.events import MAX_TEXT, EventsMissing
from flops.wire.requests import InboxEntry, ProjectStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flops.wire.events import Event

ENTRY_TYPE: Final = "inbox.entry"
STATUS_TYPE: Final = "project.status"
MAX_DATA_BYTES: Final = 256 * 1024


class InboxStore(Protocol):
    """The observer's own memory: entries, how far each source was read, and the status, in one durable place."""

    def status(self) -> ProjectStatus | None:
        """The last status."""

    def watermarks(self) -> Mapping[str, int]:
        """Per source, the last sequence number that was read."""

    def has_read(self, event_id: str) -> bool:
        """Whether an event was read before."""

    def last_sequence(self) -> int:
        """The number of the last entry."""

    def append(
        self, read: Envelope, status: ProjectStatus, entry: Envelope | None, *, skipped: Mapping[str, int] | None = None
    ) -> None:
        """Store, in one write, that an event was read, the new status and the entry made of it.

        ``skipped`` says up to which number a source is not waited for any more. No source is read less far than before.
        """

    def restore(self, entries: Sequence[Envelope]) -> None:
        """Store entries, in one write, that an inbox before this one has made and the manager has."""

    def was_restored(self, event_id: str) -> bool:
        """Whether the entry of an event was restored."""

    def page(self, *, after: int, limit: int) -> list[Envelope]:
        """Entries after a sequence number."""


class Inbox:
    """Makes entries of one project's events. ``read`` is idempotent and total."""

    def __init__(self, store: InboxStore, *, project_id: str, app: str, source: str, verbose: bool = False) -> None:
        self._store, self._project_id, self._app, self._source = store, project_id, app, source
        self._verbose = verbose

    def is_early(self, envelope: Envelope) -> bool:
        """Whether events of the same source that came before this one have not been read yet."""
        return envelope.sequence > self._store.watermarks().get(envelope.source, 0) + 1

    @property
    def is_new(self) -> bool:
        """Whether nothing was ever read or restored."""
        return self._store.status() is None and not self._store.last_sequence()

    def restore(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Take over entries that were made before this inbox lost its store; their events make no others.

        Raises:
            ValidationError: they are none.
        """
        made = [InboxEntry.model_validate(entry) for entry in entries]
        self._store.restore([self._entry_envelope(entry, datetime.fromisoformat(entry.time)) for entry in made])

    def read(self, envelope: Envelope, event: Event | None) -> Envelope | None:
        """Read one event; returns the entry made of it, or None if it makes none or was read before."""
        if self.is_early(envelope) or self._store.has_read(envelope.id):
            return None
        time = envelope.time.isoformat()
        status = self._store.status() or first_status(self._project_id, time).model_copy(update={"app": self._app})
        if event is None:
            self._store.append(envelope, status, None)
            return None
        status = follow(status, event, time)
        is_restored = self._store.was_restored(envelope.id)
        entry = None if is_restored else self._entry(envelope, event, status)
        if is_restored:
            last = self._store.last_sequence()
            news = {"entries": last, "last_entry": self._store.page(after=last - 1, limit=1)[0].data["text"]}
            status = status.model_copy(update=news)
        if entry is not None:
            news = {"entries": entry.sequence, "last_entry": entry.data["text"]}
            status = status.model_copy(update=news)
        skipped = {event.source: event.last} if isinstance(event, EventsMissing) else None
        self._store.append(envelope, status, entry, skipped=skipped)
        return entry

    def status_envelope(self, time: datetime) -> Envelope | None:
        """The status as it is published, if there is one."""
        status = self._store.status()
        if status is None:
            return None
        return self._envelope(STATUS_TYPE, f"{self._project_id}:status:{status.entries}", time, status.model_dump())

    def _entry(self, envelope: Envelope, event: Event, status: ProjectStatus) -> Envelope | None:
        line = line_of(event, verbose=self._verbose, is_stopping=status.phase == "stopping")
        if line is None or (Phase(status.phase).is_terminal and _is_of_observer(event)):
            return None
        sequence = self._store.last_sequence() + 1
        entry = InboxEntry(
            project_id=self._project_id,
            sequence=sequence,
            time=envelope.time.isoformat(),
            severity=line.severity,
            text=line.text[:MAX_TEXT],
            next_step=line.next_step.replace("PROJECT", self._project_id),
            details=line.details[:MAX_TEXT],
            stage=status.phase,
            event_type=envelope.type,
            event_id=envelope.id,
            source=envelope.source,
            data=_copied(envelope),
        )
        return self._entry_envelope(entry, envelope.time)

    def _entry_envelope(self, entry: InboxEntry, time: datetime) -> Envelope:
        made = self._envelope(ENTRY_TYPE, f"{entry.event_id}:entry", time, entry.model_dump())
        return made.model_copy(update={"sequence": entry.sequence, "causation_id": entry.event_id})

    def _envelope(self, kind: str, envelope_id: str, time: datetime, data: dict[str, object]) -> Envelope:
        return Envelope(
            id=envelope_id[-256:],
            source=self._source,
            type=kind,
            subject=self._project_id,
            time=time,
            data=data,
        )


def _is_of_observer(event: Event) -> bool:
    """Whether something has become of the observer itself: once the project has ended, that is nobody's concern."""
    return getattr(event, "role", "") == Role.OBSERVER


def _copied(envelope: Envelope) -> dict[str, Any]:
    """An event's data as an entry repeats them; not those that could make it larger than what may travel."""
    is_large = len(encode_json(envelope.data)) > MAX_DATA_BYTES
    return {} if is_large or envelope.type == "project.accepted" else envelope.data
