"""Messages for another manager: kept until it is sure to have handled them, in case this one has to."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from flops.ports import Delivery

log = logging.getLogger(__name__)

MAX_KEPT: Final = 1000
SETTLE_EVERY_S: Final = 0.5


class SomebodyElsesError(Exception):
    """A message is for another manager to handle; ``manager`` is empty where nobody is there for it."""

    def __init__(self, manager: str) -> None:
        self.manager = manager
        super().__init__(manager)


@dataclass(frozen=True, slots=True)
class KeptMessage:
    """A message that is not acknowledged, and when it came, on both clocks of ``Kept``."""

    delivery: Delivery
    elapsed_s: float
    time: float


class Kept:
    """A bounded number of messages, in their order. One thread.

    ``has_outlived(manager, elapsed_s)`` says whether another manager was alive long enough after a message came.
    """

    def __init__(
        self, has_outlived: Callable[[str, float], bool], elapsed: Callable[[], float], now: Callable[[], float]
    ) -> None:
        self._has_outlived, self._elapsed, self._now = has_outlived, elapsed, now
        self._messages: deque[KeptMessage] = deque()
        self._settled_at = 0.0

    def keep(self, delivery: Delivery) -> None:
        """Keep a message; of too many the oldest is given up, which its own manager most likely has handled."""
        self._messages.append(KeptMessage(delivery, self._elapsed(), self._now()))
        if len(self._messages) > MAX_KEPT:
            log.warning("too many messages for other managers", extra={"topic": self._messages[0].delivery.topic})
            self._messages.popleft().delivery.acknowledge()

    def is_due(self) -> bool:
        """Whether it is time to look at the messages again."""
        return bool(self._messages) and self._elapsed() >= self._settled_at + SETTLE_EVERY_S

    def settle(self, handle: Callable[[KeptMessage], None]) -> None:
        """Handle what has become this manager's matter, and give up what another one must have handled by now.

        Whatever ``handle`` raises but SomebodyElsesError leaves the rest kept.
        """
        self._settled_at = self._elapsed()
        for _ in range(len(self._messages)):
            message = self._messages[0]
            try:
                handle(message)
            except SomebodyElsesError as other:
                if other.manager and self._has_outlived(other.manager, message.elapsed_s):
                    message.delivery.acknowledge()
                else:
                    self._messages.append(message)
            self._messages.popleft()
