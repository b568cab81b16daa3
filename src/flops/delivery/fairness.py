"""Turns: a flood on one topic keeps no other topic waiting."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from flops.ports import Delivery, Subscription

MAX_TAKEN: Final = 50_000
TAKEN_AT_ONCE: Final = 1_000


class Turns:
    """Receives from a subscription one message of each topic by turns, each topic's in their order. One thread.

    What exceeds ``MAX_TAKEN`` stays with the subscription.
    """

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._lanes: dict[str, deque[Delivery]] = {}
        self._taken = 0

    def receive(self, timeout_s: float | None = None) -> Delivery | None:
        """The next message, or None when none came in time or the subscription has ended."""
        self._take(timeout_s)
        if not self._taken:
            return None
        topic, lane = next(iter(self._lanes.items()))
        del self._lanes[topic]
        delivery = lane.popleft()
        self._taken -= 1
        if lane:
            self._lanes[topic] = lane
        return delivery

    def _take(self, timeout_s: float | None) -> None:
        """Sort what is there into lanes; waited is only where all lanes are empty."""
        for _ in range(TAKEN_AT_ONCE):
            if self._taken >= MAX_TAKEN:
                return
            delivery = self._subscription.receive(0 if self._taken else timeout_s)
            if delivery is None:
                return
            self._lanes.setdefault(delivery.topic, deque()).append(delivery)
            self._taken += 1
