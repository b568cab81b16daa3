"""The retained watermark: per source, the last sequence number the manager has made durable."""

from __future__ import annotations

from flops.errors import UndecodableMessageError
from flops.wire.envelope import decode_json, encode_json
from flops.wire.limits import CONTROL, MAX_ID, MAX_SEQUENCE


def encode_watermarks(watermarks: dict[str, int]) -> bytes:
    """The payload of ``project/<id>/confirmed``."""
    return encode_json({"confirmed": watermarks})


def decode_watermarks(topic: str, payload: bytes) -> dict[str, int]:
    """Read the payload of ``project/<id>/confirmed``.

    Raises:
        UndecodableMessageError: it is not an object of sources and numbers.
    """
    value = decode_json(topic, payload, CONTROL)
    watermarks = value.get("confirmed") if isinstance(value, dict) else None
    if not isinstance(watermarks, dict) or not all(_is_watermark(*item) for item in watermarks.items()):
        raise UndecodableMessageError(topic, "it has no object 'confirmed' of sources and sequence numbers")
    return watermarks


def _is_watermark(source: str, number: object) -> bool:
    return 0 < len(source) <= MAX_ID and type(number) is int and 0 <= number <= MAX_SEQUENCE
