"""The envelope around every message: CloudEvents 1.0, structured JSON mode."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)
from pydantic_core import to_json

from flops.errors import UndecodableMessageError
from flops.wire.events import EVENT_TYPES, MANAGER, TOLD_BY_MANAGER_ALONE, Event
from flops.wire.json_text import SHOWN_TEXT, decode_json
from flops.wire.limits import ANSWER, FIRST_YEAR, LAST_YEAR, MAX_ID, MAX_SEQUENCE

if TYPE_CHECKING:
    from flops.wire.limits import Bounds

_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d")
_NO_CONTROLS: Final = r"^[^\x00-\x1f\x7f-\x9f]*$"


def _written_time(value: object) -> object:
    """RFC 3339 only: a number could be seconds or milliseconds of anything."""
    if isinstance(value, datetime) or (isinstance(value, str) and _TIME.match(value)):
        return value
    message = "a time is written as in 2026-01-31T12:00:00Z"
    raise ValueError(message)


def _near_time(value: datetime) -> datetime:
    if FIRST_YEAR <= value.year <= LAST_YEAR:
        return value
    message = f"its year is not between {FIRST_YEAR} and {LAST_YEAR}"
    raise ValueError(message)


Word = Annotated[str, Field(max_length=MAX_ID, pattern=_NO_CONTROLS)]
Name = Annotated[str, Field(min_length=1, max_length=MAX_ID, pattern=_NO_CONTROLS)]
Time = Annotated[AwareDatetime, BeforeValidator(_written_time), AfterValidator(_near_time)]


class Envelope(BaseModel):
    """One message. ``id`` is made once by the producer; consumers are idempotent in it.

    ``sequence`` numbers the events of one source and project from 1 without gaps; 0 means unnumbered (a request, a
    reply, or an event published by a program that is not part of FLOps).
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    specversion: Literal["1.0"] = "1.0"
    id: Name
    source: Name
    type: Name
    subject: Word = ""
    time: Time
    datacontenttype: Literal["application/json"] = "application/json"
    data: dict[str, Any] = {}
    sequence: Annotated[int, Field(ge=0, le=MAX_SEQUENCE, strict=True)] = 0
    causation_id: Annotated[Word, Field(validation_alias=AliasChoices("causationid", "causation_id"))] = ""
    correlation_id: Annotated[Word, Field(validation_alias=AliasChoices("correlationid", "correlation_id"))] = ""
    reply_to: Annotated[Word, Field(validation_alias=AliasChoices("replyto", "reply_to"))] = ""

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
        return to_json({**message, "data": self.data})

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
            raise UndecodableMessageError(self.type, first_reason(error)) from error


def decode_envelope(topic: str, payload: bytes, bounds: Bounds = ANSWER) -> Envelope:
    """Read an envelope from the wire.

    Raises:
        UndecodableMessageError: not JSON, or not an envelope, or beyond its bounds.
    """
    return envelope_of(topic, decode_json(topic, payload, bounds))


def envelope_of(topic: str, value: object) -> Envelope:
    """The envelope that a parsed JSON value is.

    Raises:
        UndecodableMessageError: it is none.
    """
    try:
        return Envelope.model_validate(value)
    except ValidationError as error:
        raise UndecodableMessageError(topic, first_reason(error)) from error


def first_reason(error: ValidationError) -> str:
    """What is wrong first in a message, and where, in few words."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part)[:SHOWN_TEXT] for part in first["loc"])
    return f"{place}: {first['msg']}" if place else str(first["msg"])
