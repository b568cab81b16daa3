"""Finds where a user's tracking server answers: its retained presence tells."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from flops.errors import StoppingError, TrackingUnavailableError, UndecodableMessageError
from flops.wire.presence import decode_presence

if TYPE_CHECKING:
    from flops.delivery.service import ServiceContext

PATIENCE_S: Final = 60.0
POLL_S: Final = 0.2


def find_tracking_url(context: ServiceContext, instance: str, patience_s: float = PATIENCE_S) -> str:
    """The address that a tracking server has announced.

    Raises:
        TrackingUnavailableError: it has announced none in time.
        StoppingError: the service was asked to stop.
    """
    deadline = time.monotonic() + patience_s
    presences = context.bus.subscribe(context.topics.presence(instance))
    try:
        while time.monotonic() < deadline:
            if context.stopping.is_set():
                raise StoppingError
            delivery = presences.receive(POLL_S)
            if delivery is None:
                continue
            delivery.acknowledge()
            url = _url_in(delivery.topic, delivery.payload)
            if url:
                return url
    finally:
        presences.close()
    raise TrackingUnavailableError(
        f"The tracking server {instance} has not said where it answers within {patience_s:g} s.",
        remedy=f"See 'flops logs {instance}'.",
    )


def _url_in(topic: str, payload: bytes) -> str:
    try:
        presence = decode_presence(topic, payload)
    except UndecodableMessageError:
        return ""
    return presence.url if presence.online else ""
