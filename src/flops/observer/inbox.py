"""Events in, entries out: each event once, each source in its own order, entries numbered without gaps."""

from __future__ import annotations

from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from flops.errors import StoreUnavailableError
from flops.observer.rendering import line_of
from flops.project.glance import TERMINAL, first_status, follow
from flops.wire.envelope import Envelope
from flops.wire.events import MAX_TEXT, EventsMissing, ProjectAccepted
from flops.wire.requests import InboxEntry, ProjectStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from flops.wire.events import Event

ENTRY_TYPE: Final = "inbox.entry"
STATUS_TYPE: Final = "project.status"
MAX_ENTRY_BYTES: Final = 256 * 1024  # one that is larger does not repeat its event's data


class Reading(NamedTuple):
    """What the reading of one event has come to: the entry with its number, encoded, if the event makes one.

    ``skipped`` says up to which number a source is not waited for any more.
    """

    event: Envelope
    number: int = 0
    entry: bytes = b""
    skipped: Mapping[str, int] = MappingProxyType({})


class InboxStore(Protocol):
    """The observer's own memory: entries, how far each source was read, and the status, in one durable place."""

    def status(self) -> ProjectStatus | None:
        """The last status."""

    def watermarks(self) -> Mapping[str, int]:
        """Per source, the last sequence number that was read."""

    def read_of(self, event_ids: Collection[str]) -> set[str]:
        """Which of these events were read before."""

    def last_sequence(self) -> int:
        """The number of the last entry."""

    def append(self, readings: Sequence[Reading], status: ProjectStatus) -> None:
        """Store, in one write, that events were read, the entries made of them and the status after the last one.

        No source is read less far than before.
        """

    def restore(self, entries: Sequence[Envelope]) -> None:
        """Store entries, in one write, that an inbox before this one has made and the manager has."""

    def was_restored(self, event_id: str) -> bool:
        """Whether the entry of an event was restored."""

    def page(self, *, after: int, limit: int) -> list[Envelope]:
        """Entries after a sequence number."""


class _Progress:
    """How far the inbox is, with what was read and is not saved yet."""

    def __init__(self, store: InboxStore) -> None:
        self.status = store.status()
        self.watermarks = dict(store.watermarks())
        self.last_sequence = store.last_sequence()
        last = store.page(after=self.last_sequence - 1, limit=1) if self.last_sequence else []
        self.last_text = str(last[0].data["text"]) if last else ""
        self.unsaved: list[Reading] = []
        self.unsaved_ids: set[str] = set()
        self.expected: dict[str, bool] = {}

    def saved(self) -> None:
        """Go on: everything that was read is durable."""
        self.unsaved, self.unsaved_ids, self.expected = [], set(), {}

    def note(self, reading: Reading, status: ProjectStatus) -> None:
        """Go on by one reading."""
        self.status = status
        for source, reached in (*reading.skipped.items(), (reading.event.source, reading.event.sequence)):
            self.watermarks[source] = max(self.watermarks.get(source, 0), reached)
        self.unsaved.append(reading)
        self.unsaved_ids.add(reading.event.id)


