"""What reaches the manager over the broker, each kind of message to its handler."""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from flops.delivery.answers import answer, refuse
from flops.delivery.dead_letters import DeadLetters
from flops.delivery.rates import Rate
from flops.errors import (
    FlopsError,
    InvalidSlaError,
    NotFoundError,
    StoreUnavailableError,
    TokenUsedError,
    UndecodableMessageError,
)
from flops.manager.bare_requests import ID_LENGTH
from flops.manager.kept import SomebodyElsesError
from flops.wire.envelope import Envelope, envelope_of
from flops.wire.events import MANAGER, CancellationRequested, ProjectAccepted, ProjectRejected
from flops.wire.json_text import decode_json
from flops.wire.limits import CONTROL, MAX_ID, REJECTIONS_AT_ONCE, REJECTIONS_PER_S
from flops.wire.presence import decode_presence
from flops.wire.requests import ProjectAnswer
from flops.wire.sla import parse_project_sla, unsupported

if TYPE_CHECKING:
    from collections.abc import Callable

    from flops.manager.bare_requests import BareRequests
    from flops.manager.kept import KeptMessage
    from flops.manager.placement import Placements
    from flops.manager.projects import Projects
    from flops.manager.reports import Reports
    from flops.manager.requests import Requests
    from flops.manager.succession import Succession
    from flops.ports import Bus, Delivery, Store
    from flops.wire.requests import Presence
    from flops.wire.sla import ProjectSla
    from flops.wire.topics import Topics

log = logging.getLogger(__name__)

REPORTED: Final = frozenset({("events",), ("inbox",)})


