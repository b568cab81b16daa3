"""What a service says reaches the manager, whatever happens on the way, and is not repeated for ever."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from tests.brokers import wait_until

from flops.adapters.sqlite_outbox import SqliteOutbox
from flops.delivery import publisher as publisher_module
from flops.delivery.publisher import EventPublisher
from flops.errors import PayloadTooLargeError, StoreUnavailableError
from flops.wire.confirmation import encode_watermarks
from flops.wire.envelope import Envelope, decode_envelope
from flops.wire.events import Warned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flops.adapters.memory_bus import MemoryBroker, MemoryBus
    from flops.ports import Subscription
    from flops.wire.topics import Topics

PROJECT = "a" * 24
NAME = "/builder/builder1.0"
GENERATION = "0a1b2c3d"
SOURCE = f"{NAME}#{GENERATION}"
QUIET_S = 0.3


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher_module, "POLL_S", 0.01)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[SqliteOutbox]:
    outbox = SqliteOutbox(tmp_path / "outbox.db")
    outbox._generation = GENERATION
    yield outbox
    outbox.close()


@pytest.fixture
def service(memory_broker: MemoryBroker) -> MemoryBus:
    return memory_broker.connect("service")


@pytest.fixture
def manager(memory_broker: MemoryBroker) -> MemoryBus:
    return memory_broker.connect("manager")


@pytest.fixture
def heard(manager: MemoryBus, topics: Topics) -> Subscription:
    return manager.subscribe(topics.project_events())


@pytest.fixture
def start(service: MemoryBus, outbox: SqliteOutbox, topics: Topics) -> Iterator[Callable[[], EventPublisher]]:
    """Start a publisher, as the service does after every start."""
    publishers = []

    def start() -> EventPublisher:
        publisher = EventPublisher(service, outbox, topics, source=NAME, project_id=PROJECT)
        publishers.append(publisher)
        return publisher

    yield start
    for publisher in publishers:
        publisher.close()


def numbered(sequence: int) -> bytes:
    return Envelope(id=f"e{sequence}", source=SOURCE, type="t", time=datetime.now(UTC), sequence=sequence).encode()


def hear(heard: Subscription) -> Envelope:
    delivery = heard.receive(10)
    assert delivery is not None
    return decode_envelope(delivery.topic, delivery.payload)


def confirm(manager: MemoryBus, topics: Topics, watermarks: dict[str, int]) -> None:
    manager.publish(topics.project_confirmed(PROJECT), encode_watermarks(watermarks), retain=True)


def test_events_arrive_numbered_in_order_with_their_cause(
    start: Callable[[], EventPublisher], heard: Subscription
) -> None:
    publisher = start()
    published = [publisher.publish(Warned(message=str(number)), causation_id="cause") for number in range(3)]
    received = [hear(heard) for _ in range(3)]
    assert received == published
    assert [envelope.sequence for envelope in received] == [1, 2, 3]
    assert {(envelope.source, envelope.subject, envelope.causation_id) for envelope in received} == {
        (SOURCE, PROJECT, "cause")
    }


def test_what_is_confirmed_is_forgotten(
    start: Callable[[], EventPublisher], manager: MemoryBus, topics: Topics, outbox: SqliteOutbox
) -> None:
    publisher = start()
    for _ in range(3):
        publisher.publish(Warned(message="hm"))
    confirm(manager, topics, {SOURCE: 2, "/other": 9})
    assert not publisher.wait_confirmed(0.1)
    assert [sequence for sequence, _ in outbox.unconfirmed(PROJECT, 1000)] == [3]
    confirm(manager, topics, {SOURCE: 3})
    assert publisher.wait_confirmed(10)


def test_a_manager_that_has_taken_over_is_sent_what_is_unconfirmed_soon(
    start: Callable[[], EventPublisher], manager: MemoryBus, heard: Subscription, topics: Topics
) -> None:
    publisher = start()
    published = [publisher.publish(Warned(message=str(number))) for number in range(2)]
    assert [hear(heard), hear(heard)] == published
    manager.publish(topics.project_confirmed(PROJECT), encode_watermarks({SOURCE: 1}, owner="manager"), retain=True)
    manager.publish(topics.project_confirmed(PROJECT), encode_watermarks({SOURCE: 1}, owner="manager-2"), retain=True)
    assert hear_within(heard, 3) == published[1]


def hear_within(heard: Subscription, timeout_s: float) -> Envelope:
    delivery = heard.receive(timeout_s)
    assert delivery is not None
    return decode_envelope(delivery.topic, delivery.payload)


def test_after_a_reconnect_only_what_is_unconfirmed_is_sent_again(  # noqa: PLR0913, PLR0917  fixtures
    start: Callable[[], EventPublisher],
    manager: MemoryBus,
    service: MemoryBus,
    topics: Topics,
    heard: Subscription,
    outbox: SqliteOutbox,
) -> None:
    publisher = start()
    sent = [publisher.publish(Warned(message=str(number))) for number in range(3)]
    assert [hear(heard) for _ in range(3)] == sent
    confirm(manager, topics, {SOURCE: 2})
    wait_until(lambda: len(outbox.unconfirmed(PROJECT, 1000)) == 1)
    service.drop_connection()
    assert hear(heard) == sent[2]
    assert heard.receive(QUIET_S) is None


def test_nothing_is_sent_again_when_everything_is_confirmed(
    start: Callable[[], EventPublisher], manager: MemoryBus, service: MemoryBus, topics: Topics, heard: Subscription
) -> None:
    publisher = start()
    publisher.publish(Warned(message="hm"))
    hear(heard)
    confirm(manager, topics, {SOURCE: 1})
    assert publisher.wait_confirmed(10)
    service.drop_connection()
    assert heard.receive(QUIET_S) is None


def test_who_has_lost_its_outbox_is_another_source_and_numbers_anew(
    service: MemoryBus, topics: Topics, heard: Subscription, manager: MemoryBus, tmp_path: Path
) -> None:
    outboxes = [SqliteOutbox(tmp_path / name / "outbox.db") for name in ("first", "second")]
    publishers = [EventPublisher(service, outbox, topics, source=NAME, project_id=PROJECT) for outbox in outboxes]
    first, second = (publisher.publish(Warned(message="hm")) for publisher in publishers)

    assert first.source != second.source
    assert {envelope.source.partition("#")[0] for envelope in (first, second)} == {NAME}
    assert [hear(heard).sequence for _ in range(2)] == [1, 1]
    confirm(manager, topics, {first.source: 1})
    assert publishers[0].wait_confirmed(10)
    assert not publishers[1].wait_confirmed(QUIET_S)
    for publisher, outbox in zip(publishers, outboxes, strict=True):
        publisher.close()
        outbox.close()


def test_what_was_lost_is_repeated_part_by_part_as_fast_as_it_is_confirmed(
    start: Callable[[], EventPublisher],
    manager: MemoryBus,
    topics: Topics,
    outbox: SqliteOutbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publisher_module, "RESEND_AT_ONCE", 4)
    for _ in range(10):
        outbox.append(PROJECT, numbered)
    heard = manager.subscribe(topics.project_events())
    publisher = start()

    for last in (4, 8, 10):
        while hear(heard).sequence < last:
            pass
        confirm(manager, topics, {SOURCE: last})

    assert publisher.wait_confirmed(5)


def test_confirmations_of_others_do_not_touch_the_outbox(
    start: Callable[[], EventPublisher],
    manager: MemoryBus,
    topics: Topics,
    outbox: SqliteOutbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    confirmed: list[int] = []
    monkeypatch.setattr(outbox, "confirm", lambda _, sequence: confirmed.append(sequence))
    keeper = start()._keeper
    assert keeper is not None
    for watermarks in ({SOURCE: 0}, {"/other": 1}, {"/other": 2, SOURCE: 1}, {"/other": 3, SOURCE: 1}, {SOURCE: 2}):
        confirm(manager, topics, watermarks)
    wait_until(lambda: keeper._forgotten == 2)
    assert set(confirmed) <= {0, 1, 2}


def test_whoever_waits_while_the_disk_is_full_waits_on(
    start: Callable[[], EventPublisher],
    manager: MemoryBus,
    topics: Topics,
    outbox: SqliteOutbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: str, __: int) -> None:
        raise StoreUnavailableError("here", "the disk is full")

    publisher = start()
    publisher.publish(Warned(message="hm"))
    with monkeypatch.context() as patch:
        patch.setattr(outbox, "confirm", refuse)
        confirm(manager, topics, {SOURCE: 1})
        wait_until(lambda: publisher._keeper is not None and publisher._keeper._watermark == 1)
        assert not publisher.wait_confirmed(0.1)
    assert publisher.wait_confirmed(10)


def test_a_stream_of_confirmations_costs_few_writes(
    start: Callable[[], EventPublisher],
    manager: MemoryBus,
    topics: Topics,
    outbox: SqliteOutbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    confirmed: list[int] = []
    monkeypatch.setattr(outbox, "confirm", lambda _, sequence: confirmed.append(sequence))
    keeper = start()._keeper
    assert keeper is not None
    for watermark in range(1, 301):
        confirm(manager, topics, {SOURCE: watermark})
    wait_until(lambda: keeper._forgotten == 300)
    assert len(confirmed) < 30


def test_what_is_published_while_the_broker_is_away_arrives_later(
    start: Callable[[], EventPublisher], memory_broker: MemoryBroker, heard: Subscription
) -> None:
    publisher = start()
    memory_broker.stop()
    published = publisher.publish(Warned(message="hm"))
    memory_broker.start()
    assert hear(heard) == published


def test_a_service_that_starts_again_sends_what_is_unconfirmed_and_goes_on_numbering(
    start: Callable[[], EventPublisher], manager: MemoryBus, topics: Topics
) -> None:
    first = start()
    unconfirmed = first.publish(Warned(message="before"))
    first.close()
    heard = manager.subscribe(topics.project_events())
    second = start()
    assert hear(heard) == unconfirmed
    assert second.publish(Warned(message="after")).sequence == 2


def test_without_confirmation_it_repeats_itself_less_and_less(
    start: Callable[[], EventPublisher], heard: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher_module, "RESEND_AFTER_S", 0.05)
    publisher = start()
    published = publisher.publish(Warned(message="hm"))
    assert [hear(heard) for _ in range(3)] == [published] * 3
    keeper = publisher._keeper
    assert keeper is not None
    wait_until(lambda: keeper._pause_s > 0.3)


def test_confirmations_of_others_do_not_keep_it_from_repeating(
    start: Callable[[], EventPublisher],
    manager: MemoryBus,
    topics: Topics,
    heard: Subscription,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publisher_module, "RESEND_AFTER_S", 0.05)
    publisher = start()
    published = publisher.publish(Warned(message="hm"))
    assert hear(heard) == published
    repeated = None
    for number in range(1000):
        confirm(manager, topics, {"/other": number})
        repeated = heard.receive(0.01)
        if repeated is not None:
            break
    assert repeated is not None


def test_an_event_that_is_too_large_is_refused_and_leaves_no_gap(
    memory_broker: MemoryBroker, outbox: SqliteOutbox, topics: Topics
) -> None:
    small = memory_broker.connect("small", max_payload_bytes=1000)
    publisher = EventPublisher(small, outbox, topics, source=NAME, project_id=PROJECT)
    with pytest.raises(PayloadTooLargeError):
        publisher.publish(Warned(message="x" * 1000))
    assert publisher.publish(Warned(message="x")).sequence == 1
    publisher.close()


class FullOutbox:
    """An outbox on a full disk."""

    def append(self, project_id: str, encode: Callable[[int], bytes]) -> tuple[int, bytes]:
        encode(1)
        raise StoreUnavailableError(project_id, "disk full")

    generation = ""

    def unconfirmed(self, project_id: str, limit: int) -> list[tuple[int, bytes]]:
        assert limit
        raise StoreUnavailableError(project_id, "disk full")

    def confirm(self, project_id: str, sequence: int) -> None:
        raise StoreUnavailableError(project_id, f"disk full, {sequence} stays")

    def close(self) -> None: ...


def test_an_event_that_cannot_be_stored_is_sent_without_a_number(
    service: MemoryBus, topics: Topics, heard: Subscription
) -> None:
    publisher = EventPublisher(service, FullOutbox(), topics, source=NAME, project_id=PROJECT)
    assert publisher.publish(Warned(message="the disk is full")).sequence == 0
    received = hear(heard)
    assert (received.sequence, received.data["message"]) == (0, "the disk is full")
    publisher.close()


@pytest.mark.parametrize("payload", [b"", b"{", b"{}", b'{"confirmed": {"/x": "1"}}'])
def test_a_confirmation_that_is_none_does_no_harm(
    start: Callable[[], EventPublisher], manager: MemoryBus, topics: Topics, payload: bytes
) -> None:
    publisher = start()
    publisher.publish(Warned(message="hm"))
    manager.publish(topics.project_confirmed(PROJECT), payload)
    confirm(manager, topics, {SOURCE: 1})
    assert publisher.wait_confirmed(10)


def test_a_service_without_a_project_tells_nobody(
    service: MemoryBus, outbox: SqliteOutbox, topics: Topics, heard: Subscription
) -> None:
    publisher = EventPublisher(service, outbox, topics, source=NAME, project_id="")
    publisher.publish(Warned(message="hm"))
    assert publisher.wait_confirmed(0)
    assert heard.receive(0) is None
    publisher.close()


def test_a_service_without_an_outbox_tells_each_event_once(
    service: MemoryBus, topics: Topics, heard: Subscription
) -> None:
    publisher = EventPublisher(service, None, topics, source=NAME, project_id=PROJECT)
    assert publisher.publish(Warned(message="crashed")).sequence == 0
    assert hear(heard).sequence == 0
    assert publisher.wait_confirmed(0)
    publisher.close()
