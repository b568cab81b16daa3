"""Answers to requests over the broker, to clients of MQTT 5 and 3.1.1 alike."""

from __future__ import annotations

import logging
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flops.wire.envelope import Envelope
from flops.wire.limits import MAX_ID
from flops.wire.question import ANSWER_TYPE, REFUSAL_TYPE
from flops.wire.requests import Message, Refusal
from flops.wire.topics import may_answer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flops.errors import FlopsError
    from flops.ports import Bus, Delivery

log = logging.getLogger(__name__)


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
    sent = delivery.correlation_data.decode("utf-8", "replace")  # any bytes: they go back as they are, or also as text
    reply = Envelope(
        id=str(uuid.uuid4()),
        source="/manager",
        type=kind,
        time=datetime.now(UTC),
        data=data,
        causation_id=question.id if question else "",
        correlation_id=correlation_id or (sent if sent.isprintable() and len(sent) <= MAX_ID else ""),
    )
    bus.publish(topic, reply.encode(), correlation_data=delivery.correlation_data)
