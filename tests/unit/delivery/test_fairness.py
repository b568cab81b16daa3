"""Whoever says much keeps nobody waiting who says little."""

from __future__ import annotations

import json
import time
from collections import deque
from typing import TYPE_CHECKING

import pytest

from flops.delivery import fairness
from flops.delivery.fairness import Turns
from flops.delivery.routing import Message, RoutedDelivery, RoutedSubscription, Router

if TYPE_CHECKING:
    from flops.ports import Delivery


def said(topic: str, payload: bytes = b"?") -> RoutedDelivery:
    return RoutedDelivery(Message(topic, payload), lambda: None)


def by(source: str, number: int = 0) -> bytes:
    return json.dumps({"id": str(number), "source": source}).encode()


def subscription(*deliveries: RoutedDelivery) -> RoutedSubscription:
    made = RoutedSubscription(["#"], lambda _: None)
    for delivery in deliveries:
        made.put(delivery)
    return made


def received(turns: Turns) -> list[Delivery]:
    found = []
    while delivery := turns.receive(0):
        found.append(delivery)
    return found


def test_each_topic_has_its_turn_and_keeps_its_order() -> None:
    turns = Turns(subscription(*(said("a", f"[{n}".encode()) for n in range(4)), said("b"), said("c")))
    assert [delivery.topic for delivery in received(turns)] == ["a", "b", "c", "a", "a", "a"]


def test_each_source_on_a_topic_has_its_turn_and_keeps_its_order() -> None:
    turns = Turns(subscription(*(said("t", by("/loud", n)) for n in range(3)), said("t"), said("t", by("/quiet"))))
    heard = received(turns)
    assert [delivery.payload for delivery in heard[:3]] == [by("/loud"), b"?", by("/quiet")]
    assert [delivery.payload for delivery in heard[3:]] == [by("/loud", 1), by("/loud", 2)]


def test_a_good_message_overtakes_ten_thousand_bad_ones() -> None:
    waiting = subscription(*(said("project/start") for _ in range(10_000)), said("project/start", by("/client")))
    turns, overtaken, started = Turns(waiting), 0, time.process_time()
    while (delivery := turns.receive(0)) and delivery.payload == b"?":
        overtaken += 1
    assert overtaken < 20
    assert time.process_time() - started < 0.1


@pytest.mark.parametrize("limit", ["MAX_TAKEN", "MAX_TAKEN_BYTES"])
def test_what_it_takes_is_bounded(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(fairness, limit, 3)
    waiting = subscription(*(said("a") for _ in range(10)))
    turns = Turns(waiting)
    turns.receive(0)
    assert waiting._waiting.qsize() == 7
    assert len(received(turns)) == 9


def test_a_flood_takes_no_more_memory_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flops.delivery.routing.MAX_WAITING_BYTES", 10_000)
    acknowledged: deque[int] = deque()
    router = Router(lambda _: None)
    waiting = router.add(["t", "u"])
    for number in range(100):
        router.route(Message("t", b"x" * 1000), lambda number=number: acknowledged.append(number))  # type: ignore[misc]
    assert list(acknowledged) == list(range(10, 100))
    while delivery := waiting.receive(0):
        delivery.acknowledge()
    router.route(Message("t", b"x" * 1000), lambda: None)
    assert waiting.receive(0) is not None


def test_a_message_that_is_larger_than_what_may_wait_is_received_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flops.delivery.routing.MAX_WAITING_BYTES", 10)
    router = Router(lambda _: None)
    waiting = router.add(["t"])
    for _ in range(2):
        router.route(Message("t", b"x" * 100), lambda: None)
    assert waiting.receive(0) is not None
    assert waiting.receive(0) is None


def test_what_nobody_has_subscribed_to_yet_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flops.delivery.routing.MAX_WAITING_BYTES", 10)
    acknowledged: deque[int] = deque()
    router = Router(lambda _: None)
    for number in range(4):
        router.route(Message("t", b"x" * 4), lambda number=number: acknowledged.append(number))  # type: ignore[misc]
    assert list(acknowledged) == [2, 3]
    waiting = router.add(["t"])
    assert [bool(waiting.receive(0)) for _ in range(3)] == [True, True, False]
    router.close()
