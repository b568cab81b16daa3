"""Reading what an instance says of itself."""

from __future__ import annotations

from pydantic import ValidationError

from flops.errors import UndecodableMessageError
from flops.wire.envelope import decode_envelope, first_reason
from flops.wire.limits import PRESENCE
from flops.wire.requests import Presence


def decode_presence(topic: str, payload: bytes) -> Presence:
    """The presence in the payload of ``service/<id>/presence``.

    Raises:
        UndecodableMessageError: it is something else.
    """
    try:
        return Presence.model_validate(decode_envelope(topic, payload, PRESENCE).data)
    except ValidationError as error:
        raise UndecodableMessageError(topic, first_reason(error)) from error
