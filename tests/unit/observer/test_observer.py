"""The observer on a broker in memory: every event once, in order, whatever the broker does."""

from __future__ import annotations

import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.brokers import wait_until

from flops.adapters.sqlite_inbox import SqliteInbox
from flops.delivery import publisher
from flops.delivery.answers import answer
from flops.delivery.requests import RequestClient
from flops.delivery.service import ServiceContext, ServiceIdentity
from flops.errors import BrokerUnreachableError, StoreUnavailableError
from flops.observer import service
from flops.observer.inbox import Inbox
from flops.observer.rendering import line_of
from flops.observer.service import run
from flops.settings import Settings
from flops.wire import events as e
from flops.wire.confirmation import encode_watermarks
from flops.wire.envelope import Envelope, decode_envelope
from flops.wire.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from flops.adapters.memory_bus import MemoryBroker
    from flops.observer.inbox import Reading
    from flops.ports import Bus, Delivery
    from flops.wire.requests import ProjectStatus

ID = "0123456789abcdef01234567"
MANAGER = "/manager"
SLA: dict[str, Any] = {"ml_repo_url": "https://x/y", "training_configuration": {"training_rounds": 3}}


def told(sequence: int, event: e.Event, *, source: str = MANAGER, event_id: str = "") -> Envelope:
    return Envelope(
        id=event_id or f"{source}:{sequence}",
        source=source,
        type=event.type,
        subject=ID,
        time=datetime.now(UTC),
        data=event.model_dump(mode="json"),
        sequence=sequence,
    )


STORY = [
    told(1, e.ProjectAccepted(user="Ada", sla=SLA)),
    told(2, e.PhaseEntered(phase="checking")),
    told(3, e.RepositoryResolved(url="https://x/y", commit="c" * 40)),
    told(1, e.TrainingStarted(rounds=3, strategy="FedAvg", learners=["a", "b"]), source="/aggregator/a.0"),
    told(
        2,
        e.RoundFinished(round=1, rounds=3, accuracy=0.5, loss=1.0, duration_s=1, participants=[], is_best=True),
        source="/aggregator/a.0",
    ),
]
END = [told(4, e.ProjectFailed(stage="training", reason="no learner is left")), told(5, e.PhaseEntered(phase="failed"))]


@dataclass
class Desk:
    """A manager's log that answers, and an observer that reads."""

    broker: MemoryBroker
    directory: Path
    log: list[Envelope] = field(default_factory=list)
    topics: Topics = field(default_factory=Topics)

    def __post_init__(self) -> None:
        self.bus = self.broker.connect("desk")
        self._inbox = self.bus.subscribe(self.topics.project_inbox(ID))
        self._requests = self.bus.subscribe(self.topics.request("events"), self.topics.request("inbox"))
        self.kept: list[dict[str, Any]] = []
        self.entries: dict[str, int] = {}
        self.texts: list[str] = []
        self.garbage: list[dict[str, Any]] = []
        self._closing = threading.Event()
        self._manager = threading.Thread(target=self._answer)
        self._manager.start()

    def start(self) -> None:
        self.stopping = threading.Event()
        self.bus_of_observer: Bus = self.broker.connect("observer.0", persistent=True)
        identity = ServiceIdentity("observer", "observer.0", "observer", "observatory", "Ada", "", ID)
        context = ServiceContext(
            identity=identity,
            config={"project_app": "projx"},
            directory=self.directory,
            settings=Settings(home=self.directory),
            topics=self.topics,
            bus=self.bus_of_observer,
            events=cast("Any", None),
            stopping=self.stopping,
        )
        self.store = SqliteInbox(self.directory / "inbox.db")
        requests = RequestClient(self.bus_of_observer, self.topics, "observer.0")
        self.thread = threading.Thread(target=run, args=(context, self.store, requests))
        self.thread.start()

    def stop(self) -> None:
        self.stopping.set()
        self.thread.join(20)
        self.bus_of_observer.close()
        self.store.close()

    def close(self) -> None:
        self._closing.set()
        self._manager.join(10)

    def reopen(self) -> None:
        self._closing.clear()
        self._manager = threading.Thread(target=self._answer)
        self._manager.start()

    def receive_question(self, timeout_s: float) -> Delivery | None:
        """What the manager would be asked, while it is away."""
        return self._requests.receive(timeout_s)

    def happen(self, *envelopes: Envelope, on_the_wire: bool = True) -> None:
        self.log += [envelope for envelope in envelopes if envelope not in self.log]
        for envelope in envelopes if on_the_wire else ():
            self.bus.publish(self.topics.project_events(ID), envelope.encode())

    def await_entries(self, number: int) -> list[str]:
        def look() -> bool:
            while (delivery := self._inbox.receive(0.01)) is not None:
                entry = decode_envelope(delivery.topic, delivery.payload)
                if entry.id not in self.entries:
                    self.entries[entry.id] = entry.sequence
                    self.texts.append(entry.data["text"])
                    self.kept.append(entry.data)
                    watermark = encode_watermarks({entry.source: max(self.entries.values())})
                    self.bus.publish(self.topics.project_confirmed(ID), watermark, retain=True)
            return len(self.entries) >= number

        wait_until(look, 20)
        return self.texts

    def _answer(self) -> None:
        while not self._closing.is_set():
            delivery = self._requests.receive(0.05)
            if delivery is None:
                continue
            question = decode_envelope(delivery.topic, delivery.payload)
            if delivery.topic == self.topics.request("inbox"):
                answer(self.bus, delivery, question, {"entries": self.kept[question.data["after"] :], "more": False})
                continue
            positions = list(enumerate(self.log, start=1))
            found = [item for item in positions if item[0] > question.data["after"]]
            events = [{"position": n, "envelope": item.model_dump(mode="json")} for n, item in found]
            told = self.garbage.pop() if self.garbage else {"events": events, "more": False}
            answer(self.bus, delivery, question, told)