class Intake:
    """Handles one message after the other and acknowledges it when what follows from it is durable.

    Of several managers one answers questions, and each handles what is reported of its own projects.
    """

    def __init__(  # noqa: PLR0913  the manager's parts
        self,
        *,
        bus: Bus,
        topics: Topics,
        store: Store,
        projects: Projects,
        placements: Placements,
        requests: Requests,
        reports: Reports,
        succession: Succession,
        bare_requests: BareRequests,
        hear_presence: Callable[[Presence], None],
        platform: str,
    ) -> None:
        self._bus, self._topics, self._store = bus, topics, store
        self._projects, self._placements = projects, placements
        self._requests, self._reports = requests, reports
        self._succession, self._bare_requests = succession, bare_requests
        self._hear_presence, self._platform = hear_presence, platform
        self._afterwards = projects.afterwards
        self._dead_letters = DeadLetters(self._keep_dead_letter, self._afterwards)
        self._rejections = Rate(REJECTIONS_AT_ONCE, REJECTIONS_PER_S)
        self._handlers: dict[tuple[str, ...], Callable[[str, Delivery], None]] = {
            ("events",): self._reports.hear_event,
            ("inbox",): self._reports.hear_entry,
            ("cancel",): self._cancellation,
        }

    def questions(self) -> list[str]:
        """What somebody waits for the answer of."""
        return [self._topics.project_start(), self._topics.request()]

    def reports(self) -> list[str]:
        """What else the manager listens to."""
        topics = self._topics
        return [topics.project_events(), topics.project_inbox(), topics.project_cancel(), topics.presence()]

    def goes_together(self, delivery: Delivery) -> bool:
        """Whether a message may be handled in one durable write with others; what is asked for is answered alone."""
        return delivery.topic == self._topics.project_start() or self._topics.tail_of(delivery.topic) in REPORTED

    def handle(self, delivery: Delivery, *, kept_since: float | None = None) -> None:
        """Handle one message. What cannot be decoded or handled is kept as a dead letter, so that it never loops.

        ``kept_since`` says since when another manager should have handled it.

        Raises:
            SomebodyElsesError: another manager has to handle it, and might never see it again.
        """
        try:
            self._dispatch(delivery, kept_since)
        except UndecodableMessageError as error:
            self._put_aside(delivery, error)
        except (FlopsError, SomebodyElsesError):
            raise
        except Exception as error:  # a process boundary: one message must not stop the manager
            log.exception("message met the unexpected", extra={"topic": delivery.topic})
            unexpected = UndecodableMessageError(delivery.topic, f"the manager met {error!r}")
            self._dead_letters.take(delivery, unexpected)
        else:
            self._afterwards(delivery.acknowledge)

    def handle_kept(self, message: KeptMessage) -> None:
        """Handle a message that was somebody else's, and may be so still; raises as ``handle``."""
        self.handle(message.delivery, kept_since=message.time)

    def _put_aside(self, delivery: Delivery, error: UndecodableMessageError) -> None:
        if self._succession.is_holder:
            self._dead_letters.take(delivery, error)
        else:
            self._afterwards(delivery.acknowledge)

    def _keep_dead_letter(self, topic: str, payload: bytes, reason: str) -> None:
        self._store.keep_dead_letter(topic, payload, reason, time.time())

    def _dispatch(self, delivery: Delivery, kept_since: float | None) -> None:
        topic = delivery.topic
        if topic == self._topics.project_start():
            self._start(delivery, kept_since)
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
        """Whoever asks what cannot be understood is told so, where the message says where to; nobody waits in vain.

        While nobody can answer nothing is kept: whoever asks, asks again.
        """
        if not self._succession.is_holder:
            return
        try:
            self._requests.serve(self._topics.tail_of(delivery.topic), delivery)
        except UndecodableMessageError as error:
            refuse(self._bus, delivery, _asker_of(delivery), error)
            raise

    def _start(self, delivery: Delivery, kept_since: float | None) -> None:
        if not self._succession.is_holder:
            raise SomebodyElsesError(self._succession.holder)
        envelope = _envelope_if_wrapped(delivery)
        try:
            sla = self._sla(envelope.data if envelope else delivery.payload)
        except InvalidSlaError as error:
            self._reject(delivery, envelope, error)
            return
        accepted = ProjectAccepted(user=sla.customer_id, sla=sla.to_document())
        try:
            self._succession.make_sure_of_office()
            project_id = self._project_id_for(delivery, envelope, kept_since)
            project = self._projects.begin(project_id, accepted, cause=envelope.id if envelope else "")
        except StoreUnavailableError as error:
            if self._projects.is_together or not (envelope and envelope.reply_to):
                raise
            refuse(self._bus, delivery, envelope, error)
            return
        if envelope and project.sla != accepted.sla:
            used = TokenUsedError(envelope.id, project_id)
            self._afterwards(partial(refuse, self._bus, delivery, envelope, used))
            return
        message = ProjectAnswer(project_id=project_id, inbox=self._topics.project_inbox(project_id))
        self._afterwards(partial(answer, self._bus, delivery, envelope, message))

    def _sla(self, document: bytes | dict[str, Any]) -> ProjectSla:
        sla = parse_project_sla(document)
        if faults := unsupported(sla, self._platform):
            raise InvalidSlaError(faults)
        return sla

    def _project_id_for(self, delivery: Delivery, envelope: Envelope | None, kept_since: float | None) -> str:
        """The same request makes the same project, however often it is delivered."""
        if envelope is None:
            return self._bare_requests.project_for(delivery, kept_since=kept_since)
        return _id_from(f"{envelope.source}\n{envelope.id}".encode())

    def _reject(self, delivery: Delivery, envelope: Envelope | None, error: InvalidSlaError) -> None:
        """Answer whoever asked; and tell everybody, since a bare SLA says nothing of who sent it.

        In a flood of broken SLAs most are put aside unanswered: an answer takes longer than finding them out.
        """
        if not self._rejections.allows():
            raise UndecodableMessageError(delivery.topic, f"its SLA is broken, as too many are ({error.errors[0]})")
        errors: list[dict[str, Any]] = [asdict(fault) for fault in error.errors]
        self._afterwards(partial(refuse, self._bus, delivery, envelope, error, errors=errors))
        project_id = _id_from(f"{envelope.source}\n{envelope.id}".encode() if envelope else delivery.payload)
        event = ProjectRejected(reason=error.message, errors=errors, remedy="Check it with 'flops sla validate FILE'.")
        told = Envelope(
            id=f"{project_id}:rejected",
            source=MANAGER,
            type=event.type,
            subject=project_id,
            time=datetime.now(UTC),
            data=event.model_dump(mode="json"),
        )
        topic = self._topics.project_events(project_id)
        self._afterwards(partial(self._bus.publish, topic, told.encode()))

    def _cancellation(self, project_id: str, delivery: Delivery) -> None:
        """Cancel a project, for which an empty message or any JSON object is enough. Garbage cancels nothing.

        Nor does what comes from the broker's memory: it has counted when it was sent, and the project may be retried.
        """
        if delivery.retained:
            raise UndecodableMessageError(delivery.topic, "it was retained: a cancellation counts when it is sent")
        if delivery.payload and not isinstance(decode_json(delivery.topic, delivery.payload, CONTROL), dict):
            raise UndecodableMessageError(delivery.topic, "a cancellation is an object or empty")
        envelope = _envelope_if_wrapped(delivery)
        record = self._store.load(project_id)
        if record is None:
            self._refuse_cancellation(project_id, delivery, envelope)
            return
        event = CancellationRequested(by=str(envelope.data.get("by", ""))[:128] if envelope else "")
        event_id = envelope.id if envelope else f"{project_id}:cancel:{record.project.attempt}"
        record = self._projects.happened(project_id, event, event_id=event_id) or record
        if record.owner != self._projects.owner:
            raise SomebodyElsesError(record.owner)
        outcome = record.project.outcome or ""
        answer(self._bus, delivery, envelope, {"phase": record.project.phase, "outcome": outcome})

    def _refuse_cancellation(self, project_id: str, delivery: Delivery, envelope: Envelope | None) -> None:
        """Whoever wants to stop a project that there is not is told so, or else it is put aside."""
        if self._succession.is_holder:
            refuse(self._bus, delivery, envelope, NotFoundError("project", project_id))
        raise UndecodableMessageError(delivery.topic, f"there is no project {project_id} to cancel")

    def _presence(self, delivery: Delivery) -> None:
        if delivery.payload:
            presence = decode_presence(delivery.topic, delivery.payload)
            self._placements.hear(presence)
            self._hear_presence(presence)


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


def _id_from(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:ID_LENGTH]
