"""How a service tells its events: numbered, kept until the manager has confirmed them, sent again when needed."""

from __future__ import annotations

import logging
import threading
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from flops.errors import UndecodableMessageError
from flops.wire.confirmation import decode_watermarks
from flops.wire.envelope import Envelope

if TYPE_CHECKING:
    from flops.ports import Bus, Outbox, Subscription
    from flops.wire.events import Event
    from flops.wire.topics import Topics

log = logging.getLogger(__name__)

RESEND_AFTER_S = 10.0
POLL_S = 0.5


class Unconfirmed(Protocol):
    """The part of an outbox that sending again needs."""

    def unconfirmed(self, project_id: str) -> list[tuple[int, bytes]]:
        """What was not confirmed yet, by ascending sequence."""

    def confirm(self, project_id: str, sequence: int) -> None:
        """Forget everything up to ``sequence``."""


class OutboxKeeper:
    """Sends again what the manager has not confirmed: after a reconnect, and after ``RESEND_AFTER_S``.

    A daemon thread listens to the manager's confirmations. ``sending`` is held while messages are sent, so that a
    repetition never overtakes what is being numbered.
    """

    def __init__(
        self, bus: Bus, outbox: Unconfirmed, topics: Topics, *, source: str, project_id: str, topic: str
    ) -> None:
        self.sending = threading.Lock()
        self._bus, self._outbox, self._topic = bus, outbox, topic
        self._source, self._project_id = source, project_id
        self._closing = threading.Event()
        self._confirmed = threading.Condition()
        confirmations = bus.subscribe(topics.project_confirmed(project_id))
        self._thread = threading.Thread(target=self._keep, args=(confirmations,), name="outbox-keeper", daemon=True)
        self._thread.start()

    def wait_confirmed(self, timeout_s: float) -> bool:
        """Wait until the manager has confirmed everything; False if it has not in time."""
        with self._confirmed:
            return self._confirmed.wait_for(lambda: not self._outbox.unconfirmed(self._project_id), timeout_s)

    def close(self) -> None:
        """Stop listening; what is unconfirmed stays in the outbox."""
        self._closing.set()
        self._thread.join(timeout=5)

    def _keep(self, confirmations: Subscription) -> None:
        connection, waited_s = self._bus.connection_count, 0.0
        self._send_again()
        while not self._closing.is_set():
            delivery = confirmations.receive(POLL_S)
            if delivery is not None:
                self._confirm(delivery.topic, delivery.payload)
                delivery.acknowledge()
                waited_s = 0.0
                continue
            waited_s += POLL_S
            if self._bus.connection_count != connection or waited_s >= RESEND_AFTER_S:
                connection, waited_s = self._bus.connection_count, 0.0
                self._send_again()
        confirmations.close()

    def _confirm(self, topic: str, payload: bytes) -> None:
        try:
            watermark = decode_watermarks(topic, payload).get(self._source, 0)
        except UndecodableMessageError as error:
            log.warning("confirmation ignored", extra={"topic": topic, "reason": error.reason})
            return
        self._outbox.confirm(self._project_id, watermark)
        with self._confirmed:
            self._confirmed.notify_all()

    def _send_again(self) -> None:
        with self.sending:
            for _, payload in self._outbox.unconfirmed(self._project_id):
                self._bus.publish(self._topic, payload)


class EventPublisher:
    """Publishes the events of one source about one project, at least once, without gaps in their numbers.

    A service without a project (``project_id`` empty) has nobody to tell: it publishes nothing.
    """

    def __init__(self, bus: Bus, outbox: Outbox, topics: Topics, *, source: str, project_id: str) -> None:
        self._bus, self._outbox = bus, outbox
        self._source, self._project_id = source, project_id
        self._topic = topics.project_events(project_id)
        self._keeper = (
            OutboxKeeper(bus, outbox, topics, source=source, project_id=project_id, topic=self._topic)
            if project_id
            else None
        )

    def publish(self, event: Event, *, causation_id: str = "") -> Envelope:
        """Number, store and send one event. Durable when this returns. Any thread."""
        envelope = Envelope(
            id=str(uuid.uuid4()),
            source=self._source,
            type=event.type,
            subject=self._project_id,
            time=datetime.now(UTC),
            data=event.model_dump(mode="json"),
            causation_id=causation_id,
        )
        if self._keeper is None:
            log.info("event without a project", extra={"event": event.type})
            return envelope
        with self._keeper.sending:
            sequence, payload = self._outbox.append(
                self._project_id, lambda sequence: envelope.model_copy(update={"sequence": sequence}).encode()
            )
            self._bus.publish(self._topic, payload)
        return envelope.model_copy(update={"sequence": sequence})

    def wait_confirmed(self, timeout_s: float) -> bool:
        """Wait until the manager has confirmed everything; False if it has not in time."""
        return self._keeper is None or self._keeper.wait_confirmed(timeout_s)

    def close(self) -> None:
        """Stop listening to confirmations; what is unconfirmed stays in the outbox."""
        if self._keeper is not None:
            self._keeper.close()
