"""How often something may happen, and how it is logged when it happens far too often."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

MAX_TOPICS: Final = 1000
SUM_UP_AFTER_S: Final = 60.0


class Rate:
    """``at_once`` may happen together, and ``per_s`` in the long run. Any thread."""

    def __init__(self, at_once: int, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._at_once, self._per_s, self._clock = at_once, per_s, clock
        self._left, self._counted_at = float(at_once), clock()
        self._lock = threading.Lock()

    def allows(self) -> bool:
        """Whether it may happen once more; it counts as having happened then."""
        with self._lock:
            now = self._clock()
            self._left = min(self._at_once, self._left + (now - self._counted_at) * self._per_s)
            self._counted_at = now
            if self._left < 1:
                return False
            self._left -= 1
            return True


class TopicRates:
    """A rate per topic, and one for all of them. Ever new topics share one, so that the memory is bounded."""

    def __init__(self, at_once: int, per_s: float, *, topics: int) -> None:
        self._at_once, self._per_s = at_once, per_s
        self._all = Rate(at_once * topics, per_s * topics)
        self._rates: dict[str, Rate] = {}
        self._lock = threading.Lock()

    def allows(self, topic: str) -> bool:
        """Whether it may happen once more on this topic."""
        with self._lock:
            counted = topic if topic in self._rates or len(self._rates) < MAX_TOPICS else ""
            rate = self._rates.setdefault(counted, Rate(self._at_once, self._per_s))
        return rate.allows() and self._all.allows()


@dataclass(slots=True)
class _Heard:
    """The noise on one topic since it was logged last."""

    logged_at: float
    unlogged: int = 0


class Noise:
    """Logs what a topic brings that cannot be used: the first at once, more of it summed up once a minute."""

    def __init__(self, log: logging.Logger, message: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._message, self._clock = log, message, clock
        self._heard: dict[str, _Heard] = {}
        self._lock = threading.Lock()
        self._count = 0

    @property
    def count(self) -> int:
        """How much there has been."""
        return self._count

    def hear(self, topic: str, reason: str) -> None:
        """Count one message that cannot be used, and say so unless that was done lately."""
        now, fields = self._clock(), {"topic": topic, "reason": reason}
        with self._lock:
            self._count += 1
            counted = topic if topic in self._heard or len(self._heard) < MAX_TOPICS else ""
            heard = self._heard.get(counted)
            if heard is None:
                self._heard[counted] = _Heard(now)
            elif now - heard.logged_at < SUM_UP_AFTER_S:
                heard.unlogged += 1
                return
            else:
                fields["unlogged_before"] = str(heard.unlogged)
                heard.logged_at, heard.unlogged = now, 0
        self._log.warning(self._message, extra=fields)