@pytest.fixture
def desk(memory_broker: MemoryBroker, tmp_path: Path) -> Iterator[Desk]:
    made = Desk(memory_broker, tmp_path)
    yield made
    if made.thread.is_alive():
        made.stop()
    made.close()


def test_what_happened_before_it_came_is_read_from_the_managers_log(desk: Desk) -> None:
    desk.happen(*STORY, on_the_wire=False)
    desk.start()

    texts = desk.await_entries(5)

    assert "accepted" in texts[0]
    assert sorted(desk.entries.values()) == [1, 2, 3, 4, 5]


def test_an_event_delivered_three_times_is_one_entry(desk: Desk) -> None:
    desk.start()
    for _ in range(3):
        desk.happen(*STORY)

    desk.await_entries(5)

    assert desk.store.last_sequence() == 5


def test_events_that_the_broker_lost_are_fetched_before_later_ones_are_shown(desk: Desk) -> None:
    desk.start()
    desk.happen(STORY[0])
    desk.await_entries(1)
    desk.happen(STORY[1], on_the_wire=False)
    desk.happen(STORY[2])

    texts = desk.await_entries(3)

    assert "Checking" in texts[1]
    assert "commit" in texts[2]


def test_an_observer_that_has_lost_its_disk_goes_on_with_the_entries_that_the_manager_has(desk: Desk) -> None:
    desk.start()
    desk.happen(STORY[0], STORY[1], STORY[3])
    desk.await_entries(3)
    desk.stop()
    desk.log[1], desk.log[2] = desk.log[2], desk.log[1]  # the manager heard of them in another order
    (desk.directory / "inbox.db").unlink()
    for file in desk.directory.glob("inbox.db-*"):
        file.unlink()
    desk.happen(STORY[2], STORY[4], *END)
    desk.start()

    texts = desk.await_entries(6)
    desk.thread.join(10)

    assert not desk.thread.is_alive()
    assert sorted(desk.entries.values()) == [1, 2, 3, 4, 5, 6]
    assert len(set(texts)) == 6
    status = desk.store.status()
    assert status is not None
    assert (status.phase, status.entries, status.round) == ("failed", 6, 1)


def test_it_goes_on_where_it_was_after_a_restart(desk: Desk) -> None:
    desk.start()
    desk.happen(*STORY[:3])
    desk.await_entries(3)
    desk.stop()
    desk.happen(*STORY[3:])
    desk.start()

    desk.await_entries(5)

    assert sorted(desk.entries.values()) == [1, 2, 3, 4, 5]


def test_it_ends_when_the_project_has_ended_and_the_manager_has_every_entry(desk: Desk) -> None:
    desk.start()
    desk.happen(*STORY, *END)

    desk.await_entries(6)
    desk.thread.join(10)

    assert not desk.thread.is_alive()
    status = desk.store.status()
    assert status is not None
    assert (status.phase, status.reason, status.round, status.entries) == ("failed", "no learner is left", 1, 6)
    assert desk.store.unconfirmed(ID, 1) == []


