"""What is told about projects: events and inbox entries, in each source's order, and the confirmation of both."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from flops.errors import FlopsError, UndecodableMessageError
from flops.manager.gaps import Gaps
from flops.manager.kept import SomebodyElsesError
from flops.wire.confirmation import encode_watermarks
from flops.wire.envelope import Envelope, decode_envelope
from flops.wire.events import MANAGER, Event
from flops.wire.limits import CONTROL, EVENT

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    from flops.manager.projects import Projects
    from flops.ports import Bus, Delivery, ProjectRecord, Store
    from flops.wire.topics import Topics

log = logging.getLogger(__name__)

GAP_TICK_S: Final = 1.0


class Reports:
    """Handles what services tell of this manager's projects, and tells them what is durable of it.

    What comes before its predecessors is held for a bounded time.
    """

    def __init__(self, bus: Bus, topics: Topics, store: Store, projects: Projects) -> None:
        self._bus, self._topics, self._store, self._projects = bus, topics, store, projects
        self._gaps = Gaps()
        self._early_entries = Gaps()

    def hear_event(self, project_id: str, delivery: Delivery) -> None:
        """Handle an event.

        Raises:
            UndecodableMessageError: it is none, or has no effect.
            SomebodyElsesError: another manager has to handle it, and might never see it again.
        """
        envelope = decode_envelope(delivery.topic, delivery.payload, EVENT)
        if envelope.source == MANAGER:
            return
        fault = self._receive(project_id, envelope)
        if fault:
            raise fault

    def _receive(self, project_id: str, envelope: Envelope) -> UndecodableMessageError | None:
        """Handle an event, and then what was heard beyond the gap that it closes; returns why it has no effect."""
        fault, following = self._receive_one(project_id, envelope)
        while following:
            _, following = self._receive_one(project_id, following)
        return fault

    def _receive_one(
        self, project_id: str, envelope: Envelope
    ) -> tuple[UndecodableMessageError | None, Envelope | None]:
        event, fault = _event_of(envelope)
        if fault and not envelope.sequence:
            return fault, None
        # One without effect is kept with the project's other events, too: what its source says next must not wait.
        record = self._projects.received(project_id, envelope, event)
        if record and record.owner != self._projects.owner and not envelope.sequence:
            raise SomebodyElsesError(record.owner)
        self._confirm(project_id, envelope, record)
        if record is None or record.owner != self._projects.owner:
            return fault, None
        watermark = record.watermarks.get(envelope.source, 0)
        if envelope.sequence > watermark:
            self._gaps.hold(project_id, envelope)
        return fault, self._gaps.following(project_id, envelope.source, watermark)

    def watch_gaps(self, stopping: threading.Event) -> None:
        """Wait for events that are missing, but not for ever: say so in the project, and go on with what came later."""
        while not stopping.wait(GAP_TICK_S):
            for project_id, source, last in self._gaps.overdue():
                try:
                    self._give_up(project_id, source, last)
                except FlopsError as error:
                    log.warning("a gap is watched further", extra={"project": project_id, "reason": str(error)})
            for project_id, source, _ in self._early_entries.overdue():
                self._early_entries.forget(project_id, source)  # an observer sends its entries again, for ever

    def _give_up(self, project_id: str, source: str, last: int) -> None:
        record = self._projects.give_up(project_id, source, last)
        if record is None or record.owner != self._projects.owner:
            self._gaps.forget(project_id, source)
        elif following := self._gaps.following(project_id, source, record.watermarks.get(source, 0)):
            self._receive(project_id, following)

    def hear_entry(self, project_id: str, delivery: Delivery) -> None:
        """Handle an inbox entry; raises as ``Projects.keep_entry``."""
        following: Envelope | None = decode_envelope(delivery.topic, delivery.payload, CONTROL)
        while following is not None:
            entry, record = following, self._projects.keep_entry(project_id, following)
            self._confirm(project_id, entry, record)
            following = None
            if record and record.owner == self._projects.owner:
                watermark = record.watermarks.get(entry.source, 0)
                if entry.sequence > watermark:
                    self._early_entries.hold(project_id, entry)
                following = self._early_entries.following(project_id, entry.source, watermark)

    def _confirm(self, project_id: str, envelope: Envelope, record: ProjectRecord | None) -> None:
        """Confirm what is durable; what belongs to no project is not kept, so its producer need not keep it either.

        What belongs to another manager's project is that one's to confirm: until then its producer sends it again.
        """
        if not envelope.sequence or (record and record.owner != self._projects.owner):
            return
        watermarks = {envelope.source: envelope.sequence} if record is None else dict(record.watermarks)
        said = partial(self._say_confirmed, project_id, watermarks, retain=record is not None)
        self._projects.afterwards(said, instead_of=None if record is None else ("confirmed", project_id))

    def confirm_again(self, project_id: str) -> None:
        """Say what is durable of an adopted project: what its services have told the former manager comes again."""
        record = self._store.load(project_id)
        if record and record.owner == self._projects.owner:
            self._say_confirmed(project_id, record.watermarks, retain=True)

    def _say_confirmed(self, project_id: str, watermarks: Mapping[str, int], *, retain: bool) -> None:
        payload = encode_watermarks(dict(watermarks), owner=self._projects.owner)
        self._bus.publish(self._topics.project_confirmed(project_id), payload, retain=retain)


def _event_of(envelope: Envelope) -> tuple[Event | None, UndecodableMessageError | None]:
    try:
        return envelope.event(), None
    except UndecodableMessageError as error:
        return None, error
