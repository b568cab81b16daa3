"""JSON as it travels: parsed within bounds, and without what readers disagree about."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, Final

from flops.errors import UndecodableMessageError
from flops.wire.limits import ANSWER, MAX_INTEGER

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flops.wire.limits import Bounds

SHOWN_TEXT: Final = 60
COMMAS_PER_VALUE: Final = 4
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
# A closing quote is optional, so that an unterminated text is one token and scanning stays linear.
_BRACKET: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[{\]}]', re.DOTALL)
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
_DIGITS: Final = len(str(MAX_INTEGER))
_STEPS: Final = {b"[": 1, b"{": 1, b"]": -1, b"}": -1}


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
        value = _DECODER.decode(payload.decode("utf-8"))
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


def _refuse_constant(name: str) -> object:
    message = f"{name} is not a JSON number"
    raise ValueError(message)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        _refuse_constant(text)
    return number


def _integer(text: str) -> int:
    if len(text) < _DIGITS:
        return int(text)
    digits = text.lstrip("-")
    if len(digits) > _DIGITS or int(digits) > MAX_INTEGER:
        message = f"the integer {text[:SHOWN_TEXT]} has more than 64 bits"
        raise ValueError(message)
    return int(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Readers disagree on which of two values of one key counts (RFC 8259, 4), so neither does."""
    value = dict(pairs)
    if len(value) != len(pairs):
        from collections import Counter  # noqa: PLC0415  only a mistake needs it

        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        message = f"the key {twice[:SHOWN_TEXT]!r} occurs twice"
        raise ValueError(message)
    return value


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_finite, parse_int=_integer, parse_constant=_refuse_constant
)


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
