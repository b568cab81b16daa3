"""What comes before its predecessors waits for them, but not for ever."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from tests.brokers import wait_until

from flops.manager import gaps as gaps_module
from flops.manager.gaps import Gaps
from flops.wire import events as e
from flops.wire.envelope import Envelope

if TYPE_CHECKING:
    from tests.unit.manager.conftest import Office

SOURCE = "/learner/l.0"
ID = "0" * 24


class Clock:
    """A clock that is put forward by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gaps(clock: Clock) -> Gaps:
    return Gaps(clock)


def early(sequence: int) -> Envelope:
    return Envelope(id=f"e{sequence}", source=SOURCE, type="t", time=datetime.now(UTC), sequence=sequence)


def released(gaps: Gaps, watermark: int) -> list[int]:
    """The numbers of what follows, as the manager would handle it."""
    numbers = []
    while following := gaps.following(ID, SOURCE, watermark):
        watermark = following.sequence
        numbers.append(watermark)
    return numbers


def test_what_was_held_follows_in_order_once_the_gap_is_closed(gaps: Gaps) -> None:
    for sequence in (5, 3, 4, 7, 3):
        gaps.hold(ID, early(sequence))

    assert released(gaps, 1) == []
    assert released(gaps, 2) == [3, 4, 5]
    assert released(gaps, 6) == [7]
    assert released(gaps, 6) == []


def test_a_gap_is_overdue_after_a_while_and_says_up_to_which_number(gaps: Gaps, clock: Clock) -> None:
    gaps.hold(ID, early(6))
    gaps.hold(ID, early(5))
    assert gaps.overdue() == []
    clock.now = gaps_module.PATIENCE_S
    assert gaps.overdue() == [(ID, SOURCE, 4)]


def test_a_second_gap_gets_its_own_time(gaps: Gaps, clock: Clock) -> None:
    gaps.hold(ID, early(2))
    gaps.hold(ID, early(4))
    clock.now = gaps_module.PATIENCE_S - 1
    assert released(gaps, 1) == [2]
    clock.now += 2
    assert gaps.overdue() == []


def test_a_flood_of_early_events_is_not_held(gaps: Gaps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaps_module, "MAX_HELD_OF_SOURCE", 3)
    for sequence in range(2, 100):
        gaps.hold(ID, early(sequence))
    assert released(gaps, 1) == [2, 3, 4]


def test_a_forgotten_gap_leaves_nothing(gaps: Gaps, clock: Clock) -> None:
    gaps.hold(ID, early(2))
    gaps.forget(ID, SOURCE)
    clock.now = 1000.0
    assert (gaps.overdue(), released(gaps, 1), gaps._held) == ([], [], 0)


def begun(office: Office) -> str:
    sla = {"customerID": "Ada", "ml_repo_url": "https://github.com/ada/digits", "ml_model_flavor": "sklearn"}
    return office.request({**sla, "training_configuration": {"data_tags": ["digits"]}})


def watermark(office: Office, project_id: str) -> int:
    record = office.store.load(project_id)
    return record.watermarks.get(SOURCE, 0) if record else 0


def told(office: Office, project_id: str) -> list[tuple[str, int]]:
    """What the source has told, and that something of it is missing, in the order of the manager's log."""
    logged = [item for _, item in office.store.events(project_id, after=0, limit=1000)]
    return [(item.type, item.sequence) for item in logged if item.source == SOURCE or item.type == "events.missing"]


def test_events_that_overtake_each_other_are_handled_in_order_without_being_sent_again(office: Office) -> None:
    project_id = begun(office)
    for sequence in (3, 2, 4, 1):
        office.tell(project_id, SOURCE, sequence, e.Warned(message=str(sequence)))

    wait_until(lambda: watermark(office, project_id) == 4)

    assert [sequence for _, sequence in told(office, project_id)] == [1, 2, 3, 4]


def test_entries_that_overtake_each_other_are_kept_in_order_without_being_sent_again(office: Office) -> None:
    project_id = begun(office)
    source = f"/observer/observ{project_id[:12]}.0/inbox"
    for sequence in (3, 2, 4, 1):
        envelope = Envelope(
            id=f"entry-{sequence}",
            source=source,
            type="inbox.entry",
            subject=project_id,
            time=datetime.now(UTC),
            data={"text": str(sequence)},
            sequence=sequence,
        )
        office.bus.publish(office.topics.project_inbox(project_id), envelope.encode())

    wait_until(lambda: len(office.store.entries(project_id, after=0, limit=10)) == 4)

    kept = office.store.entries(project_id, after=0, limit=10)
    assert [entry.sequence for entry in kept] == [1, 2, 3, 4]


def test_what_never_comes_is_said_to_be_missing_and_what_comes_late_is_taken(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gaps_module, "PATIENCE_S", 0.2)
    project_id = begun(office)
    office.tell(project_id, SOURCE, 1, e.Warned(message="1"))
    office.tell(project_id, SOURCE, 4, e.Warned(message="4"))

    missing = office.await_event("events.missing")
    wait_until(lambda: watermark(office, project_id) == 4)
    assert missing.data == {"source": SOURCE, "first": 2, "last": 3}

    office.tell(project_id, SOURCE, 3, e.Warned(message="3"), event_id="late")
    office.tell(project_id, SOURCE, 3, e.Warned(message="3"), event_id="late")
    office.tell(project_id, SOURCE, 5, e.Warned(message="5"))
    wait_until(lambda: watermark(office, project_id) == 5)

    assert [kind for kind, _ in told(office, project_id)].count("events.missing") == 1
    assert [sequence for kind, sequence in told(office, project_id) if kind != "events.missing"] == [1, 4, 3, 5]


def test_a_source_that_has_lost_its_count_loses_no_event(office: Office) -> None:
    project_id = begun(office)
    for sequence in (1, 2, 1, 2, 3):  # it was restarted with an empty outbox, and numbers from 1 again
        office.tell(project_id, SOURCE, sequence, e.Warned(message="hm"))

    wait_until(lambda: len(told(office, project_id)) == 5)
    assert watermark(office, project_id) == 3


def test_a_project_has_so_many_sources_and_no_more(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flops.manager.projects.MAX_SOURCES", 1)
    project_id = begun(office)
    office.tell(project_id, SOURCE, 1, e.Warned(message="hm"))
    office.tell(project_id, "/learner/other.0", 1, e.Warned(message="hm"))

    wait_until(lambda: bool(office.store.dead_letters(0, 10)))

    record = office.store.load(project_id)
    assert record is not None
    assert list(record.watermarks) == [SOURCE]
    assert "1 sources" in office.store.dead_letters(0, 10)[0].reason
