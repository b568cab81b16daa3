"""Turns: a flood from one source, or on one topic, keeps no other waiting."""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Final

from flops.wire.limits import MIB

if TYPE_CHECKING:
    from flops.ports import Delivery, Subscription

MAX_TAKEN: Final = 50_000
MAX_TAKEN_BYTES: Final = 64 * MIB
TAKEN_AT_ONCE: Final = 1_000
LOOKED_AT_BYTES: Final = 2_048
_SOURCE: Final = re.compile(rb'"source"\s*:\s*"([^"]{1,256})"')

Lane = tuple[str, bytes]


class Turns:
    """Receives from a subscription by turns, one message of each source on each topic, each one's in their order.

    What exceeds ``MAX_TAKEN`` messages or ``MAX_TAKEN_BYTES`` stays with the subscription. One thread.
    """

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._lanes: dict[Lane, deque[Delivery]] = {}
        self._taken = self._taken_bytes = 0

    def receive(self, timeout_s: float | None = None) -> Delivery | None:
        """The next message, or None when none came in time or the subscription has ended."""
        self._take(timeout_s)
        if not self._taken:
            return None
        key, lane = next(iter(self._lanes.items()))
        del self._lanes[key]
        delivery = lane.popleft()
        self._taken -= 1
        self._taken_bytes -= len(delivery.payload)
        if lane:
            self._lanes[key] = lane
        return delivery

    def _take(self, timeout_s: float | None) -> None:
        """Sort what is there into lanes; waited is only where all lanes are empty."""
        for _ in range(TAKEN_AT_ONCE):
            if self._taken >= MAX_TAKEN or self._taken_bytes >= MAX_TAKEN_BYTES:
                return
            delivery = self._subscription.receive(0 if self._taken else timeout_s)
            if delivery is None:
                return
            self._lanes.setdefault(_lane_of(delivery), deque()).append(delivery)
            self._taken += 1
            self._taken_bytes += len(delivery.payload)


def _lane_of(delivery: Delivery) -> Lane:
    """Whom a message seems to be from, before it is parsed; what is no JSON object waits behind its like."""
    begin = delivery.payload[:LOOKED_AT_BYTES]
    source = _SOURCE.search(begin)
    return delivery.topic, source[1] if source else begin.lstrip()[:1]