def test_a_retried_projects_inbox_goes_on_where_it_had_ended(desk: Desk) -> None:
    desk.start()
    desk.happen(*STORY, *END)
    desk.await_entries(6)
    desk.thread.join(10)
    desk.stop()
    last = max(envelope.sequence for envelope in [*STORY, *END] if envelope.source == MANAGER)
    again = [
        told(last + 1, e.RetryRequested(stage="training", by="Ada")),
        told(last + 2, e.PhaseEntered(phase="deploying")),
        told(1, e.TrainingStarted(rounds=3, strategy="FedAvg", learners=["a"], resumed_after=1), source="/a/a1r1.0"),
        told(last + 3, e.ProjectCompleted(best_accuracy=0.9)),
        told(last + 4, e.PhaseEntered(phase="completed")),
    ]
    desk.happen(*again[:3])
    desk.start()

    texts = desk.await_entries(9)
    status = desk.store.status()
    assert status is not None
    assert (status.phase, status.reason) == ("deploying", "")
    desk.happen(*again[3:])
    texts = desk.await_entries(10)
    desk.thread.join(10)

    assert not desk.thread.is_alive()
    assert sorted(desk.entries.values()) == list(range(1, 11))
    assert "goes on from the stage 'training'" in texts[6]
    assert "resumed after round 1" in texts[8]


def test_what_was_told_before_it_listened_and_confirmed_later_is_there_before_the_last_word(desk: Desk) -> None:
    desk.start()
    desk.happen(*STORY[:4])
    desk.await_entries(4)
    desk.happen(STORY[4], on_the_wire=False)
    desk.happen(*END)

    texts = desk.await_entries(6)

    assert "Round 1" in texts[4]
    assert "no learner is left" in texts[5]


def test_it_does_not_end_before_the_manager_has_every_entry(desk: Desk) -> None:
    desk.start()
    desk.happen(*STORY, *END)

    wait_until(lambda: desk.store.last_sequence() == 6)
    desk.thread.join(1)

    assert desk.thread.is_alive()
    desk.await_entries(6)
    desk.thread.join(10)
    assert not desk.thread.is_alive()


def test_what_the_manager_waits_for_no_longer_holds_up_no_later_entry(desk: Desk) -> None:
    learner = "/learner/l.0"
    first, second, late, last = (told(n, e.Warned(message=f"word {n}"), source=learner) for n in (1, 4, 3, 5))
    desk.start()
    desk.happen(first, told(1, e.EventsMissing(source=learner, first=2, last=3)), second, late, last)

    texts = desk.await_entries(5)

    assert texts == [
        "word 1",
        "Something is missing here: events 2 to 3 of /learner/l.0 did not arrive.",
        "word 4",
        "word 3",
        "word 5",
    ]


def test_an_inbox_that_is_behind_for_long_says_so_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "PATIENCE_S", 0.05)
    monkeypatch.setattr(service, "CATCH_UP_TIMEOUT_S", 0.05)
    monkeypatch.setattr(service, "WAIT_S", 0.05)
    desk.close()  # nobody answers any more
    desk.start()
    desk.happen(STORY[0], told(2, e.RepositoryResolved(url="https://x/y", commit="c" * 40)))

    desk.await_entries(3)
    wait_until(lambda: any("missing here" in text for text in desk.texts))

    assert sum("missing here" in text for text in desk.texts) == 1


def test_what_is_heard_while_the_manager_is_away_waits_for_no_answer(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "CATCH_UP_TIMEOUT_S", 2.0)
    desk.start()
    desk.happen(STORY[0])
    desk.await_entries(1)
    desk.close()
    begun, delays_s = time.monotonic(), [0.0]

    while time.monotonic() - begun < 4:  # a look is due in that time, and waits for half of it
        asked = time.monotonic()
        desk.happen(told(len(delays_s), e.Warned(message="word"), source="/learner/l.0"))
        desk.await_entries(1 + len(delays_s))
        delays_s.append(time.monotonic() - asked)

    assert max(delays_s) < 1


def test_an_answer_that_is_older_than_what_was_heard_keeps_nobody_from_asking_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "WAIT_S", 0.05)
    monkeypatch.setattr(service, "CATCH_UP_TIMEOUT_S", 0.05)
    desk.start()
    desk.happen(STORY[0])
    desk.await_entries(1)
    desk.close()
    for _ in range(12):  # it looks after the manager more and more rarely
        assert desk.receive_question(10) is not None
    monkeypatch.setattr(service, "CATCH_UP_TIMEOUT_S", 10.0)
    asked = [desk.receive_question(10)]
    while (question := desk.receive_question(0.3)) is not None:
        asked.append(question)

    begun = time.monotonic()
    desk.happen(*(END[0].model_copy(update={"sequence": 2}), END[1].model_copy(update={"sequence": 3})))
    wait_until(lambda: not desk.broker._sessions["observer.0"].unacknowledged)
    for question in filter(None, asked):
        answer(desk.bus, question, decode_envelope(question.topic, question.payload), {"events": [], "more": False})
    desk.reopen()

    assert "no learner is left" in desk.await_entries(2)[1]
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("garbage", [{}, {"events": [{"position": "x"}], "more": 0}, {"events": [7], "more": 0}])
def test_an_answer_that_is_none_is_asked_for_again(desk: Desk, garbage: dict[str, Any]) -> None:
    desk.garbage = [garbage]
    desk.happen(*STORY, on_the_wire=False)
    desk.start()

    desk.await_entries(5)
    assert not desk.garbage


