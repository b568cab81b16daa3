"""Requests over the broker, and what comes back."""

from __future__ import annotations

import threading
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

from flops.errors import (
    FlopsError,
    InvalidSlaError,
    NoAnswerError,
    NotFoundError,
    RequestRefusedError,
    SlaFault,
    UndecodableMessageError,
)
from flops.wire.question import REQUEST_TYPE, Question, decode_answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flops.ports import Bus
    from flops.wire.question import Answer
    from flops.wire.requests import Message
    from flops.wire.topics import Topics

ASK_AGAIN_S: Final = 3.0


class RequestClient:
    """Asks one question at a time and waits for its answer. Any thread.

    ``answered_at`` is the time of the last answer, by the clock of whoever gave it.
    """

    def __init__(self, bus: Bus, topics: Topics, client_id: str) -> None:
        self.answered_at = ""
        self._bus, self._topics, self._client_id = bus, topics, client_id
        self._reply_topic = topics.reply(client_id)
        self._replies = bus.subscribe(self._reply_topic)
        self._lock, self._is_closed = threading.Lock(), False

    def ask(self, name: str, message: Message | Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """Send ``request/<name>`` and return the answer's data. The message may be what its model would dump.

        Raises:
            NoAnswerError: nobody answered in time.
            NotFoundError: what was asked for does not exist.
            InvalidSlaError: the SLA that was sent has faults.
            RequestRefusedError: the answer is an error.
        """
        fields = message.model_dump(mode="json") if hasattr(message, "model_dump") else message
        return self.ask_on(self._topics.request(name), fields, timeout_s, kind=f"{REQUEST_TYPE}.{name}")

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
        question = Question(
            id=request_id or str(uuid.uuid4()),
            source=source or f"/client/{self._client_id}",
            type=kind,
            data=data,
            correlation_id=str(uuid.uuid4()),
            reply_to=self._reply_topic,
        )
        deadline, answer = time.monotonic() + timeout_s, None
        with self._lock:
            while answer is None and (now := time.monotonic()) < deadline and not self._is_closed:
                self._bus.publish(topic, question.encode())
                answer = self._await(question.correlation_id, min(deadline, now + ASK_AGAIN_S))
        if answer is None:
            raise NoAnswerError(topic, timeout_s)
        self.answered_at = answer.time
        if answer.is_refusal:
            raise _error_of(answer.data)
        return answer.data

    def close(self) -> None:
        """Stop listening for answers; whoever waits for one waits no longer."""
        self._is_closed = True
        self._replies.close()

    def _await(self, correlation_id: str, deadline: float) -> Answer | None:
        while (left_s := deadline - time.monotonic()) > 0:
            delivery = self._replies.receive(left_s)
            if delivery is None:
                return None
            delivery.acknowledge()
            try:
                answer = decode_answer(delivery.topic, delivery.payload)
            except UndecodableMessageError:
                continue
            if answer.correlation_id == correlation_id:
                return answer
        return None


def _error_of(refusal: Mapping[str, Any]) -> FlopsError:
    code, message, remedy = (_text(refusal, name) for name in ("code", "message", "remedy"))
    listed = refusal.get("errors")
    errors = [dict(fault) for fault in listed if isinstance(fault, dict)] if isinstance(listed, list) else []
    if code == NotFoundError.code:
        return _RetoldError(message, remedy)
    if code == InvalidSlaError.code and errors:
        return InvalidSlaError([_fault_of(fault) for fault in errors])
    message = message or "The request was refused without a reason."
    return RequestRefusedError(message, refusal_code=code or RequestRefusedError.code, remedy=remedy, errors=errors)


def _fault_of(fault: Mapping[str, Any]) -> SlaFault:
    line, column = (value if isinstance(value := fault.get(name), int) else 0 for name in ("line", "column"))
    return SlaFault(_text(fault, "path"), _text(fault, "message"), _text(fault, "hint"), line, column)


def _text(fields: Mapping[str, Any], name: str) -> str:
    return str(fields.get(name) or "")


class _RetoldError(NotFoundError):
    """A NotFoundError in the words of whoever answered."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__("thing", "")
        self.message, self.remedy = message, remedy
