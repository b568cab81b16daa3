"""The learning plane: what aggregator and learners tell each other, as a line of JSON and the bytes that follow it.

Every message is idempotent: hearing it twice, or late, has no second effect.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flops.errors import UndecodableMessageError
from flops.wire.envelope import first_reason
from flops.wire.json_text import decode_json, encode_json
from flops.wire.limits import HEADER, MAX_ID, MAX_INTEGER, MAX_MISSING, MAX_PIECES, MAX_TEXT

MAX_REASON: Final = MAX_TEXT
RETAINED: Final = "it was retained, and what is said here is for those who listen now"
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Reason = Annotated[str, Field(max_length=MAX_REASON)]
Identifier = Annotated[str, Field(min_length=1, max_length=MAX_ID)]
Count = Annotated[int, Field(ge=0, le=MAX_INTEGER, strict=True)]
Size = Annotated[int, Field(ge=1, le=MAX_INTEGER, strict=True)]
Index = Annotated[int, Field(ge=0, lt=MAX_PIECES, strict=True)]


class LearningMessage(BaseModel):
    """The base of all messages of the learning plane."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    kind: ClassVar[str]


class BlobRef(BaseModel):
    """Names the bytes of a message's arrays by their SHA-256 digest."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    digest: Digest
    size_bytes: Size


class Chunk(LearningMessage):
    """One piece of a blob: the bytes from ``index * piece_bytes`` on follow the header."""

    kind = "chunk"
    digest: Digest
    size_bytes: Size
    piece_bytes: Size
    index: Index


class Need(LearningMessage):
    """Asks for pieces of a blob again; an empty list asks for all of them."""

    kind = "need"
    digest: Digest
    missing: Annotated[list[Index], Field(max_length=MAX_MISSING)] = []


class Call(LearningMessage):
    """The aggregator asks every learner to say that it is there."""

    kind = "call"


class Joining(LearningMessage):
    """A learner has loaded its data and hears its tasks. ``example`` describes one input of its model."""

    kind = "joining"
    node: Annotated[str, Field(max_length=MAX_ID)] = ""
    examples: Count | None = None
    example: dict[str, Any] = {}


class Leaving(LearningMessage):
    """A learner will not take part (any more)."""

    kind = "leaving"
    reason: Reason = ""
    remedy: Reason = ""


class Dismissal(LearningMessage):
    """The aggregator needs no learner any more."""

    kind = "dismissal"


class Task(LearningMessage):
    """What one learner is asked to do with the global model, which ``blob`` only names."""

    kind = "task"
    id: Identifier
    run_id: Count
    type: Literal["train", "evaluate"]
    content: dict[str, Any]
    blob: BlobRef | None = None


class Answer(LearningMessage):
    """What came of a task: records and the arrays that ``blob`` names, or why it failed."""

    kind = "answer"
    task_id: Identifier
    content: dict[str, Any] = {}
    blob: BlobRef | None = None
    error: Reason = ""


MESSAGES: Final[dict[str, type[LearningMessage]]] = {
    message.kind: message for message in (Chunk, Need, Call, Joining, Leaving, Dismissal, Task, Answer)
}


def encode_learning(message: LearningMessage, body: bytes | memoryview = b"") -> bytes:
    """The message as it travels: its header as one line of JSON, then ``body``."""
    header = encode_json({"kind": message.kind, **message.model_dump(mode="json", exclude_defaults=True)})
    return b"".join((header, b"\n", body))


def decode_learning(topic: str, payload: bytes) -> tuple[LearningMessage, memoryview]:
    """Read a message of the learning plane; the body is a view into ``payload``.

    Raises:
        UndecodableMessageError: it is none, or of a kind that this version does not know.
    """
    end = payload.find(b"\n", 0, HEADER.size_bytes)
    if end < 0:
        raise UndecodableMessageError(topic, f"it has no header line within {HEADER.size_bytes:,} bytes")
    header = decode_json(topic, payload[:end], HEADER)
    kind = MESSAGES.get(str(header.get("kind"))) if isinstance(header, dict) else None
    if kind is None:
        raise UndecodableMessageError(topic, "its kind is unknown")
    try:
        return kind.model_validate(header), memoryview(payload)[end + 1 :]
    except ValidationError as error:
        raise UndecodableMessageError(topic, first_reason(error)) from error
