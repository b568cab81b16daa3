from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from tests.brokers import wait_until
from tests.doubles.tui import ID, Desk, entry, status

from flops.tui.entries import Entries, full_text, line_of, markdown_of, matches, span
from flops.tui.feed import Feed
from flops.tui.projects import Projects, row_of
from flops.tui.stages import stages_of
from flops.tui.training_view import rounds_of
from flops.tui.watching import Watching

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flops.adapters.memory_bus import MemoryBroker


@pytest.fixture
def watching(desk: Desk) -> Iterator[Watching]:
    feed = Feed(desk.link())
    feed.start()
    yield Watching(feed)
    feed.close()


def numbers(entries: Entries) -> list[int]:
    return [int(shown["sequence"]) for shown in entries.shown]


def sees(watching: Watching, last: int) -> bool:
    watching.look()
    return numbers(watching.entries)[-1:] == [last]


def test_entries_in_any_order_and_number_are_shown_once_in_order() -> None:
    heard = [entry(number) for number in range(1, 101)] * 2
    random.Random(3).shuffle(heard)  # noqa: S311  a repeatable experiment, no secret
    entries = Entries()
    entries.read([])
    for one in heard:
        entries.hear(one)
    assert numbers(entries) == list(range(1, 101))
    assert not entries.has_gap


def test_stages_and_rounds_are_told_from_a_few_entries_as_from_all() -> None:
    chosen = random.Random(5)  # noqa: S311  a repeatable experiment, no secret
    phases = sorted(chosen.choices(["building", "deploying", "training", "packaging"], k=400))
    kinds = chosen.choices(["warned", "training.started", "round.finished"], weights=[20, 1, 1], k=400)
    told = [
        entry(number, stage=phase, event_type=kind, data={"round": number})
        for number, (phase, kind) in enumerate(zip(phases, kinds, strict=True), start=1)
    ]
    entries = Entries()
    entries.read(told[200:300])
    for one in told[300:]:
        entries.hear(one)
    entries.read_older(told[:200])

    now = datetime.now(UTC)
    assert entries.shown == told
    assert stages_of(entries.course, "training", now) == stages_of(told, "training", now)
    assert rounds_of(entries.course) == rounds_of(told)
    assert len(entries.course) < len(told) / 4


def test_a_gap_waits_for_the_history_and_what_is_kept_no_more_is_left_out() -> None:
    entries = Entries()
    entries.read([entry(5)])
    entries.hear(entry(8))
    assert entries.has_gap
    assert numbers(entries) == [5]
    entries.read([entry(6), entry(7)])
    assert numbers(entries) == [5, 6, 7, 8]
    assert entries.read_older([entry(3), entry(4), entry(5)]) == 2
    assert numbers(entries) == [3, 4, 5, 6, 7, 8]


def test_whoever_comes_late_finds_the_whole_inbox(desk: Desk, watching: Watching) -> None:
    desk.kept = [entry(number) for number in range(1, 1801)]
    desk.tell_status(status(entries=1800))
    wait_until(lambda: watching.look().projects or bool(watching.projects.get(ID)))
    watching.select(ID)
    wait_until(lambda: sees(watching, 1800))
    assert watching.entries.first == 801
    while (first := watching.entries.first) > 1:
        watching.load_older()
        wait_until(lambda: bool(watching.look()) and watching.entries.first < first)
    assert numbers(watching.entries) == list(range(1, 1801))


def test_what_was_lost_while_the_broker_was_away_is_asked_for(
    desk: Desk, watching: Watching, memory_broker: MemoryBroker
) -> None:
    desk.kept = [entry(1)]
    watching.select(ID)
    wait_until(lambda: sees(watching, 1))
    memory_broker.stop()
    desk.kept += [entry(2), entry(3)]
    assert not watching.feed.is_connected
    memory_broker.start()
    wait_until(lambda: sees(watching, 3))


def test_an_entry_that_was_lost_on_the_way_is_asked_for(desk: Desk, watching: Watching) -> None:
    desk.kept = [entry(1)]
    watching.select(ID)
    wait_until(lambda: sees(watching, 1))
    desk.kept += [entry(2)]
    desk.tell(entry(3))
    wait_until(lambda: sees(watching, 3))
    assert numbers(watching.entries) == [1, 2, 3]


def test_a_deleted_project_goes_and_an_older_status_does_not_come_back(desk: Desk, watching: Watching) -> None:
    desk.listed = [status()]
    wait_until(lambda: watching.look().projects)
    assert not watching.projects.hear(status(updated="2029-01-01T10:00:00+00:00", phase="training"))
    desk.delete(ID)
    wait_until(lambda: bool(watching.look()) and not watching.projects.listed())


def test_only_ones_own_projects_are_listed() -> None:
    projects = Projects("Ada")
    projects.hear(status(user="Bob"))
    assert projects.listed() == []
    projects.hear(status(user="Ada"))
    assert [found["user"] for found in projects.listed()] == ["Ada"]


def test_what_a_person_reads_of_a_project() -> None:
    cells = row_of(status(phase="failed", reason="no\x1b[2J data", accuracy=0.5, round=2))
    assert cells[:6] == ("✗", ID[:8], "y", "failed", "2/5", "50.00%")
    assert cells[7:] == ("1m00s", "no [2J data")


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0s"), (59, "59s"), (192, "3m12s"), (18_420, "5h07m"), (900_000, "10d")]
)
def test_lengths_of_time(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_an_entry_opens_with_everything_and_obeys_nothing() -> None:
    told: dict[str, Any] = entry(1, details="Traceback\n  \x1b]0;x boom", next_step="mend it", data={"node": "n1"})
    text = full_text(told)
    assert "\x1b" not in text + line_of(told)
    assert all(part in text for part in ("Traceback", "boom", "→ mend it", "n1"))
    assert matches(told, "BOOM")
    assert not matches(told, "elsewhere")
    assert "- next: mend it" in markdown_of(ID, [told])
