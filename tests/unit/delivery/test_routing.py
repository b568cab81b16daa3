"""How messages reach subscriptions, and when the broker hears that they are done with."""

from __future__ import annotations

import threading

import pytest

from flops.delivery.routing import Message, Router, TopicFilter


@pytest.mark.parametrize(
    ("text", "topic", "is_match"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/b/c", False),
        ("a/b", "a", False),
        ("+", "a", True),
        ("+", "a/b", False),
        ("a/+/c", "a/b/c", True),
        ("a/+/c", "a//c", True),
        ("a/+", "a", False),
        ("a/+", "a/", True),
        ("#", "a/b", True),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("a/#", "ab", False),
        ("#", "$SYS/broker", False),
        ("+/broker", "$SYS/broker", False),
        ("$SYS/#", "$SYS/broker", True),
    ],
)
def test_filters_match_as_mqtt_defines(text: str, topic: str, *, is_match: bool) -> None:
    assert TopicFilter(text).matches(topic) is is_match


class Acknowledged:
    """Counts what the broker would hear."""

    def __init__(self) -> None:
        self.count = 0
        self.heard = threading.Event()

    def __call__(self) -> None:
        self.count += 1
        self.heard.set()


def test_a_message_waits_for_the_subscription_that_comes_later() -> None:
    router, acknowledged = Router(lambda _: None), Acknowledged()
    for payload in (b"1", b"2"):
        router.route(Message("a", payload), acknowledged)
    subscription = router.add(["a"])
    for payload in (b"1", b"2"):
        delivery = subscription.receive(0)
        assert delivery is not None
        assert delivery.payload == payload
        assert not acknowledged.count
    router.close()


def test_what_nobody_claims_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flops.delivery.routing.UNCLAIMED_S", 0.01)
    router, acknowledged = Router(lambda _: None), Acknowledged()
    router.route(Message("renamed", b""), acknowledged)
    assert acknowledged.heard.wait(10)


def test_only_filters_that_nobody_else_uses_are_unsubscribed() -> None:
    unsubscribed: list[str] = []
    router = Router(unsubscribed.extend)
    first, _ = router.add(["a", "b"]), router.add(["b"])
    first.close()
    assert unsubscribed == ["a"]
    assert router.filters() == ["b"]


def test_what_a_closed_subscription_leaves_counts_as_acknowledged() -> None:
    router, acknowledged = Router(lambda _: None), Acknowledged()
    subscription = router.add(["a"])
    router.route(Message("a", b"in the queue"), acknowledged)
    subscription.close()
    assert acknowledged.count == 1
    router.route(Message("a", b"still on its way"), acknowledged)
    assert acknowledged.count == 2


def test_a_closed_router_acknowledges_nothing() -> None:
    router, acknowledged = Router(lambda _: None), Acknowledged()
    subscription = router.add(["a"])
    router.route(Message("a", b""), acknowledged)
    router.close()
    assert subscription.receive() is None
    assert acknowledged.count == 0
