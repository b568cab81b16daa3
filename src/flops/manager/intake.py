"""What reaches the manager over the broker, each kind of message to its handler."""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from flops.delivery.dead_letters import DeadLetters
from flops.delivery.rates import Rate
from flops.delivery.requests import answer, refuse
from flops.errors import FlopsError, InvalidSlaError, StoreUnavailableError, UndecodableMessageError
from flops.wire.confirmation import encode_watermarks
from flops.wire.envelope import Envelope, decode_envelope, decode_json, envelope_of
from flops.wire.events import MANAGER, CancellationRequested, Event, ProjectAccepted, ProjectRejected
from flops.wire.limits import CONTROL, EVENT, MAX_ID, REJECTIONS_AT_ONCE, REJECTIONS_PER_S
from flops.wire.requests import Presence, ProjectAnswer
from flops.wire.sla import parse_project_sla, unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flops.manager.placement import Placements
    from flops.manager.projects import Projects
    from flops.manager.requests import Requests
    from flops.ports import Bus, Delivery, Store
    from flops.wire.sla import ProjectSla
    from flops.wire.topics import Topics

log = logging.getLogger(__name__)

_ID_LENGTH: Final = 24


class Intake:
    """Handles one message after the other and acknowledges it when what follows from it is durable."""

    def __init__(  # noqa: PLR0913  the manager's parts
        self,
        *,
        bus: Bus,
        topics: Topics,
        store: Store,
        projects: Projects,
        placements: Placements,
        requests: Requests,
        platform: str,
    ) -> None:
        self._bus, self._topics, self._store = bus, topics, store
        self._projects, self._placements, self._requests = projects, placements, requests
        self._platform = platform
        self._dead_letters = DeadLetters(self._keep_dead_letter)
        self._rejections = Rate(REJECTIONS_AT_ONCE, REJECTIONS_PER_S)
        self._handlers: dict[tuple[str, ...], Callable[[str, Delivery], None]] = {
            ("events",): self._event,
            ("inbox",): self._entry,
            ("cancel",): self._cancellation,
        }

    def questions(self) -> list[str]:
        """What somebody waits for the answer of."""
        return [self._topics.project_start(), self._topics.request()]

    def reports(self) -> list[str]:
        """What else the manager listens to."""
        topics = self._topics
        return [topics.project_events(), topics.project_inbox(), topics.project_cancel(), topics.presence()]

    def handle(self, delivery: Delivery) -> None:
        """Handle one message. What cannot be decoded or handled is kept as a dead letter, so that it never loops."""
        try:
            self._dispatch(delivery)
        except UndecodableMessageError as error:
            self._dead_letters.take(delivery, error)
        except FlopsError:
            raise
        except Exception as error:  # a process boundary: one message must not stop the manager
            log.exception("message met the unexpected", extra={"topic": delivery.topic})
            unexpected = UndecodableMessageError(delivery.topic, f"the manager met {error!r}")
            self._dead_letters.take(delivery, unexpected)
        else:
            delivery.acknowledge()

    def _keep_dead_letter(self, topic: str, payload: bytes, reason: str) -> None:
        self._store.keep_dead_letter(topic, payload, reason, time.time())

    def _dispatch(self, delivery: Delivery) -> None:
        topic = delivery.topic
        if topic == self._topics.project_start():
            self._start(delivery)
            return
        if self._topics.instance_of(topic) is not None:
            self._presence(delivery)
            return
        project_id = self._topics.project_of(topic)
        handler = self._handlers.get(self._topics.tail_of(topic)) if project_id else None
        if project_id and handler:
            handler(project_id, delivery)
        elif not topic.startswith(self._topics.project_start().removesuffix("start")):
            self._request(delivery)

    def _request(self, delivery: Delivery) -> None:
        """Whoever asks what cannot be understood is told so, where the message says where to; nobody waits in vain."""
        try:
            self._requests.serve(self._topics.tail_of(delivery.topic), delivery)
        except UndecodableMessageError as error:
            refuse(self._bus, delivery, _asker_of(delivery), error)
            raise

    def _start(self, delivery: Delivery) -> None:
        envelope = _envelope_if_wrapped(delivery)
        project_id = _project_id_for(envelope)
        try:
            sla = self._sla(envelope.data if envelope else delivery.payload)
        except InvalidSlaError as error:
            self._reject(project_id, delivery, envelope, error)
            return
        accepted = ProjectAccepted(user=sla.customer_id, sla=sla.to_document())
        try:
            self._projects.begin(project_id, accepted, cause=envelope.id if envelope else "")
        except StoreUnavailableError as error:
            if not (envelope and envelope.reply_to):
                raise
            refuse(self._bus, delivery, envelope, error)
            return
        message = ProjectAnswer(project_id=project_id, inbox=self._topics.project_inbox(project_id))
        answer(self._bus, delivery, envelope, message)

    def _sla(self, document: bytes | dict[str, Any]) -> ProjectSla:
        sla = parse_project_sla(document)
        if faults := unsupported(sla, self._platform):
            raise InvalidSlaError(faults)
        return sla

    def _reject(self, project_id: str, delivery: Delivery, envelope: Envelope | None, error: InvalidSlaError) -> None:
        """Answer whoever asked; and tell everybody, since a bare SLA says nothing of who sent it.

        In a flood of broken SLAs most are put aside unanswered: an answer takes longer than finding them out.
        """
        if not self._rejections.allows():
            raise UndecodableMessageError(delivery.topic, f"its SLA is broken, as too many are ({error.errors[0]})")
        errors: list[dict[str, Any]] = [asdict(fault) for fault in error.errors]
        refuse(self._bus, delivery, envelope, error, errors=errors)
        event = ProjectRejected(reason=error.message, errors=errors, remedy="Check it with 'flops sla validate FILE'.")
        told = Envelope(
            id=f"{project_id}:rejected",
            source=MANAGER,
            type=event.type,
            subject=project_id,
            time=datetime.now(UTC),
            data=event.model_dump(mode="json"),
        )
        self._bus.publish(self._topics.project_events(project_id), told.encode())

    def _event(self, project_id: str, delivery: Delivery) -> None:
        envelope = decode_envelope(delivery.topic, delivery.payload, EVENT)
        if envelope.source == MANAGER:
            return
        event, fault = _event_of(envelope)
        if fault and not envelope.sequence:
            raise fault
        # One without effect is kept with the project's other events, too: what its source says next must not wait.
        self._confirm(project_id, envelope, self._projects.received(project_id, envelope, event))
        if fault:
            raise fault

    def _entry(self, project_id: str, delivery: Delivery) -> None:
        entry = decode_envelope(delivery.topic, delivery.payload, CONTROL)
        self._confirm(project_id, entry, self._projects.keep_entry(project_id, entry))

    def _confirm(self, project_id: str, envelope: Envelope, watermarks: Mapping[str, int] | None) -> None:
        """Confirm what is durable; what belongs to no project is not kept, so its producer need not keep it either."""
        if not envelope.sequence:
            return
        confirmed = {envelope.source: envelope.sequence} if watermarks is None else dict(watermarks)
        topic = self._topics.project_confirmed(project_id)
        self._bus.publish(topic, encode_watermarks(confirmed), retain=watermarks is not None)

    def _cancellation(self, project_id: str, delivery: Delivery) -> None:
        envelope = _envelope_if_wrapped(delivery)
        event = CancellationRequested(by=str(envelope.data.get("by", ""))[:128] if envelope else "")
        event_id = envelope.id if envelope else f"{project_id}:cancel"
        self._projects.happened(project_id, event, event_id=event_id)

    def _presence(self, delivery: Delivery) -> None:
        if delivery.payload:
            envelope = decode_envelope(delivery.topic, delivery.payload, CONTROL)
            self._placements.hear(_presence_of(delivery.topic, envelope))


