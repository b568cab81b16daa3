from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flops.adapters.sqlite_store import SqliteStore
from flops.adapters.sqlite_store.schema import MIGRATIONS
from flops.errors import StoreUnavailableError
from flops.ports import Deadline, PendingItem
from flops.project.commands import Undeploy
from flops.project.state import Phase

if TYPE_CHECKING:
    from collections.abc import Iterator

ID = "0123456789abcdef01234567"
ENDED = "f" * 24


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that the first version of the schema was used in."""
    made = tmp_path / "flops.db"
    with closing(sqlite3.connect(made)) as database:
        database.executescript((Path(__file__).parent / "version_1.sql").read_text())
    return made


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore(path)) as opened:
        yield opened


def test_what_an_earlier_version_saved_is_all_there(store: SqliteStore) -> None:
    assert store.adopt("", "m") == [ID, ENDED]

    record = store.load(ID)
    assert record is not None
    assert (record.project.phase, record.project.user, record.own_sequence) == (Phase.TRAINING, "Ada", 2)
    assert record.watermarks == {"/builder/b.0": 7}
    assert [(position, event.id) for position, event in store.events(ID, after=0, limit=9)] == [(1, "e1"), (2, "e2")]
    assert [entry.sequence for entry in store.entries(ID, after=0, limit=9)] == [1]
    first, second = store.pending("m")
    assert first == PendingItem("a", ID, command=Undeploy("x"))
    assert second.envelope is not None
    assert store.take_due("m", 10.0) == [Deadline(ID, "training", 10.0, 5.0)]
    assert store.recall("cursor") == "7"
    assert [letter.payload for letter in store.dead_letters(0, 9)] == [b"\xff{"]
    assert store.ended_before("2026-01-04T00:00:00+00:00", 9) == [ENDED]


@pytest.mark.parametrize("user", ["", "Ada"])
def test_a_page_of_projects_is_found_without_reading_all_of_them(path: Path, store: SqliteStore, user: str) -> None:
    queries: list[str] = []
    store._file._readers.set_trace_callback(queries.append)
    store.projects(user, before=("2026-01-01", ID), limit=1)

    with closing(sqlite3.connect(path)) as database:
        plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {queries[-1]}")]
    assert plan[0].startswith("SEARCH projects USING INDEX")
    assert len(plan) == 1


def test_the_positions_of_new_events_follow_the_old_ones(store: SqliteStore) -> None:
    record = store.load(ID)
    assert record is not None
    (_, event), *_ = store.events(ID, after=0, limit=1)

    store.save(record, events=[event.model_copy(update={"id": "e9"})])

    assert [position for position, _ in store.events(ID, after=0, limit=9)] == [1, 2, 3]


def test_migrating_happens_once(path: Path) -> None:
    for _ in range(2):
        SqliteStore(path).close()

    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)


def test_a_migration_that_fails_changes_nothing(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE offices (other TEXT)")

    with pytest.raises(StoreUnavailableError):
        SqliteStore(path)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (1,)
        columns = [row[1] for row in database.execute("PRAGMA table_info (projects)")]
    assert "owner" not in columns


def test_a_file_that_is_no_store_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "flops.db"
    path.write_bytes(b"this is no database" * 100)

    with pytest.raises(StoreUnavailableError, match=r"flops\.db"):
        SqliteStore(path)


def test_compacting_gives_space_back(tmp_path: Path) -> None:
    path = tmp_path / "flops.db"
    with closing(SqliteStore(path)) as store:
        for _ in range(50):
            store.keep_dead_letter("t", b"x" * 100_000, "r", 1.0)
        store.drop_dead_letters(None)
        store.compact()

    assert path.stat().st_size < 1_000_000


def test_a_full_disk_is_told_changes_nothing_and_is_recovered_from(store: SqliteStore) -> None:
    record = store.load(ID)
    assert record is not None
    (_, event), *_ = store.events(ID, after=0, limit=1)
    large = event.model_copy(update={"id": "e9", "data": {"text": "x" * 100_000}})
    allow_pages(store, 30)

    with pytest.raises(StoreUnavailableError, match="disk is full") as caught:
        store.save(record, events=[large])
    assert "Free some space" in caught.value.remedy
    assert store.load(ID) == record
    assert not store.has_event(ID, "e9")
    allow_pages(store, 10_000)

    assert store.load(ID) == record
    assert store.save(record, events=[large]).revision == record.revision + 1


def allow_pages(store: SqliteStore, pages: int) -> None:
    """Let the disk be full when the file has that many pages."""
    store._file.write(f"PRAGMA max_page_count = {pages}")
