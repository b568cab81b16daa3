"""A manager's right to act: it lasts for a while after each sign of life, and ends by itself."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING

from flops.manager.clock import elapsed_s

if TYPE_CHECKING:
    from collections.abc import Callable

    from flops.ports import Store


class Lease:
    """Counts from before each beat, while others count from after it: it is over here before anybody takes over.

    A manager that was stopped, or that could not reach the store, finds its lease ended and has to look first what has
    become of its projects. Whatever it was about to do belongs to a ``term`` that is over.
    """

    def __init__(self, store: Store, manager: str, lasts_s: float, clock: Callable[[], float] = elapsed_s) -> None:
        self.manager, self.lasts_s = manager, lasts_s
        self._store, self._clock = store, clock
        self._lock = threading.Lock()
        self._until = -math.inf
        self._term = 0

    @property
    def term(self) -> int:
        """The number of times that the lease was taken anew."""
        return self._term

    @property
    def is_held(self) -> bool:
        """Whether this manager may act."""
        return self._clock() < self._until

    def holds(self, term: int) -> bool:
        """Whether this manager may go on with what it began in a term."""
        return self.is_held and self._term == term

    def beat(self) -> float | None:
        """Give a sign of life; returns from when a new term counts if the lease had ended, for ``begin_term``.

        Raises:
            StoreUnavailableError: it was not given.
        """
        began = self._clock()
        self._store.beat(self.manager)
        with self._lock:
            if self._clock() >= self._until:
                return began
            self._until = began + self.lasts_s
        return None

    def begin_term(self, began: float) -> None:
        """Act again, with the lease counted from ``began``."""
        with self._lock:
            self._term += 1
            self._until = began + self.lasts_s
