"""What every Bus does, whatever carries it."""

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING

import pytest
from tests.brokers import Broker, InMemoryBroker, start_amqtt, start_mosquitto, wait_until

from flops.errors import BrokerUnreachableError, PayloadTooLargeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flops.ports import Bus, Delivery, Subscription

SOON_S = 10.0
QUIET_S = 0.3


@pytest.fixture(scope="module", params=["memory", "mosquitto", "mosquitto-3.1.1", "amqtt"])
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    home = tmp_path_factory.mktemp("broker")
    match request.param:
        case "mosquitto":
            process = start_mosquitto(home)
        case "mosquitto-3.1.1":
            process = start_mosquitto(home, protocol="3.1.1")
        case "amqtt":
            process = start_amqtt(home)
        case _:
            yield InMemoryBroker()
            return
    yield process
    process.stop()


@pytest.fixture
def topic() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def connect(broker: Broker, topic: str) -> Iterator[Callable[..., Bus]]:
    """Connect under a client id of this test's own; the same name is the same client."""
    buses = []

    def connect(name: str = "client", *, persistent: bool = False, will: tuple[str, bytes] | None = None) -> Bus:
        bus = broker.connect(f"{topic}-{name}", persistent=persistent, will=will)
        buses.append(bus)
        return bus

    yield connect
    for bus in buses:
        bus.close()


def receive(subscription: Subscription) -> Delivery:
    delivery = subscription.receive(SOON_S)
    assert delivery is not None
    return delivery


def payloads(subscription: Subscription, count: int) -> list[bytes]:
    """The next payloads, acknowledged; a repeated delivery counts once."""
    seen: list[bytes] = []
    while len(seen) < count:
        delivery = receive(subscription)
        delivery.acknowledge()
        if delivery.payload not in seen:
            seen.append(delivery.payload)
    return seen


def test_a_message_reaches_who_subscribed_in_the_order_of_publishing(connect: Callable[..., Bus], topic: str) -> None:
    reader, writer = connect("reader"), connect("writer")
    subscription = reader.subscribe(f"{topic}/a")
    sent = [str(number).encode() for number in range(300)]
    for payload in sent:
        writer.publish(f"{topic}/a", payload)
    assert payloads(subscription, len(sent)) == sent


@pytest.mark.parametrize("pattern", ["+/b/c", "#", "+/+/c", "+/b/#", "+/b/c/#"])
def test_wildcards_select_topics(connect: Callable[..., Bus], topic: str, pattern: str) -> None:
    bus = connect()
    subscription = bus.subscribe(pattern.replace("+", topic, 1) if pattern != "#" else f"{topic}/#")
    bus.publish(f"{topic}-other/b/c", b"no")
    bus.publish(f"{topic}/b/c", b"yes")
    assert receive(subscription).payload == b"yes"


def test_other_topics_are_not_received(connect: Callable[..., Bus], topic: str) -> None:
    bus = connect()
    subscription = bus.subscribe(f"{topic}/+/b")
    for other in ("a", "a/c", "a/b/c", "b"):
        bus.publish(f"{topic}/{other}", b"no")
    bus.publish(f"{topic}/a/b", b"yes")
    assert receive(subscription).payload == b"yes"


def test_each_subscription_gets_what_it_asks_for(connect: Callable[..., Bus], topic: str) -> None:
    bus = connect()
    wide, narrow = bus.subscribe(f"{topic}/#"), bus.subscribe(f"{topic}/a", f"{topic}/b")
    bus.publish(f"{topic}/a", b"1")
    bus.publish(f"{topic}/c", b"2")
    bus.publish(f"{topic}/b", b"3")
    assert payloads(wide, 3) == [b"1", b"2", b"3"]
    assert payloads(narrow, 2) == [b"1", b"3"]


def test_a_retained_message_greets_a_later_subscriber(connect: Callable[..., Bus], topic: str) -> None:
    writer = connect("writer")
    writer.publish(f"{topic}/state", b"old", retain=True)
    writer.publish(f"{topic}/state", b"new", retain=True)
    assert writer.flush(SOON_S)
    delivery = receive(connect("reader").subscribe(f"{topic}/+"))
    assert (delivery.topic, delivery.payload, delivery.retained) == (f"{topic}/state", b"new", True)


def test_an_empty_retained_message_clears_the_topic(connect: Callable[..., Bus], topic: str) -> None:
    bus = connect()
    bus.publish(f"{topic}/state", b"old", retain=True)
    bus.publish(f"{topic}/state", b"", retain=True)
    assert bus.flush(SOON_S)
    assert bus.subscribe(f"{topic}/state").receive(QUIET_S) is None


