"""A question and its answer as whoever asks sees them: envelopes, written and read without a model of them.

A command that asks one thing would wait longer for the library of models than for its answer.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from flops.errors import UndecodableMessageError
from flops.wire.json_text import decode_json, encode_json

if TYPE_CHECKING:
    from collections.abc import Mapping

ANSWER_TYPE: Final = "answer"
REFUSAL_TYPE: Final = "refusal"
REQUEST_TYPE: Final = "request"


class Question(NamedTuple):
    """What is asked; ``correlation_id`` marks its answer, which goes to ``reply_to``."""

    id: str
    source: str
    type: str
    data: Mapping[str, Any]
    correlation_id: str
    reply_to: str

    def encode(self) -> bytes:
        """The question in its envelope."""
        return encode_json(
            {
                "specversion": "1.0",
                "id": self.id,
                "source": self.source,
                "type": self.type,
                "time": datetime.now(UTC).isoformat(),
                "datacontenttype": "application/json",
                "correlationid": self.correlation_id,
                "replyto": self.reply_to,
                "data": dict(self.data),
            }
        )


class Answer(NamedTuple):
    """What was answered, and when by the clock of whoever did."""

    correlation_id: str
    is_refusal: bool
    time: str
    data: dict[str, Any]


def decode_answer(topic: str, payload: bytes) -> Answer:
    """Read an answer from the wire.

    Raises:
        UndecodableMessageError: it is no answer.
    """
    match decode_json(topic, payload):
        case {
            "correlationid": str(correlation_id),
            "type": "answer" | "refusal" as kind,
            "time": str(time),
            "data": dict(data),
        }:
            return Answer(correlation_id, kind == REFUSAL_TYPE, time, data)
    raise UndecodableMessageError(topic, "it is no answer")
