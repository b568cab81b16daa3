"""Messages that cannot be understood: counted, logged, kept, and never in the way of the others."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from flops.delivery.rates import Noise, TopicRates
from flops.wire.limits import KEPT_LETTER_BYTES, LETTERS_AT_ONCE, LETTERS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from flops.errors import UndecodableMessageError
    from flops.ports import Delivery

log = logging.getLogger(__name__)

FULL_TOPICS: Final = 10


class DeadLetters:
    """Hands what cannot be understood to ``keep(topic, payload, reason)``; ``afterwards`` is to acknowledge it.

    Keeping is a durable write. So that a flood holds up nobody, beyond some messages of a topic (and of
    ``FULL_TOPICS`` such topics) the rest is counted only.
    """

    def __init__(
        self,
        keep: Callable[[str, bytes, str], None],
        afterwards: Callable[[Callable[[], None]], None] = lambda acknowledge: acknowledge(),
    ) -> None:
        self._keep, self._afterwards = keep, afterwards
        self._noise = Noise(log, "a message could not be understood")
        self._rates = TopicRates(LETTERS_AT_ONCE, LETTERS_PER_S, topics=FULL_TOPICS)

    @property
    def count(self) -> int:
        """How many there have been."""
        return self._noise.count

    def take(self, delivery: Delivery, error: UndecodableMessageError) -> None:
        """Keep a message, then acknowledge it. Where keeping fails, it stays unacknowledged and comes again."""
        self._noise.hear(delivery.topic, error.reason)
        if self._rates.allows(delivery.topic):
            self._keep(delivery.topic, delivery.payload[:KEPT_LETTER_BYTES], _explained(error, delivery.payload))
        self._afterwards(delivery.acknowledge)


def _explained(error: UndecodableMessageError, payload: bytes) -> str:
    if len(payload) <= KEPT_LETTER_BYTES:
        return error.reason
    return f"{error.reason} (of its {len(payload):,} bytes the first {KEPT_LETTER_BYTES:,} are kept)"