def test_what_was_not_acknowledged_comes_again_to_a_persistent_session(
    broker: Broker, connect: Callable[..., Bus], topic: str
) -> None:
    reader, writer = connect("reader", persistent=True), connect("writer")
    subscription = reader.subscribe(f"{topic}/a")
    for payload in (b"done", b"undone"):
        writer.publish(f"{topic}/a", payload)
    receive(subscription).acknowledge()
    assert receive(subscription).payload == b"undone"
    reader.close()
    writer.publish(f"{topic}/a", b"while away")
    assert writer.flush(SOON_S)
    _needs_sessions(broker)
    again = connect("reader", persistent=True)
    assert payloads(again.subscribe(f"{topic}/a"), 2) == [b"undone", b"while away"]


def test_what_comes_again_says_so_and_keeps_its_number(broker: Broker, connect: Callable[..., Bus], topic: str) -> None:
    _needs_sessions(broker)
    reader, writer = connect("reader", persistent=True), connect("writer")
    subscription = reader.subscribe(f"{topic}/a")
    writer.publish(f"{topic}/a", b"undone")
    first = receive(subscription)
    reader.close()
    writer.publish(f"{topic}/a", b"while away")
    assert writer.flush(SOON_S)

    renewed = connect("reader", persistent=True).subscribe(f"{topic}/a")
    second, new = receive(renewed), receive(renewed)

    assert not first.redelivered
    assert (second.payload, second.redelivered, second.number) == (b"undone", True, first.number)
    assert (new.payload, new.redelivered) == (b"while away", False)


def test_what_was_acknowledged_does_not_come_again(connect: Callable[..., Bus], topic: str) -> None:
    reader = connect("reader", persistent=True)
    subscription = reader.subscribe(f"{topic}/a")
    reader.publish(f"{topic}/a", b"done")
    receive(subscription).acknowledge()
    reader.close()
    again = connect("reader", persistent=True)
    assert again.subscribe(f"{topic}/a").receive(QUIET_S) is None


def test_a_message_is_acknowledged_when_all_its_subscriptions_have(
    broker: Broker, connect: Callable[..., Bus], topic: str
) -> None:
    reader = connect("reader", persistent=True)
    first, second = reader.subscribe(f"{topic}/+"), reader.subscribe(f"{topic}/#")
    reader.publish(f"{topic}/a", b"half done")
    delivery = receive(first)
    delivery.acknowledge()
    delivery.acknowledge()
    receive(second)
    reader.close()
    _needs_sessions(broker)
    again = connect("reader", persistent=True)
    assert receive(again.subscribe(f"{topic}/#")).payload == b"half done"


def test_overlapping_filters_do_not_lose_the_acknowledgement(connect: Callable[..., Bus], topic: str) -> None:
    reader = connect("reader", persistent=True)
    subscriptions = [reader.subscribe(f"{topic}/+", f"{topic}/#"), reader.subscribe(f"{topic}/a")]
    reader.publish(f"{topic}/a", b"1")
    for subscription in subscriptions:
        receive(subscription).acknowledge()
        while (repeated := subscription.receive(QUIET_S)) is not None:
            repeated.acknowledge()
    reader.close()
    again = connect("reader", persistent=True)
    assert again.subscribe(f"{topic}/#").receive(QUIET_S) is None


def test_the_last_will_is_sent_when_a_connection_breaks(
    broker: Broker, connect: Callable[..., Bus], topic: str
) -> None:
    presences = connect("reader").subscribe(f"{topic}/presence")
    service = connect("service", will=(f"{topic}/presence", b"offline"))
    service.publish(f"{topic}/presence", b"online", retain=True)
    assert receive(presences).payload == b"online"
    broker.cut(service)
    assert receive(presences).payload == b"offline"


def test_a_presence_that_the_last_will_has_overwritten_is_renewed(
    broker: Broker, connect: Callable[..., Bus], topic: str
) -> None:
    presences = connect("reader").subscribe(f"{topic}/presence")
    service = connect("service", will=(f"{topic}/presence", b"offline"))
    service.publish(f"{topic}/presence", b"online", retain=True)
    broker.cut(service)
    heard = [receive(presences).payload]
    while heard[-2:] != [b"offline", b"online"]:
        heard.append(receive(presences).payload)


def test_a_farewell_replaces_the_last_will(connect: Callable[..., Bus], topic: str) -> None:
    presences = connect("reader").subscribe(f"{topic}/presence")
    service = connect("service", will=(f"{topic}/presence", b"lost"))
    service.close(farewell=(f"{topic}/presence", b"gone"))
    assert receive(presences).payload == b"gone"
    assert presences.receive(QUIET_S) is None


def test_a_cut_connection_is_restored_with_its_subscriptions(
    broker: Broker, connect: Callable[..., Bus], topic: str
) -> None:
    reader, writer = connect("reader"), connect("writer")
    subscription = reader.subscribe(f"{topic}/a")
    assert reader.connection_count == 1
    broker.cut(reader)
    wait_until(lambda: reader.connection_count == 2 and reader.is_connected)
    writer.publish(f"{topic}/a", b"hello")
    assert receive(subscription).payload == b"hello"


