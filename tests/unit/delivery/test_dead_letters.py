"""What cannot be understood is kept and never in the way."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from flops.delivery import rates
from flops.delivery.dead_letters import DeadLetters
from flops.errors import StoreUnavailableError, UndecodableMessageError

if TYPE_CHECKING:
    from flops.adapters.memory_bus import MemoryBroker
    from flops.ports import Delivery


def letters(broker: MemoryBroker, *topics: str) -> list[Delivery]:
    """Deliveries in a persistent session."""
    bus = broker.connect("reader", persistent=True)
    subscription = bus.subscribe("#")
    for topic in topics:
        bus.publish(topic, b"?")
    received = [subscription.receive(10) for _ in topics]
    return [delivery for delivery in received if delivery is not None]


def redelivered(broker: MemoryBroker) -> int:
    subscription = broker.connect("reader", persistent=True).subscribe("#")
    count = 0
    while subscription.receive(0) is not None:
        count += 1
    return count


def test_it_is_kept_counted_logged_once_for_its_topic_and_acknowledged(
    memory_broker: MemoryBroker, caplog: pytest.LogCaptureFixture
) -> None:
    kept: list[tuple[str, bytes, str]] = []
    dead = DeadLetters(lambda *letter: kept.append(letter))
    with caplog.at_level(logging.WARNING):
        for delivery in letters(memory_broker, "a", "a", "b"):
            dead.take(delivery, UndecodableMessageError(delivery.topic, "it is a test"))
    assert kept == [("a", b"?", "it is a test")] * 2 + [("b", b"?", "it is a test")]
    assert (dead.count, len(caplog.records)) == (3, 2)
    assert redelivered(memory_broker) == 0


def test_it_comes_again_where_it_could_not_be_kept(memory_broker: MemoryBroker) -> None:
    def fail(*_: object) -> None:
        raise StoreUnavailableError("here", "full")

    (delivery,) = letters(memory_broker, "a")
    with pytest.raises(StoreUnavailableError):
        DeadLetters(fail).take(delivery, UndecodableMessageError("a", "it is a test"))
    assert redelivered(memory_broker) == 1


def test_noise_on_ever_new_topics_is_bounded(
    memory_broker: MemoryBroker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "MAX_TOPICS", 2)
    dead = DeadLetters(lambda *_: None)
    for delivery in letters(memory_broker, *"abcdef"):
        dead.take(delivery, UndecodableMessageError(delivery.topic, "it is a test"))
    assert (dead.count, len(caplog.records)) == (6, 3)
