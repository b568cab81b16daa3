"""Messages that cannot be understood: counted, logged once per topic, kept, and never in the way of the others."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from flops.errors import UndecodableMessageError
    from flops.ports import Delivery

log = logging.getLogger(__name__)

MAX_TOPICS: Final = 1000


class DeadLetters:
    """Hands what cannot be understood to ``keep(topic, payload, reason)`` and acknowledges it."""

    def __init__(self, keep: Callable[[str, bytes, str], None]) -> None:
        self._keep = keep
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """How many there have been."""
        with self._lock:
            return self._counts.total()

    def take(self, delivery: Delivery, error: UndecodableMessageError) -> None:
        """Keep a message, then acknowledge it. Where keeping fails, it stays unacknowledged and comes again."""
        if self._is_new(delivery.topic):
            log.warning("a message could not be understood", extra={"topic": delivery.topic, "reason": error.reason})
        self._keep(delivery.topic, delivery.payload, error.reason)
        delivery.acknowledge()

    def _is_new(self, topic: str) -> bool:
        """Count the topic; beyond ``MAX_TOPICS`` all further ones count as one, so that the memory is bounded."""
        with self._lock:
            counted = topic if topic in self._counts or len(self._counts) < MAX_TOPICS else ""
            self._counts[counted] += 1
            return self._counts[counted] == 1
