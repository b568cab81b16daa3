"""The envelope around every message: CloudEvents 1.0, structured JSON mode."""

from __future__ import annotations

import json
import math
import re
from datetime import datetime  # noqa: TC003  pydantic needs it at run time
from typing import Annotated, Any, Final, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from flops.errors import UndecodableMessageError
from flops.wire.events import EVENT_TYPES, MANAGER, TOLD_BY_MANAGER_ALONE, Event

MAX_NESTING: Final = 32
MAX_ID: Final = 256
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


class Envelope(BaseModel):
    """One message. ``id`` is made once by the producer; consumers are idempotent in it.

    ``sequence`` numbers the events of one source and project from 1 without gaps; 0 means unnumbered (a request, a
    reply, or an event published by a program that is not part of FLOps).
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    specversion: Literal["1.0"] = "1.0"
    id: Annotated[str, Field(min_length=1, max_length=MAX_ID)]
    source: Annotated[str, Field(min_length=1, max_length=MAX_ID)]
    type: Annotated[str, Field(min_length=1, max_length=MAX_ID)]
    subject: Annotated[str, Field(max_length=MAX_ID)] = ""
    time: datetime
    datacontenttype: Literal["application/json"] = "application/json"
    data: dict[str, Any] = {}
    sequence: Annotated[int, Field(ge=0)] = 0
    causation_id: Annotated[
        str, Field(max_length=MAX_ID, validation_alias=AliasChoices("causationid", "causation_id"))
    ] = ""
    correlation_id: Annotated[
        str, Field(max_length=MAX_ID, validation_alias=AliasChoices("correlationid", "correlation_id"))
    ] = ""
    reply_to: Annotated[str, Field(max_length=MAX_ID, validation_alias=AliasChoices("replyto", "reply_to"))] = ""

    def encode(self) -> bytes:
        """The message as UTF-8 JSON, empty attributes left out."""
        attributes = {
            "specversion": self.specversion,
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "subject": self.subject,
            "time": self.time.isoformat(),
            "datacontenttype": self.datacontenttype,
            "sequence": self.sequence,
            "causationid": self.causation_id,
            "correlationid": self.correlation_id,
            "replyto": self.reply_to,
        }
        message = {name: value for name, value in attributes.items() if value not in ("", 0)}
        return json.dumps({**message, "data": self.data}, separators=(",", ":"), ensure_ascii=False).encode()

    def event(self) -> Event | None:
        """The event inside, or None if its type is unknown to this version.

        Raises:
            UndecodableMessageError: the type is known but its data do not fit, or its source may not tell it.
        """
        if self.type in TOLD_BY_MANAGER_ALONE and self.source != MANAGER:
            raise UndecodableMessageError(self.type, "only the manager says that")
        kind = EVENT_TYPES.get(self.type)
        if kind is None:
            return None
        try:
            return kind.model_validate(self.data)
        except ValidationError as error:
            raise UndecodableMessageError(self.type, _first_reason(error)) from error


def decode_json(topic: str, payload: bytes) -> object:
    """Parse untrusted JSON from the wire.

    Raises:
        UndecodableMessageError: not UTF-8, not JSON, nested too deeply, or with what could not be written again: a
            number that is none or too large for a float, half of a surrogate pair.
    """
    try:
        value = json.loads(payload.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_finite)
        if _SURROGATE.search(payload):
            encode_json(value)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise UndecodableMessageError(topic, f"it is not JSON ({error})") from error
    if _depth(value) > MAX_NESTING:
        raise UndecodableMessageError(topic, f"it is nested more than {MAX_NESTING} levels deep")
    return value


def encode_json(value: object) -> bytes:
    """A JSON document as it travels outside an envelope."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def decode_envelope(topic: str, payload: bytes) -> Envelope:
    """Read an envelope from the wire.

    Raises:
        UndecodableMessageError: not JSON, or not an envelope.
    """
    return envelope_of(topic, decode_json(topic, payload))


def envelope_of(topic: str, value: object) -> Envelope:
    """The envelope that a parsed JSON value is.

    Raises:
        UndecodableMessageError: it is none.
    """
    try:
        return Envelope.model_validate(value)
    except ValidationError as error:
        raise UndecodableMessageError(topic, _first_reason(error)) from error


def _refuse_constant(name: str) -> object:
    message = f"{name} is not a JSON number"
    raise ValueError(message)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        _refuse_constant(text)
    return number


def _depth(value: object) -> int:
    """How deeply a JSON value is nested, without recursion."""
    deepest, pending = 0, [(value, 1)]
    while pending:
        item, depth = pending.pop()
        deepest = max(deepest, depth)
        children = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        pending.extend((child, depth + 1) for child in children)
    return deepest


def _first_reason(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else str(first["msg"])