def _event_of(envelope: Envelope) -> tuple[Event | None, UndecodableMessageError | None]:
    try:
        return envelope.event(), None
    except UndecodableMessageError as error:
        return None, error


def _presence_of(topic: str, envelope: Envelope) -> Presence:
    try:
        return Presence.model_validate(envelope.data)
    except ValueError as error:
        raise UndecodableMessageError(topic, "it is no presence message") from error


def _envelope_if_wrapped(delivery: Delivery) -> Envelope | None:
    """The envelope of a message; None for a bare one, also if that is no JSON: whoever reads it says so better."""
    try:
        value = decode_json(delivery.topic, delivery.payload, CONTROL)
    except UndecodableMessageError:
        return None
    wrapped = isinstance(value, dict) and "specversion" in value
    return envelope_of(delivery.topic, value) if wrapped else None


def _asker_of(delivery: Delivery) -> Envelope | None:
    """An envelope of what a broken request says of who wants to know; None if it says nothing of that."""
    try:
        value = decode_json(delivery.topic, delivery.payload, CONTROL)
    except UndecodableMessageError:
        return None
    if not isinstance(value, dict):
        return None
    said = {name: value.get(name) for name in ("id", "replyto", "correlationid")}
    fit = {name: text for name, text in said.items() if isinstance(text, str) and 0 < len(text) <= MAX_ID}
    asker = {"id": "unknown", **fit, "source": "/client", "type": "request", "time": datetime.now(UTC)}
    return envelope_of(delivery.topic, asker)


def _project_id_for(envelope: Envelope | None) -> str:
    """The same request makes the same project, however often it is delivered."""
    if envelope is None:
        return secrets.token_hex(_ID_LENGTH // 2)
    return hashlib.sha256(f"{envelope.source}\n{envelope.id}".encode()).hexdigest()[:_ID_LENGTH]
