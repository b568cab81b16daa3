"""How a service tells its events: numbered, kept until the manager has confirmed them, sent again when needed."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from flops.delivery.rates import Noise
from flops.errors import (
    BrokerUnreachableError,
    FlopsError,
    PayloadTooLargeError,
    StoreUnavailableError,
    UndecodableMessageError,
)
from flops.wire.confirmation import decode_confirmation
from flops.wire.envelope import Envelope
from flops.wire.limits import EVENT

if TYPE_CHECKING:
    from flops.ports import Bus, Outbox
    from flops.wire.events import Event
    from flops.wire.topics import Topics

log = logging.getLogger(__name__)

RESEND_AFTER_S = 10.0
RESEND_LAST_S = 300.0
RESEND_AT_ONCE = 500
NEW_OWNER_S = 0.5
POLL_S = 0.5
FORGET_EVERY_S = 0.5


class Unconfirmed(Protocol):
    """The part of an outbox that sending again needs."""

    def unconfirmed(self, project_id: str, limit: int) -> list[tuple[int, bytes]]:
        """The first of what was not confirmed yet, by ascending sequence."""

    def confirm(self, project_id: str, sequence: int) -> None:
        """Forget everything up to ``sequence``."""


class OutboxKeeper:
    """Sends again what the manager has not confirmed: after a reconnect, and while confirmations fail to come.

    A manager that has taken the project over from another, as its confirmations tell, is sent everything soon.

    A daemon thread listens to the manager's confirmations. As long as none comes, the pause between two repetitions
    doubles, and at most ``RESEND_AT_ONCE`` messages are repeated, so that a manager that was away is not buried.
    ``sending`` is held while messages are sent, so that a repetition never overtakes what is being numbered.
    """

    def __init__(  # noqa: PLR0913  what, where to, and as whom
        self, bus: Bus, outbox: Unconfirmed, topics: Topics, *, source: str, project_id: str, topic: str
    ) -> None:
        self.sending = threading.Lock()
        self._bus, self._outbox, self._topic = bus, outbox, topic
        self._source, self._project_id = source, project_id
        self._noise = Noise(log, "confirmation ignored")
        self._closing = threading.Event()
        self._confirmed = threading.Condition()
        self._watermark, self._repeated_to, self._owner = 0, 0, ""
        self._forgotten, self._forget_at = 0, 0.0
        self._pause_s = RESEND_AFTER_S
        self._due = 0.0
        self._connection = 0
        self._confirmations = bus.subscribe(topics.project_confirmed(project_id))
        self._thread = threading.Thread(target=self._keep, name="outbox-keeper", daemon=True)
        self._thread.start()

    def wait_confirmed(self, timeout_s: float) -> bool:
        """Wait until the manager has confirmed everything; False if it has not in time."""
        with self._confirmed:
            return self._confirmed.wait_for(self._is_all_confirmed, timeout_s)

    def _is_all_confirmed(self) -> bool:
        try:
            self._forget_confirmed()
            return not self._outbox.unconfirmed(self._project_id, 1)
        except StoreUnavailableError as error:  # its disk is full, say
            log.warning("what is confirmed cannot be forgotten yet", extra={"reason": error.reason})
            return False

    def close(self) -> None:
        """Stop listening; what is unconfirmed stays in the outbox."""
        self._closing.set()
        self._confirmations.close()
        self._thread.join(timeout=5)

    def _keep(self) -> None:
        while not self._closing.is_set():
            try:
                self._send_again_if_due()
                self._listen()
                if time.monotonic() >= self._forget_at:
                    self._forget_confirmed()
            except FlopsError as error:
                log.warning("events wait for their confirmation", extra={"reason": str(error)})
                self._closing.wait(POLL_S)

    def _listen(self) -> None:
        delivery = self._confirmations.receive(POLL_S)
        if delivery is not None:
            self._confirm(delivery.topic, delivery.payload)
            delivery.acknowledge()
        elif not self._bus.is_connected:
            self._closing.wait(POLL_S)

    def _confirm(self, topic: str, payload: bytes) -> None:
        if not payload:
            return
        try:
            watermarks, owner = decode_confirmation(topic, payload)
        except UndecodableMessageError as error:
            self._noise.hear(topic, error.reason)
            return
        watermark = watermarks.get(self._source, 0)
        is_new_owner, self._owner = owner != self._owner, owner
        former, self._watermark = self._watermark, watermark
        self._pause_s = RESEND_AFTER_S
        next_due = time.monotonic() + (NEW_OWNER_S if is_new_owner else self._pause_s)
        self._due = next_due if watermark > former else min(self._due, next_due)
        if watermark == former:
            return
        if self._repeated_to and watermark >= self._repeated_to:
            self._due = 0.0  # what was repeated has arrived, and there is more
        with self._confirmed:
            self._confirmed.notify_all()

    def _forget_confirmed(self) -> None:
        """Forget what is confirmed. It is a durable write, so nobody does it for each confirmation."""
        watermark = self._watermark
        if watermark != self._forgotten:
            self._outbox.confirm(self._project_id, watermark)
            self._forgotten = watermark
        self._forget_at = time.monotonic() + FORGET_EVERY_S

    def _send_again_if_due(self) -> None:
        connection = self._bus.connection_count
        if connection == self._connection and time.monotonic() < self._due:
            return
        with self.sending:
            with suppress(StoreUnavailableError):  # a full disk is no reason to say nothing
                self._outbox.confirm(self._project_id, self._watermark)  # what was made anew may be confirmed already
            unconfirmed = self._outbox.unconfirmed(self._project_id, RESEND_AT_ONCE)
            for _, payload in unconfirmed:
                self._bus.publish(self._topic, payload)
        self._repeated_to = unconfirmed[-1][0] if len(unconfirmed) == RESEND_AT_ONCE else 0
        is_reconnected, self._connection = connection != self._connection, connection
        self._pause_s = RESEND_AFTER_S if is_reconnected or not unconfirmed else min(self._pause_s * 2, RESEND_LAST_S)
        self._due = time.monotonic() + self._pause_s


class EventPublisher:
    """Publishes the events of one source about one project, at least once, without gaps in their numbers.

    The source is the given one and, as a fragment, the outbox's generation: with a new outbox the numbers begin anew.
    A service without a project (``project_id`` empty) has nobody to tell: it publishes nothing. One without an outbox
    sends every event once and without a number.
    """

    def __init__(self, bus: Bus, outbox: Outbox | None, topics: Topics, *, source: str, project_id: str) -> None:
        generation = outbox.generation if outbox is not None else ""
        source = f"{source}#{generation}" if generation else source
        self._bus, self._outbox = bus, outbox
        self._source, self._project_id = source, project_id
        self._topic = topics.project_events(project_id)
        self._keeper = (
            OutboxKeeper(bus, outbox, topics, source=source, project_id=project_id, topic=self._topic)
            if project_id and outbox is not None
            else None
        )

    def publish(self, event: Event, *, causation_id: str = "") -> Envelope:
        """Number, store and send one event. Durable when this returns. Any thread.

        Where it cannot be stored, for instance because the disk is full, it is sent once and without a number: the
        user hears of it unless the broker loses it.

        Raises:
            PayloadTooLargeError: nothing was numbered, stored or sent.
        """
        envelope = Envelope(
            id=str(uuid.uuid4()),
            source=self._source,
            type=event.type,
            subject=self._project_id,
            time=datetime.now(UTC),
            data=event.model_dump(mode="json"),
            causation_id=causation_id,
        )
        if not self._project_id:
            log.info("event without a project", extra={"event": event.type})
            return envelope
        with self._keeper.sending if self._keeper is not None else nullcontext():
            numbered, payload = self._store(envelope)
            try:
                self._bus.publish(self._topic, payload)
            except BrokerUnreachableError as error:
                log.warning("event waits for the broker", extra={"event": event.type, "reason": error.reason})
        return numbered

    def _store(self, envelope: Envelope) -> tuple[Envelope, bytes]:
        def encode(sequence: int) -> bytes:
            payload = envelope.model_copy(update={"sequence": sequence}).encode()
            if len(payload) > (limit_bytes := min(EVENT.size_bytes, self._bus.max_payload_bytes)):
                raise PayloadTooLargeError(self._topic, len(payload), limit_bytes)
            return payload

        if self._outbox is None:
            return envelope, encode(0)
        try:
            sequence, payload = self._outbox.append(self._project_id, encode)
        except StoreUnavailableError as error:
            log.error("event cannot be stored", extra={"event": envelope.type, "reason": error.reason})  # noqa: TRY400
            return envelope, encode(0)
        return envelope.model_copy(update={"sequence": sequence}), payload

    def wait_confirmed(self, timeout_s: float) -> bool:
        """Wait until the manager has confirmed everything; False if it has not in time."""
        return self._keeper is None or self._keeper.wait_confirmed(timeout_s)

    def close(self) -> None:
        """Stop listening to confirmations; what is unconfirmed stays in the outbox."""
        if self._keeper is not None:
            self._keeper.close()
