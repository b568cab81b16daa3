"""Trying again what may succeed later: how often, how long to wait, and telling of each attempt."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from flops.errors import FlopsError, StoppingError

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")

FIRST_WAIT_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """At most ``attempts`` attempts; the bound of the wait between two doubles up to ``longest_s``.

    A wait is random below its bound ("full jitter"), so that many who lost the same server do not return at once.
    """

    attempts: int = 8
    longest_s: float = 30.0
    first_s: float = FIRST_WAIT_S

    def wait_s(self, attempt: int, share: float) -> float:
        """How long to wait after a failed attempt (counted from 1); ``share`` is random from 0 to 1."""
        doubled = self.first_s * 2.0 ** min(attempt - 1, 60)
        return share * min(self.longest_s, doubled)


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """An attempt that failed and is followed by another one after ``wait_s`` seconds."""

    number: int
    attempts: int
    wait_s: float
    error: FlopsError

    def told(self, what: str, reason: str) -> str:
        """One sentence for a person."""
        attempt = f"attempt {self.number} of {self.attempts}" if self.attempts else f"attempt {self.number}"
        return f"{what} failed ({attempt}): {reason.rstrip('.')}; trying again in {self.wait_s:.1f} s."


class Retries:
    """Insists on what fails for a reason that may pass. ``stopping`` ends the waiting."""

    def __init__(
        self,
        policy: RetryPolicy,
        stopping: threading.Event | None = None,
        *,
        share: Callable[[], float] = random.random,
    ) -> None:
        self._policy, self._share = policy, share
        self._stopping = stopping or threading.Event()

    def insist(self, action: Callable[[], Result], tell: Callable[[FailedAttempt], None]) -> Result:
        """The result of ``action``, tried again after every error that is ``retryable``; ``tell`` hears of each.

        Raises:
            StoppingError: ``stopping`` was set between two attempts.
            FlopsError: the last attempt's error, or one that is not worth another attempt.
        """
        number = 1
        while True:
            try:
                return action()
            except FlopsError as error:
                if not error.retryable or number >= self._policy.attempts:
                    raise
                wait_s = self._policy.wait_s(number, self._share())
                tell(FailedAttempt(number, self._policy.attempts, wait_s, error))
            if self._stopping.wait(wait_s):
                raise StoppingError
            number += 1
