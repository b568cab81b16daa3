"""Load → step → save → do: the manager's way of handling one event of one project."""

from __future__ import annotations

import logging
import threading
import zlib
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

from flops.errors import StaleVersionError, StoreUnavailableError, UndecodableMessageError
from flops.manager.together import Together
from flops.ports import PendingItem, ProjectRecord
from flops.project.deployment import Role
from flops.project.glance import first_status, follow
from flops.project.state import Deadlines, Project
from flops.project.workflow import step
from flops.wire.envelope import Envelope
from flops.wire.events import MANAGER, Event, EventsMissing, PhaseEntered, ProjectAccepted
from flops.wire.limits import MAX_SOURCES, MAX_TEXT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from flops.ports import Store

log = logging.getLogger(__name__)

MAX_ATTEMPTS: Final = 20
LOCKS: Final = 64


class Projects:
    """The projects of one manager, its ``owner``; those of others are left alone.

    ``hand_over`` gets what a saved step wants done, in order: a project is locked from its loading until then;
    ``hand_over_new``, if given, gets what a project begins with. Whoever
    has saved it meanwhile, in another process, makes the step begin anew. ``is_in_doubt`` is set when a save may have
    succeeded although the store did not answer: then what is pending there was not handed over.
    """

    def __init__(
        self,
        store: Store,
        deadlines: Deadlines,
        hand_over: Callable[[Sequence[PendingItem]], None],
        *,
        owner: str,
        hand_over_new: Callable[[Sequence[PendingItem]], None] | None = None,
    ) -> None:
        self.owner, self.is_in_doubt = owner, False
        self._store, self._deadlines, self._hand_over = store, deadlines, hand_over
        self._hand_over_new = hand_over_new or hand_over
        self._locks = [threading.Lock() for _ in range(LOCKS)]
        self._together = Together(store)
        self.afterwards, self.end_together_early = self._together.afterwards, self._together.end_early

    def begin(self, project_id: str, accepted: ProjectAccepted, *, cause: str = "") -> Project:
        """Make a new project of its first event, unless it exists already; returns what it is then."""
        with self._locked(project_id):
            known = self._store.load(project_id)
            if known is None:
                status = first_status(project_id, datetime.now(UTC).isoformat())
                record = ProjectRecord(Project(project_id, deadlines=self._deadlines), status, owner=self.owner)
                known = self._advance(record, _own(record, accepted, f"{project_id}:begin", cause), accepted)
            return known.project

    @contextmanager
    def together(self) -> Iterator[None]:
        """Let what this thread handles within become durable together, and do ``afterwards`` only then what needs that.

        Raises:
            StoreUnavailableError: nothing of it was stored, and nothing was done afterwards.
        """
        try:
            with self._together.begun():
                yield
        except StoreUnavailableError:
            self.is_in_doubt = True
            raise

    @property
    def is_together(self) -> bool:
        """Whether this thread is within ``together``: what fails there is handled again by itself."""
        return self._together.is_begun

    @contextmanager
    def halted(self) -> Iterator[None]:
        """Let nothing happen to any project meanwhile."""
        with ExitStack() as locks:
            for lock in self._locks:
                locks.enter_context(lock)
            yield

    def happened(
        self, project_id: str, event: Event, *, event_id: str, cause: str = "", phase: str = ""
    ) -> ProjectRecord | None:
        """Handle an event that the manager itself has to tell, once; returns as ``received`` does.

        With ``phase`` given, it is none for a project that is in another one.
        """

        def happen(record: ProjectRecord) -> ProjectRecord:
            if phase not in {"", record.project.phase} or self._store.has_event(project_id, event_id):
                return record
            return self._advance(record, _own(record, event, event_id, cause), event)

        return self._handle(project_id, happen)

    def requested(self, project_id: str, event: Event, *, event_id: str) -> ProjectRecord | None:
        """Handle what was asked for; from then on this manager takes care of the project, if another one did."""
        with self._locked(project_id):
            record = self._store.load(project_id)
            if record is not None and record.owner != self.owner:
                self._save(replace(record, owner=self.owner))
                pending = self._store.pending(self.owner)
                mine = [item for item in pending if item.project_id == project_id]
                self.afterwards(partial(self._hand_over, mine))
        return self.happened(project_id, event, event_id=event_id)

    def received(self, project_id: str, envelope: Envelope, event: Event | None) -> ProjectRecord | None:
        """Handle an event from the wire once; returns the project's record, or None if there is no such project.

        One that comes before its predecessors changes nothing and stays unconfirmed, so its producer sends it again.
        The record of somebody else's project is returned as it is.
        """
        return self._handle(project_id, lambda record: self._hear(record, envelope, event))

    def keep_entry(self, project_id: str, entry: Envelope) -> ProjectRecord | None:
        """Keep an inbox entry of the project's own observer; returns as ``received`` does.

        Raises:
            UndecodableMessageError: it is somebody else's.
        """
        return self._handle(project_id, lambda record: self._keep(record, entry))

    def give_up(self, project_id: str, source: str, last: int) -> ProjectRecord | None:
        """Wait no longer for what a source has told up to number ``last``, and say so; returns as ``received``."""

        def skip(record: ProjectRecord) -> ProjectRecord:
            first = record.watermarks.get(source, 0) + 1
            if first > last:
                return record
            missing = EventsMissing(source=source, first=first, last=last)
            record = replace(record, watermarks={**record.watermarks, source: last})
            event_id = f"{project_id}:missing:{zlib.crc32(source.encode())}:{last}"
            return self._advance(record, _own(record, missing, event_id, ""), missing)

        return self._handle(project_id, skip)

    def _locked(self, project_id: str) -> AbstractContextManager[None]:
        return self._together.locked(self._locks[zlib.crc32(project_id.encode()) % LOCKS])

    def _save(
        self,
        record: ProjectRecord,
        *,
        events: Sequence[Envelope] = (),
        entries: Sequence[Envelope] = (),
        pending: Sequence[PendingItem] = (),
    ) -> ProjectRecord:
        try:
            return self._store.save(record, events=events, entries=entries, pending=pending)
        except StoreUnavailableError:
            self.is_in_doubt = True
            raise

    def _handle(self, project_id: str, change: Callable[[ProjectRecord], ProjectRecord]) -> ProjectRecord | None:
        with self._locked(project_id):
            for _ in range(MAX_ATTEMPTS):
                record = self._store.load(project_id)
                if record is None or record.owner != self.owner:
                    return record
                try:
                    return change(record)
                except StaleVersionError:
                    continue
        raise StaleVersionError(project_id)

    def _hear(self, record: ProjectRecord, envelope: Envelope, event: Event | None) -> ProjectRecord:
        if envelope.sequence > record.watermarks.get(envelope.source, 0) + 1:
            return record
        is_next, is_known = _is_next(record, envelope), self._store.has_event(record.project.id, envelope.id)
        if is_known and not is_next:
            return record
        # One with an old number that is not known was given up, or its producer has lost its count: it is news.
        record = _with_watermark(record, envelope) if is_next else record
        if event is None or is_known or record.project.is_outdated(envelope.source):
            return self._save(record, events=[] if is_known else [envelope])
        return self._advance(record, envelope, event)

    def _keep(self, record: ProjectRecord, entry: Envelope) -> ProjectRecord:
        observer = f"/{Role.OBSERVER}/{record.project.service_name(Role.OBSERVER)}"
        if not entry.source.startswith(f"{observer}."):
            raise UndecodableMessageError(entry.type, f"only {observer} makes entries of this project")
        if not _is_next(record, entry):
            return record
        news = {"entries": entry.sequence, "last_entry": str(entry.data.get("text", ""))[:MAX_TEXT]}
        record = replace(record, status=record.status.model_copy(update=news))
        return self._save(_with_watermark(record, entry), entries=[entry])

    def _advance(self, record: ProjectRecord, envelope: Envelope, event: Event) -> ProjectRecord:
        revision = record.revision
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
        record = self._save(replace(record, project=project, status=status), events=news, pending=items)
        self.afterwards(partial(self._hand_over if revision else self._hand_over_new, items))
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
    if envelope.source not in record.watermarks and len(record.watermarks) >= MAX_SOURCES:
        raise UndecodableMessageError(envelope.type, f"its project has {MAX_SOURCES:,} sources of events already")
    return replace(record, watermarks={**record.watermarks, envelope.source: envelope.sequence})
