"""What happens far too often is let through for a while, and logged now and then."""

from __future__ import annotations

import logging

import pytest

from flops.delivery import rates
from flops.delivery.rates import Noise, Rate, TopicRates

log = logging.getLogger(__name__)


class Clock:
    """A clock that is put forward by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_rate_lets_some_through_at_once_and_then_so_many_a_second(clock: Clock) -> None:
    rate = Rate(3, 2.0, clock)
    assert [rate.allows() for _ in range(4)] == [True, True, True, False]
    clock.now = 1.0
    assert [rate.allows() for _ in range(3)] == [True, True, False]
    clock.now = 1000.0
    assert [rate.allows() for _ in range(4)] == [True, True, True, False]


def test_each_topic_has_its_rate_and_all_have_one_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MAX_TOPICS", 3)
    topics = TopicRates(2, 0.0, topics=2)
    assert [topics.allows("a") for _ in range(3)] == [True, True, False]
    assert [topics.allows(topic) for topic in "bcdefg"] == [True, True, False, False, False, False]


def test_noise_is_logged_at_once_and_then_summed_up(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    noise = Noise(log, "ignored", clock)
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            noise.hear("t", "it is odd")
        clock.now = rates.SUM_UP_AFTER_S
        noise.hear("t", "it is odd still")
    assert noise.count == 6
    assert [getattr(record, "unlogged_before", "") for record in caplog.records] == ["", "4"]