def test_a_broker_restart_is_survived_and_what_was_published_meanwhile_arrives(
    broker: Broker, connect: Callable[..., Bus], topic: str
) -> None:
    reader, writer = connect("reader", persistent=True), connect("writer")
    subscription = reader.subscribe(f"{topic}/a")
    broker.stop()
    wait_until(lambda: not writer.is_connected and not reader.is_connected)
    late = reader.subscribe(f"{topic}/b")
    sent = [str(number).encode() for number in range(50)]
    for payload in sent:
        writer.publish(f"{topic}/a", payload)
    assert not writer.flush(0.05)
    broker.start()
    wait_until(lambda: reader.connection_count == 2)
    if broker.keeps_sessions:
        assert payloads(subscription, len(sent)) == sent
    assert writer.flush(SOON_S)
    writer.publish(f"{topic}/a", b"after")
    writer.publish(f"{topic}/b", b"late")
    while receive(subscription).payload != b"after":
        pass
    assert receive(late).payload == b"late"


def test_the_largest_payload_arrives_whole_and_a_larger_one_is_refused(
    broker: Broker, connect: Callable[..., Bus], topic: str
) -> None:
    bus = connect()
    subscription = bus.subscribe(f"{topic}/a")
    largest = bytes(range(256)) * (broker.max_payload_bytes // 256)
    with pytest.raises(PayloadTooLargeError):
        bus.publish(f"{topic}/a", largest + b"!")
    bus.publish(f"{topic}/a", largest)
    assert receive(subscription).payload == largest


def test_any_thread_may_publish(connect: Callable[..., Bus], topic: str) -> None:
    bus = connect()
    subscription = bus.subscribe(f"{topic}/#")

    def publish(thread: int) -> None:
        for number in range(50):
            bus.publish(f"{topic}/{thread}", f"{thread}:{number:02}".encode())

    threads = [threading.Thread(target=publish, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    received = payloads(subscription, 200)
    for thread in threads:
        thread.join()
    for number in range(4):
        own = [payload for payload in received if payload.startswith(f"{number}:".encode())]
        assert own == sorted(own)


def test_many_messages_may_wait_for_their_acknowledgement(connect: Callable[..., Bus], topic: str) -> None:
    reader, writer = connect("reader"), connect("writer")
    subscription = reader.subscribe(f"{topic}/a")
    for number in range(2000):
        writer.publish(f"{topic}/a", str(number).encode())
    waiting: dict[bytes, Delivery] = {}
    while len(waiting) < 2000:
        delivery = receive(subscription)
        waiting[delivery.payload] = delivery
    assert list(waiting) == [str(number).encode() for number in range(2000)]
    for delivery in waiting.values():
        delivery.acknowledge()


def test_a_closed_subscription_gets_nothing_and_wakes_its_receivers(connect: Callable[..., Bus], topic: str) -> None:
    bus = connect()
    closed, other = bus.subscribe(f"{topic}/a"), bus.subscribe(f"{topic}/a")
    got: list[object] = []
    receivers = [threading.Thread(target=lambda: got.append(closed.receive())) for _ in range(2)]
    for receiver in receivers:
        receiver.start()
    closed.close()
    closed.close()
    for receiver in receivers:
        receiver.join(SOON_S)
    bus.publish(f"{topic}/a", b"1")
    assert receive(other).payload == b"1"
    assert got == [None, None]
    assert closed.receive() is None


def test_a_closed_bus_wakes_its_receivers_and_refuses_to_publish(connect: Callable[..., Bus], topic: str) -> None:
    bus = connect()
    subscription = bus.subscribe(f"{topic}/a")
    got: list[object] = []
    receiver = threading.Thread(target=lambda: got.append(subscription.receive()))
    receiver.start()
    bus.close()
    receiver.join(SOON_S)
    assert got == [None]
    assert not bus.is_connected
    with pytest.raises(BrokerUnreachableError):
        bus.publish(f"{topic}/a", b"1")
    with pytest.raises(BrokerUnreachableError):
        bus.subscribe(f"{topic}/a")


def test_a_client_that_connects_again_takes_over(connect: Callable[..., Bus], topic: str) -> None:
    connect("reader", persistent=True).close()
    again = connect("reader", persistent=True)
    subscription = again.subscribe(f"{topic}/a")
    again.publish(f"{topic}/a", b"1")
    assert receive(subscription).payload == b"1"


def _needs_sessions(broker: Broker) -> None:
    if not broker.keeps_sessions:
        pytest.skip("amqtt loses what is queued for a session that is offline; FLOps' own confirmations cover that")
