"""Clocks that nobody can set back and forth."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def elapsed_s() -> float:
    """Seconds since the machine was started, those that it has slept included: a lease must not outlast a sleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class SteadyClock:
    """Seconds since the epoch: the wall clock is read once, and from then on only the time that passes counts.

    So a deadline that is stored means the same after a restart, and passes when it should while the wall clock jumps.
    """

    def __init__(self, wall: Callable[[], float] = time.time, elapsed: Callable[[], float] = elapsed_s) -> None:
        self._elapsed = elapsed
        self._offset = wall() - elapsed()

    def __call__(self) -> float:
        """Now."""
        return self._offset + self._elapsed()
