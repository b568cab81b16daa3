"""How often, after which waits, and what is told of it."""

from __future__ import annotations

import threading

import pytest

from flops.errors import BrokerUnreachableError, FlopsError, StoppingError
from flops.retries import FailedAttempt, Retries, RetryPolicy

AWAY = BrokerUnreachableError("mqtt://b", "it is away")


def _no_attempt(failed: FailedAttempt) -> None:
    pytest.fail(f"tried again: {failed}")


def failing(times: int, error: FlopsError, attempts: list[int]) -> str:
    attempts.append(1)
    if len(attempts) <= times:
        raise error
    return "done"


def test_the_bound_of_the_waits_doubles_up_to_the_longest() -> None:
    policy = RetryPolicy(attempts=20, longest_s=30, first_s=0.5)

    assert [policy.wait_s(number, 1.0) for number in range(1, 9)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert policy.wait_s(5, 0.25) == 2
    assert policy.wait_s(100_000, 1.0) == 30


def test_what_may_pass_is_tried_again_and_every_failed_attempt_told() -> None:
    told, attempts = list[FailedAttempt](), list[int]()
    retries = Retries(RetryPolicy(attempts=5, longest_s=0.01), share=lambda: 0.5)

    assert retries.insist(lambda: failing(2, AWAY, attempts), told.append) == "done"

    assert [(item.number, item.attempts) for item in told] == [(1, 5), (2, 5)]
    assert told[0].told("Fetching", "It is away.") == (
        "Fetching failed (attempt 1 of 5): It is away; trying again in 0.0 s."
    )


def test_attempts_are_bounded() -> None:
    attempts: list[int] = []
    with pytest.raises(BrokerUnreachableError):
        Retries(RetryPolicy(3, 0.01)).insist(lambda: failing(99, AWAY, attempts), lambda _: None)
    assert len(attempts) == 3


def test_what_does_not_pass_fails_at_once() -> None:
    attempts: list[int] = []
    with pytest.raises(FlopsError):
        Retries(RetryPolicy(3, 0.01)).insist(lambda: failing(9, FlopsError("wrong"), attempts), _no_attempt)
    assert len(attempts) == 1


def test_a_wait_ends_when_the_service_stops() -> None:
    stopping = threading.Event()
    with pytest.raises(StoppingError):
        Retries(RetryPolicy(3, 600), stopping).insist(lambda: failing(9, AWAY, []), lambda _: stopping.set())
