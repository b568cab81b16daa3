"""The retained watermark: per source, the last sequence number that is durable; and the manager that says so."""

from __future__ import annotations

from flops.errors import UndecodableMessageError
from flops.wire.json_text import decode_json, encode_json
from flops.wire.limits import CONTROL, MAX_ID, MAX_SEQUENCE


def encode_watermarks(watermarks: dict[str, int], owner: str = "") -> bytes:
    """The payload of ``project/<id>/confirmed``; ``owner`` is the manager that takes care of the project."""
    return encode_json({"confirmed": watermarks, **({"owner": owner} if owner else {})})


def decode_watermarks(topic: str, payload: bytes) -> dict[str, int]:
    """The watermarks in a confirmation; raises as ``decode_confirmation``."""
    return decode_confirmation(topic, payload)[0]


def decode_confirmation(topic: str, payload: bytes) -> tuple[dict[str, int], str]:
    """The watermarks in a payload of ``project/<id>/confirmed``, and who has confirmed them.

    Raises:
        UndecodableMessageError: it is not an object of sources and numbers.
    """
    value = decode_json(topic, payload, CONTROL)
    watermarks = value.get("confirmed") if isinstance(value, dict) else None
    if not isinstance(watermarks, dict) or not all(_is_watermark(*item) for item in watermarks.items()):
        raise UndecodableMessageError(topic, "it has no object 'confirmed' of sources and sequence numbers")
    owner = value["owner"] if isinstance(value, dict) and isinstance(value.get("owner"), str) else ""
    return watermarks, owner[:MAX_ID]


def _is_watermark(source: str, number: object) -> bool:
    return 0 < len(source) <= MAX_ID and type(number) is int and 0 <= number <= MAX_SEQUENCE