class Inbox:
    """Makes entries of one project's events. ``read`` is idempotent and total. One thread.

    What was read counts from ``save`` on. If that fails, all that was read since the last one has to be read again.
    """

    def __init__(self, store: InboxStore, *, project_id: str, app: str, source: str, verbose: bool = False) -> None:
        self._store, self._project_id, self._app, self._source = store, project_id, app, source
        self._verbose = verbose
        self._known: _Progress | None = None

    def is_early(self, envelope: Envelope) -> bool:
        """Whether events of the same source that came before this one have not been read yet."""
        return envelope.sequence > self._progress.watermarks.get(envelope.source, 0) + 1

    @property
    def is_new(self) -> bool:
        """Whether nothing was ever read or restored."""
        return self._progress.status is None and not self._progress.last_sequence

    @property
    def has_news(self) -> bool:
        """Whether something was read that is not saved yet."""
        return bool(self._progress.unsaved)

    @property
    def status(self) -> ProjectStatus | None:
        """The status after what was read last."""
        status = self._progress.status
        return status and self._told(status)

    @property
    def has_ended(self) -> bool:
        """Whether the project has ended by what was read last."""
        status = self._progress.status
        return status is not None and status.phase in TERMINAL

    def expect(self, event_ids: Collection[str]) -> None:
        """Ask the store at once whether any of the events that are read next was read before."""
        read = self._store.read_of(event_ids)
        self._progress.expected = {event_id: event_id in read for event_id in event_ids}

    def restore(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Take over entries that were made before this inbox lost its store; their events make no others.

        Raises:
            ValidationError: they are none.
        """
        made = [InboxEntry.model_validate(entry) for entry in entries]
        self._known = None
        self._store.restore([self._entry_envelope(entry, datetime.fromisoformat(entry.time)) for entry in made])

    def read(self, envelope: Envelope, event: Event | None) -> None:
        """Read one event, unless it was read before or comes too early."""
        progress = self._progress
        if self.is_early(envelope) or self._was_read(envelope.id):
            return
        time = envelope.time.isoformat()
        status = progress.status or first_status(self._project_id, time).model_copy(update={"app": self._app})
        reading = Reading(envelope)
        if event is not None:
            former, status = status, follow(status, event, time)
            is_late = former.phase in TERMINAL and status.phase in TERMINAL
            reading = self._reading(envelope, event, status, is_late=is_late)
        progress.note(reading, status)

    def save(self) -> list[bytes]:
        """Make durable what was read, in one write; returns the entries made of it, in their order.

        Raises:
            StoreUnavailableError: it is as if nothing had been read since the last time.
        """
        progress, readings = self._progress, self._progress.unsaved
        if progress.status is None or not readings:
            return []
        try:
            self._store.append(readings, self._told(progress.status))
        except StoreUnavailableError:
            self._known = None
            raise
        progress.saved()
        return [reading.entry for reading in readings if reading.number]

    def status_envelope(self, time: datetime) -> Envelope | None:
        """The status as it is published, if there is one."""
        status = self.status
        if status is None:
            return None
        return self._envelope(STATUS_TYPE, f"{self._project_id}:status:{status.entries}", time, status.model_dump())

    @property
    def _progress(self) -> _Progress:
        if self._known is None:
            self._known = _Progress(self._store)
        return self._known

    def _was_read(self, event_id: str) -> bool:
        progress = self._progress
        if event_id in progress.unsaved_ids:
            return True
        expected = progress.expected.get(event_id)
        return bool(self._store.read_of([event_id])) if expected is None else expected

    def _told(self, status: ProjectStatus) -> ProjectStatus:
        """A status as others are told it: with the last entry."""
        progress = self._progress
        return status.model_copy(update={"entries": progress.last_sequence, "last_entry": progress.last_text})

    def _reading(self, envelope: Envelope, event: Event, status: ProjectStatus, *, is_late: bool) -> Reading:
        """``is_late``: it has happened after the last word, so that it makes no entry."""
        skipped = {event.source: event.last} if isinstance(event, EventsMissing) else {}
        entry = None if is_late or self._store.was_restored(envelope.id) else self._entry(envelope, event, status)
        if entry is None:
            return Reading(envelope, skipped=skipped)
        encoded = entry.encode()
        if len(encoded) > MAX_ENTRY_BYTES:
            encoded = entry.model_copy(update={"data": {**entry.data, "data": {}}}).encode()
        self._progress.last_sequence, self._progress.last_text = entry.sequence, str(entry.data["text"])
        return Reading(envelope, entry.sequence, encoded, skipped)

    def _entry(self, envelope: Envelope, event: Event, status: ProjectStatus) -> Envelope | None:
        line = line_of(event, verbose=self._verbose, is_stopping=status.phase == "stopping")
        if line is None:
            return None
        sequence = self._progress.last_sequence + 1
        entry = InboxEntry(
            project_id=self._project_id,
            sequence=sequence,
            time=status.updated,
            severity=line.severity,
            text=line.text[:MAX_TEXT],
            next_step=line.next_step.replace("PROJECT", self._project_id),
            details=line.details[:MAX_TEXT],
            stage=status.phase,
            event_type=envelope.type,
            event_id=envelope.id,
            source=envelope.source,
            data={} if envelope.type == ProjectAccepted.type else envelope.data,
        )
        return self._entry_envelope(entry, envelope.time)

    def _entry_envelope(self, entry: InboxEntry, time: datetime) -> Envelope:
        data, cause = entry.model_dump(), entry.event_id
        return self._envelope(ENTRY_TYPE, f"{cause}:entry", time, data, sequence=entry.sequence, cause=cause)

    def _envelope(  # noqa: PLR0913  the fields of an envelope
        self, kind: str, envelope_id: str, time: datetime, data: dict[str, Any], *, sequence: int = 0, cause: str = ""
    ) -> Envelope:
        return Envelope(
            id=envelope_id[-256:],
            source=self._source,
            type=kind,
            subject=self._project_id,
            time=time,
            data=data,
            sequence=sequence,
            causation_id=cause,
        )