def test_entries_that_the_broker_cannot_take_are_told_later(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "RESEND_AFTER_S", 0.2)
    desk.start()
    desk.happen(STORY[0])
    desk.await_entries(1)
    refused, publish = [], desk.bus_of_observer.publish

    def refuse(topic: str, payload: bytes, *, retain: bool = False) -> None:
        if topic not in {desk.topics.project_inbox(ID), desk.topics.project_status(ID)}:
            publish(topic, payload, retain=retain)
            return
        refused.append(topic)
        raise BrokerUnreachableError("mqtt://x", "too much is waiting to be sent")

    with monkeypatch.context() as patch:
        patch.setattr(desk.bus_of_observer, "publish", refuse)
        desk.happen(*STORY[1:], *END)
        wait_until(lambda: desk.store.last_sequence() == 6 and len(set(refused)) > 1)

    desk.await_entries(6)
    desk.thread.join(10)
    assert b'"failed"' in desk.broker._retained[desk.topics.project_status(ID)].payload


def test_a_phase_that_comes_while_the_manager_is_silent_is_shown_after_what_led_to_it(desk: Desk) -> None:
    desk.start()
    desk.happen(STORY[0])
    desk.await_entries(1)
    desk.close()
    desk.happen(told(1, e.Warned(message="before"), source="/learner/l.0"), on_the_wire=False)
    desk.happen(STORY[1])
    desk.reopen()

    assert [desk.await_entries(3)[place] for place in (1, 2)] == ["before", desk.texts[-1]]


def test_what_was_told_before_it_listened_and_handled_afterwards_is_asked_for_soon(desk: Desk) -> None:
    desk.start()
    desk.happen(STORY[0])
    desk.await_entries(1)

    desk.happen(*STORY[1:], on_the_wire=False)

    desk.await_entries(5)


def test_an_event_whose_data_do_not_fit_makes_no_entry_and_holds_up_no_later_one(desk: Desk) -> None:
    desk.start()
    desk.happen(STORY[0].model_copy(update={"data": {"user": 7}}), *STORY[1:3])

    texts = desk.await_entries(2)

    assert "Checking" in texts[0]


def test_nonsense_on_its_topic_does_not_stop_it(desk: Desk) -> None:
    desk.start()
    for payload in (b"", b"{", b"\xff", b'{"specversion":"1.0"}'):
        desk.bus.publish(desk.topics.project_events(ID), payload)
    desk.happen(told(0, e.Warned(message="of unknown origin"), source="/elsewhere", event_id=str(uuid.uuid4())))

    assert desk.await_entries(1) == ["of unknown origin"]


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_any_order_with_repetitions_and_catching_up_gives_the_same_entries(data: st.DataObject) -> None:
    store = _MemoryInbox()
    inbox = Inbox(store, project_id=ID, app="projx", source="/observer/o.0/inbox")
    story = [*STORY, *END]
    for envelope in data.draw(st.lists(st.sampled_from(story[:-1]), max_size=30)):  # after the last one nothing counts
        inbox.read(envelope, envelope.event())
        if data.draw(st.booleans()):
            inbox.save()
    for envelope in story:
        inbox.read(envelope, envelope.event())
    inbox.save()

    assert [entry.sequence for entry in store.entries] == list(range(1, 7))
    assert len({entry.id for entry in store.entries}) == 6
    per_source = {
        source: [entry.data["event_id"] for entry in store.entries if entry.data["source"] == source]
        for source in (MANAGER, "/aggregator/a.0")
    }
    assert all(ids == sorted(ids) for ids in per_source.values())


