"""The envelope around every message: CloudEvents 1.0, structured JSON mode."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
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

from flops.errors import UndecodableMessageError
from flops.wire.events import EVENT_TYPES, MANAGER, TOLD_BY_MANAGER_ALONE, Event
from flops.wire.limits import ANSWER, FIRST_YEAR, LAST_YEAR, MAX_ID, MAX_INTEGER, MAX_SEQUENCE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flops.wire.limits import Bounds

SHOWN_TEXT: Final = 60
COMMAS_PER_VALUE: Final = 4
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_LONG_NUMBER: Final = re.compile(rb"[0-9]{19}")
# A closing quote is optional, so that an unterminated text is one token and scanning stays linear.
_BRACKET: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[{\]}]', re.DOTALL)
_STEPS: Final = {b"[": 1, b"{": 1, b"]": -1, b"}": -1}
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
        return encode_json({**message, "data": self.data})

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


def decode_json(topic: str, payload: bytes, bounds: Bounds = ANSWER) -> object:
    """Parse untrusted JSON from the wire.

    Raises:
        UndecodableMessageError: beyond its bounds, not UTF-8, not JSON, with a key twice, or with what could not be
            written again: a number that is none or too large, half of a surrogate pair.
    """
    if len(payload) > bounds.size_bytes:
        raise UndecodableMessageError(topic, f"it has {len(payload):,} bytes, more than {bounds.size_bytes:,}")
    opened = payload.count(b"{") + payload.count(b"[")
    separated = opened + payload.count(b",")
    # Before it is parsed, since nesting and many small values take long and much memory. Those inside texts count too,
    # but no text has so many.
    if opened > bounds.values or separated > COMMAS_PER_VALUE * bounds.values:
        raise UndecodableMessageError(topic, f"it has more than {bounds.values:,} values")
    if opened > bounds.nesting and _is_deeper(payload, bounds.nesting):
        raise UndecodableMessageError(topic, f"it is nested more than {bounds.nesting} levels deep")
    try:
        value = json.loads(
            payload.decode("utf-8"),
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_integer if _LONG_NUMBER.search(payload) else None,
            object_pairs_hook=_object,
        )
        if _SURROGATE.search(payload):
            encode_json(value)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise UndecodableMessageError(topic, f"it is not JSON ({error})") from error
    if separated >= bounds.values and _count(value, bounds.values) > bounds.values:
        raise UndecodableMessageError(topic, f"it has more than {bounds.values:,} values")
    return value


def encode_json(value: object) -> bytes:
    """A JSON document as it travels outside an envelope."""
    return _ENCODER.encode(value).encode()


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


def _refuse_constant(name: str) -> object:
    message = f"{name} is not a JSON number"
    raise ValueError(message)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        _refuse_constant(text)
    return number


def _integer(text: str) -> int:
    digits = text.lstrip("-")
    if len(digits) > len(str(MAX_INTEGER)) or int(digits) > MAX_INTEGER:
        message = f"the integer {text[:SHOWN_TEXT]} has more than 64 bits"
        raise ValueError(message)
    return int(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Readers disagree on which of two values of one key counts (RFC 8259, 4), so neither does."""
    value = dict(pairs)
    if len(value) != len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        message = f"the key {twice[:SHOWN_TEXT]!r} occurs twice"
        raise ValueError(message)
    return value


def _is_deeper(payload: bytes, levels: int) -> bool:
    """Whether a JSON text, or what it looks like, is nested more than so many levels deep."""
    depth = 0
    for token in _BRACKET.finditer(payload):
        depth += _STEPS.get(token[0], 0)
        if depth > levels:
            return True
    return False


def _count(value: object, enough: int) -> int:
    """How many values there are in one, or more than ``enough``."""
    level, count = [value], 0
    while level and count <= enough:
        count += len(level)
        level = [child for item in level for child in _children(item)]
    return count


def _children(item: object) -> Iterable[object]:
    return item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()


def first_reason(error: ValidationError) -> str:
    """What is wrong first in a message, and where, in few words."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part)[:SHOWN_TEXT] for part in first["loc"])
    return f"{place}: {first['msg']}" if place else str(first["msg"])
