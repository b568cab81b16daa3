"""What was published and not acknowledged by the broker yet: counted, bounded, waited for."""

from __future__ import annotations

import threading
from typing import Final

from flops.settings import MIB

MAX_MESSAGES: Final = 20_000
MAX_BYTES: Final = 256 * MIB


class Unacknowledged:
    """Messages by packet number, in the order of publishing. An acknowledgement may overtake ``add``."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[int, tuple[int, int]] = {}
        self._early: set[int] = set()
        self._count = 0
        self._bytes = 0

    def wait_room(self, timeout_s: float) -> bool:
        """Wait until one more may be added; False if none may in time."""
        if self._has_room():
            return True
        with self._changed:
            return self._changed.wait_for(self._has_room, timeout_s)

    def add(self, mid: int, size_bytes: int) -> None:
        """A message is on its way as packet ``mid``."""
        with self._changed:
            self._count += 1
            if mid in self._early:
                self._early.remove(mid)
                return
            self._waiting[mid] = (self._count, size_bytes)
            self._bytes += size_bytes

    def remove(self, mid: int) -> None:
        """The broker has acknowledged packet ``mid``."""
        with self._changed:
            if mid not in self._waiting:
                self._early.add(mid)
                return
            self._bytes -= self._waiting.pop(mid)[1]
            self._changed.notify_all()

    def wait_empty(self, timeout_s: float) -> bool:
        """Wait until everything added so far is acknowledged; False if it is not in time."""
        with self._changed:
            last = self._count
            return self._changed.wait_for(lambda: self._oldest() > last, timeout_s)

    def _has_room(self) -> bool:
        return len(self._waiting) < MAX_MESSAGES and self._bytes < MAX_BYTES

    def _oldest(self) -> float:
        return next((number for number, _ in self._waiting.values()), float("inf"))
