"""What every store of the manager keeps to."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from flops.adapters.sqlite_store import SqliteStore
from flops.errors import StaleVersionError, StoreUnavailableError
from flops.ports import Deadline, PendingItem, ProjectRecord
from flops.project.commands import Undeploy
from flops.project.glance import first_status
from flops.project.state import Phase, Project
from flops.wire.envelope import Envelope

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flops.ports import Store

ID = "0123456789abcdef01234567"
OTHER = "f" * 24


@pytest.fixture(params=["sqlite"])
def store(tmp_path: Path) -> Iterator[Store]:
    opened = SqliteStore(tmp_path / "store" / "flops.db")
    yield opened
    opened.close()


def record(project_id: str = ID, *, created: str = "2026-01-01") -> ProjectRecord:
    return ProjectRecord(Project(project_id, user="Ada"), first_status(project_id, created))


def envelope(number: int, *, sequence: int = 0) -> Envelope:
    return Envelope(
        id=f"e{number}", source="/x", type="t", time=datetime.now(UTC), data={"n": number}, sequence=sequence
    )


def test_what_is_saved_is_loaded(store: Store) -> None:
    saved = store.save(replace(record(), own_sequence=3, watermarks={"/builder/b.0": 7}))

    assert saved.revision == 1
    assert store.load(ID) == saved
    assert store.load(OTHER) is None


def test_a_stale_revision_changes_nothing(store: Store) -> None:
    first = store.save(record())
    second = store.save(replace(first, project=replace(first.project, phase=Phase.CHECKING)), events=[envelope(1)])

    with pytest.raises(StaleVersionError):
        store.save(first, events=[envelope(2)])
    with pytest.raises(StaleVersionError):
        store.save(record(), events=[envelope(3)])

    assert store.load(ID) == second
    assert [item.id for _, item in store.events(ID, after=0, limit=10)] == ["e1"]


def test_an_event_id_is_saved_once(store: Store) -> None:
    first = store.save(record(), events=[envelope(1)])

    assert store.has_event(ID, "e1")
    assert not store.has_event(OTHER, "e1")
    with pytest.raises(StoreUnavailableError):
        store.save(first, events=[envelope(1)])
    assert store.load(ID) == first


def test_events_have_positions_without_gaps(store: Store) -> None:
    saved = store.save(record(), events=[envelope(1), envelope(2)])
    store.save(saved, events=[envelope(3)])
    store.save(record(OTHER), events=[envelope(1)])

    assert [(position, item.data["n"]) for position, item in store.events(ID, after=0, limit=2)] == [(1, 1), (2, 2)]
    assert [position for position, _ in store.events(ID, after=2, limit=10)] == [3]


def test_entries_are_read_in_pages(store: Store) -> None:
    store.save(record(), entries=[envelope(n, sequence=n) for n in (1, 2, 3)])

    assert [entry.sequence for entry in store.entries(ID, after=1, limit=1)] == [2]


def test_pending_items_stay_in_order_until_cleared(store: Store) -> None:
    items = [PendingItem("a", ID, command=Undeploy("x")), PendingItem("b", ID, envelope=envelope(1))]
    store.save(record(), pending=items)
    store.save(record(OTHER), pending=[PendingItem("c", OTHER, command=Undeploy("y"))])

    assert [item.id for item in store.pending()] == ["a", "b", "c"]
    assert store.pending()[0].command == Undeploy("x")
    store.clear("a")
    store.clear("a")
    assert [item.id for item in store.pending()] == ["b", "c"]


def test_projects_are_listed_newest_first(store: Store) -> None:
    store.save(record(created="2026-01-01"))
    store.save(record(OTHER, created="2026-02-01"))

    assert [item.project.id for item in store.projects()] == [OTHER, ID]
    assert store.projects("Bob") == []


def test_a_new_deadline_replaces_the_project_s_old_one(store: Store) -> None:
    store.set_deadline(Deadline(ID, "checking", 10.0, 5.0))
    store.set_deadline(Deadline(ID, "building", 20.0, 5.0))

    assert store.take_due(15.0) == []
    due = store.take_due(20.0)
    assert [item.name for item in due] == ["building"]
    store.drop_deadline(due[0])
    assert store.take_due(99.0) == []


def test_facts_are_remembered(store: Store) -> None:
    assert store.recall("cursor") == ""
    store.remember("cursor", "7")
    store.remember("cursor", "8")
    assert store.recall("cursor") == "8"


def test_a_deleted_project_leaves_nothing(store: Store) -> None:
    store.save(record(), events=[envelope(1)], entries=[envelope(1, sequence=1)], pending=[PendingItem("a", ID)])
    store.delete(ID)

    assert store.load(ID) is None
    assert store.events(ID, after=0, limit=9) == []
    assert store.entries(ID, after=0, limit=9) == []
    assert store.pending() == []


def test_of_two_writers_one_wins(store: Store) -> None:
    saved = store.save(record())
    outcomes: list[str] = []

    def write(number: int) -> None:
        try:
            store.save(saved, events=[envelope(number)])
            outcomes.append("won")
        except StaleVersionError:
            outcomes.append("lost")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["lost"] * 7 + ["won"]


def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "flops.db"
    first = SqliteStore(path)
    saved = first.save(record(), events=[envelope(1)], pending=[PendingItem("a", ID, command=Undeploy("x"))])
    first.close()

    second = SqliteStore(path)

    assert second.load(ID) == saved
    assert [item.id for item in second.pending()] == ["a"]
    second.close()


def test_a_file_that_is_no_store_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "flops.db"
    path.write_bytes(b"this is no database" * 100)

    with pytest.raises(StoreUnavailableError, match=r"flops\.db"):
        SqliteStore(path)