def test_the_last_word_is_the_last_whatever_becomes_of_the_observer() -> None:
    store = _MemoryInbox()
    inbox = Inbox(store, project_id=ID, app="projx", source="/observer/o.0/inbox")
    hung = e.InstanceRestarted(service="observ1", role="observer", instance="observ1.0", restarts=1, reason="silent")
    for envelope in (*STORY, told(4, hung), END[0].model_copy(update={"sequence": 5, "id": "5"})):
        inbox.read(envelope, envelope.event())
    for envelope in (END[1].model_copy(update={"sequence": 6, "id": "6"}), told(7, hung)):
        inbox.read(envelope, envelope.event())
    inbox.save()

    texts = [entry.data["text"] for entry in store.entries]
    assert "observ1.0 crashed and was restarted" in texts[-2]
    assert "no learner is left" in texts[-1]


def test_an_entry_of_a_large_event_stays_small() -> None:
    inbox = Inbox(_MemoryInbox(), project_id=ID, app="projx", source="/observer/o.0/inbox")
    participants = [e.Participant(learner=f"learner-{number}") for number in range(10_000)]
    large = e.RoundFinished(
        round=1, rounds=3, accuracy=0.5, loss=1.0, duration_s=1, participants=participants, is_best=True
    )

    inbox.read(told(1, large), large)
    (entry,) = inbox.save()

    assert decode_envelope("inbox", entry).data["data"] == {}
    assert len(entry) < 4 * e.MAX_TEXT


def test_what_could_not_be_saved_is_read_again() -> None:
    store = _MemoryInbox()
    inbox = Inbox(store, project_id=ID, app="projx", source="/observer/o.0/inbox")
    inbox.read(STORY[0], STORY[0].event())
    store.is_full = True
    with pytest.raises(StoreUnavailableError):
        inbox.save()
    store.is_full = False

    assert inbox.save() == []
    for envelope in STORY[:2]:
        inbox.read(envelope, envelope.event())
    entries = [decode_envelope("inbox", entry) for entry in inbox.save()]

    assert [entry.sequence for entry in entries] == [1, 2]
    assert store.entries == entries
    assert inbox.save() == []


def test_what_waits_together_costs_one_write(desk: Desk) -> None:
    words = [told(number, e.Warned(message=f"word {number}"), source="/learner/l.0") for number in range(1, 101)]
    writes: list[int] = []
    has_begun, may_go_on = threading.Event(), threading.Event()
    desk.start()
    append = desk.store.append

    def slow_append(readings: Sequence[Reading], status: ProjectStatus) -> None:
        writes.append(len(readings))
        has_begun.set()
        may_go_on.wait(20)
        append(readings, status)

    desk.store.append = slow_append  # type: ignore[method-assign]
    desk.happen(STORY[0])
    assert has_begun.wait(20)
    desk.happen(*words)
    may_go_on.set()

    assert desk.await_entries(101)[1:] == [f"word {number}" for number in range(1, 101)]
    assert writes == [1, 100]


def test_every_failure_has_a_line_with_its_reason() -> None:
    for kind in e.EVENT_TYPES.values():
        if issubclass(kind, e.Failure):
            fields: dict[str, Any] = {
                name: 1 if item.annotation in {int, float} else "x"
                for name, item in kind.model_fields.items()
                if item.is_required()
            }
            fields |= {"reason": "the disk is full"}
            fields |= {"purpose": "actors"} if "purpose" in kind.model_fields else {}
            line = line_of(kind.model_validate(fields))
            assert line is not None
            assert "the disk is full" in line.text


class _MemoryInbox:
    def __init__(self) -> None:
        self.entries: list[Envelope] = []
        self._status: Any = None
        self._watermarks: dict[str, int] = {}
        self._read: set[str] = set()
        self.is_full = False

    def status(self) -> Any:  # noqa: ANN401  as the port
        return self._status

    def watermarks(self) -> dict[str, int]:
        return self._watermarks

    def read_of(self, event_ids: Collection[str]) -> set[str]:
        return self._read.intersection(event_ids)

    def last_sequence(self) -> int:
        return len(self.entries)

    def append(self, readings: Sequence[Reading], status: ProjectStatus) -> None:
        if self.is_full:
            raise StoreUnavailableError("inbox", "the disk is full")
        self._status = status
        for reading in readings:
            self._read.add(reading.event.id)
            reached = {**reading.skipped, reading.event.source: reading.event.sequence}
            self._watermarks |= {source: max(self._watermarks.get(source, 0), to) for source, to in reached.items()}
            if reading.number:
                self.entries.append(decode_envelope("inbox", reading.entry))

    def restore(self, entries: Sequence[Envelope]) -> None:
        raise NotImplementedError

    def was_restored(self, event_id: str) -> bool:
        assert event_id
        return False

    def page(self, *, after: int, limit: int) -> list[Envelope]:
        return self.entries[after : after + limit]
