"""Requests and their answers over the broker, for clients of MQTT 5 and 3.1.1 alike."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from flops.errors import (
    FlopsError,
    InvalidSlaError,
    NoAnswerError,
    NotFoundError,
    RequestRefusedError,
    SlaFault,
    UndecodableMessageError,
)
from flops.wire.envelope import Envelope, decode_envelope
from flops.wire.requests import Message, Refusal
from flops.wire.topics import may_answer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flops.ports import Bus, Delivery
    from flops.wire.topics import Topics

log = logging.getLogger(__name__)

ANSWER_TYPE: Final = "answer"
REFUSAL_TYPE: Final = "refusal"
REQUEST_TYPE: Final = "request"
ASK_AGAIN_S: Final = 3.0


class RequestClient:
    """Asks one question at a time and waits for its answer. Any thread."""

    def __init__(self, bus: Bus, topics: Topics, client_id: str) -> None:
        self._bus, self._topics, self._client_id = bus, topics, client_id
        self._reply_topic = topics.reply(client_id)
        self._replies = bus.subscribe(self._reply_topic)
        self._lock = threading.Lock()

    def ask(self, name: str, message: Message, timeout_s: float) -> dict[str, Any]:
        """Send ``request/<name>`` and return the answer's data.

        Raises:
            NoAnswerError: nobody answered in time.
            NotFoundError: what was asked for does not exist.
            InvalidSlaError: the SLA that was sent has faults.
            RequestRefusedError: the answer is an error.
        """
        topic = self._topics.request(name)
        return self.ask_on(topic, message.model_dump(mode="json"), timeout_s, kind=f"{REQUEST_TYPE}.{name}")

    def ask_on(  # noqa: PLR0913  all that a question consists of
        self,
        topic: str,
        data: Mapping[str, Any],
        timeout_s: float,
        *,
        kind: str,
        request_id: str = "",
        source: str = "",
    ) -> dict[str, Any]:
        """Send any question that is answered on a reply topic; raises as ``ask``.

        It is sent again from time to time, since whoever answers may only just be starting; answering is idempotent in
        ``source`` and ``request_id``, which are this client's own unless they are given.
        """
        question = Envelope(
            id=request_id or str(uuid.uuid4()),
            source=source or f"/client/{self._client_id}",
            type=kind,
            time=datetime.now(UTC),
            data=dict(data),
            correlation_id=str(uuid.uuid4()),
            reply_to=self._reply_topic,
        )
        deadline, answer = time.monotonic() + timeout_s, None
        with self._lock:
            while answer is None and (now := time.monotonic()) < deadline:
                self._bus.publish(topic, question.encode())
                answer = self._await(question.correlation_id, min(deadline, now + ASK_AGAIN_S))
        if answer is None:
            raise NoAnswerError(topic, timeout_s)
        if answer.type == REFUSAL_TYPE:
            raise _error_of(answer)
        return answer.data

    def close(self) -> None:
        """Stop listening for answers."""
        self._replies.close()

    def _await(self, correlation_id: str, deadline: float) -> Envelope | None:
        while (left_s := deadline - time.monotonic()) > 0:
            delivery = self._replies.receive(left_s)
            if delivery is None:
                return None
            delivery.acknowledge()
            try:
                answer = decode_envelope(delivery.topic, delivery.payload)
            except UndecodableMessageError:
                continue
            if answer.correlation_id == correlation_id:
                return answer
        return None


def answer(bus: Bus, delivery: Delivery, question: Envelope | None, data: Message | Mapping[str, Any]) -> None:
    """Answer a request, if whoever asked said where to."""
    value = data.model_dump(mode="json") if isinstance(data, Message) else dict(data)
    _reply(bus, delivery, question, ANSWER_TYPE, value)


def refuse(
    bus: Bus,
    delivery: Delivery,
    question: Envelope | None,
    error: FlopsError,
    *,
    errors: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Answer that a request cannot be met, and why."""
    refusal = Refusal(
        code=error.code, message=error.message, remedy=error.remedy, errors=[dict(fault) for fault in errors]
    )
    _reply(bus, delivery, question, REFUSAL_TYPE, refusal.model_dump(mode="json"))


def _reply(bus: Bus, delivery: Delivery, question: Envelope | None, kind: str, data: dict[str, Any]) -> None:
    topic = (question.reply_to if question else "") or delivery.response_topic
    if not may_answer(delivery.topic, topic):
        log.debug("nobody is told the answer", extra={"topic": delivery.topic, "reply_to": topic})
        return
    correlation_id = question.correlation_id if question else ""
    reply = Envelope(
        id=str(uuid.uuid4()),
        source="/manager",
        type=kind,
        time=datetime.now(UTC),
        data=data,
        causation_id=question.id if question else "",
        correlation_id=correlation_id or delivery.correlation_data.decode("utf-8", "replace"),
    )
    bus.publish(topic, reply.encode(), correlation_data=delivery.correlation_data)


def _error_of(answer: Envelope) -> FlopsError:
    try:
        refusal = Refusal.model_validate(answer.data)
    except ValidationError:
        refusal = Refusal(code=RequestRefusedError.code, message="The request was refused without a reason.")
    if refusal.code == NotFoundError.code:
        return _RetoldError(refusal)
    if refusal.code == InvalidSlaError.code and refusal.errors:
        return InvalidSlaError([_fault_of(fault) for fault in refusal.errors])
    return RequestRefusedError(refusal.message, refusal_code=refusal.code, remedy=refusal.remedy, errors=refusal.errors)


def _fault_of(fault: Mapping[str, Any]) -> SlaFault:
    path, message, hint = (str(fault.get(name) or "") for name in ("path", "message", "hint"))
    line, column = (int(fault.get(name) or 0) for name in ("line", "column"))
    return SlaFault(path, message, hint, line, column)


class _RetoldError(NotFoundError):
    """A NotFoundError in the words of whoever answered."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__("thing", "")
        self.message, self.remedy = refusal.message, refusal.remedy
