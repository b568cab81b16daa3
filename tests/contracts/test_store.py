"""What every store of the managers keeps to."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.brokers import wait_until
from tests.contracts import store_racer
from tests.mongodb import drop_database, new_database

from flops.adapters.mongo_store.schema import MIGRATIONS as MONGO_MIGRATIONS
from flops.adapters.mongo_store.server import MongoServer
from flops.adapters.sqlite_store.schema import MIGRATIONS as SQLITE_MIGRATIONS
from flops.bootstrap import adapters
from flops.errors import StaleVersionError, StoreUnavailableError
from flops.ports import DEAD_LETTERS_AGE_S, DeadLetter, Deadline, PendingItem, ProjectRecord
from flops.project.commands import Undeploy
from flops.project.glance import first_status
from flops.project.state import Phase, Project
from flops.settings import Settings
from flops.wire.envelope import Envelope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flops.ports import Store

ID = "0123456789abcdef01234567"
OTHER = "f" * 24
ME = "manager-1"
RACERS = 4


@pytest.fixture(params=["sqlite", "mongodb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where a store is that nobody has used yet."""
    if request.param == "sqlite":
        yield f"sqlite://{tmp_path}/store/flops.db"
        return
    made = new_database(request.getfixturevalue("mongodb"))
    yield made
    drop_database(made)


@pytest.fixture
def open_store(url: str, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Opens the same store once more, as another manager would."""
    with ExitStack() as opened:
        yield lambda: opened.enter_context(closing(adapters.store(Settings(home=tmp_path, store_url=url))))


@pytest.fixture
def store(open_store: Callable[[], Store]) -> Store:
    return open_store()


def record(project_id: str = ID, *, created: str = "2026-01-01", owner: str = ME) -> ProjectRecord:
    return ProjectRecord(Project(project_id, user="Ada"), first_status(project_id, created), owner=owner)


def ended(project_id: str, updated: str) -> ProjectRecord:
    made = record(project_id)
    status = made.status.model_copy(update={"phase": "completed", "updated": updated})
    return replace(made, project=replace(made.project, phase=Phase.COMPLETED), status=status)


def envelope(number: int, *, sequence: int = 0, text: str = "") -> Envelope:
    return Envelope(
        id=f"e{number}",
        source="/x",
        type="t",
        time=datetime.now(UTC),
        data={"n": number, "text": text},
        sequence=sequence,
    )


class TestProjects:
    def test_what_is_saved_is_loaded(self, store: Store) -> None:
        saved = store.save(replace(record(), own_sequence=3, watermarks={"/builder/b.0": 7, "$a.b": 1}))

        assert saved.revision == 1
        assert saved.owner == ME
        assert store.load(ID) == saved
        assert store.load(OTHER) is None

    def test_a_stale_revision_changes_nothing(self, store: Store) -> None:
        first = store.save(record())
        second = store.save(replace(first, project=replace(first.project, phase=Phase.CHECKING)), events=[envelope(1)])

        with pytest.raises(StaleVersionError):
            store.save(first, events=[envelope(2)])
        with pytest.raises(StaleVersionError):
            store.save(record(), events=[envelope(3)])

        assert store.load(ID) == second
        assert [item.id for _, item in store.events(ID, after=0, limit=10)] == ["e1"]

    def test_what_is_written_together_is_read_at_once_and_there_for_others_at_the_end(
        self, store: Store, open_store: Callable[[], Store]
    ) -> None:
        other = open_store()
        with store.together():
            saved = store.save(record(), events=[envelope(1)])
            with pytest.raises(StaleVersionError):
                store.save(record())
            store.save(record(OTHER))
            assert store.load(ID) == saved
            assert store.has_event(ID, "e1")

        assert other.load(ID) == saved
        assert {item.project.id for item in other.projects()} == {ID, OTHER}

    def test_projects_are_listed_newest_first(self, store: Store) -> None:
        store.save(record(created="2026-01-01"))
        store.save(record(OTHER, created="2026-02-01"))

        assert [item.project.id for item in store.projects()] == [OTHER, ID]
        assert [item.project.id for item in store.projects("Ada")] == [OTHER, ID]
        assert store.projects("Bob") == []

    def test_lists_of_projects_come_page_by_page(self, store: Store) -> None:
        """Also where several were made at the same time, and whatever was made or deleted since the last page."""
        ids = [f"{number:024x}" for number in range(1, 8)]
        for number, project_id in enumerate(ids):
            store.save(record(project_id, created=f"2026-01-0{1 + number // 3}"))
        newest_first = ids[::-1]

        first = store.projects(limit=3)
        assert [item.project.id for item in first] == newest_first[:3]
        last = (first[-1].status.created, first[-1].project.id)
        store.save(record("f" * 24, created="2026-02-01"))
        store.delete(first[-1].project.id)
        assert [item.project.id for item in store.projects(before=last, limit=2)] == newest_first[3:5]
        assert [item.project.id for item in store.projects("Ada", before=last)] == newest_first[3:]
        assert store.projects("Bob", before=last) == []

    def test_the_live_projects_are_those_that_have_not_ended(self, store: Store) -> None:
        live = store.save(record())
        store.save(record("3" * 24, owner="another"))
        ending = store.save(record(OTHER))
        assert [item.project.id for item in store.live(ME)] == [ID, OTHER]

        store.save(replace(ending, project=replace(ending.project, phase=Phase.FAILED)))

        assert store.live(ME) == [live]

    def test_a_deleted_project_leaves_nothing(self, store: Store) -> None:
        store.save(record(), events=[envelope(1)], entries=[envelope(1, sequence=1)], pending=[PendingItem("a", ID)])
        store.set_deadline(Deadline(ID, "checking", 1.0, 1.0))
        store.delete(ID)
        store.delete(ID)

        assert store.load(ID) is None
        assert store.events(ID, after=0, limit=9) == []
        assert store.entries(ID, after=0, limit=9) == []
        assert store.pending(ME) == []
        assert store.take_due(ME, 9.0) == []
        store.save(record(), events=[envelope(1)])
        assert [position for position, _ in store.events(ID, after=0, limit=9)] == [1]

    def test_everything_is_there_after_reopening(self, open_store: Callable[[], Store]) -> None:
        first = open_store()
        saved = first.save(record(), events=[envelope(1)], pending=[PendingItem("a", ID, command=Undeploy("x"))])
        first.close()

        second = open_store()

        assert second.load(ID) == saved
        assert [item.id for item in second.pending(ME)] == ["a"]
        assert [item.id for _, item in second.events(ID, after=0, limit=9)] == ["e1"]


class TestHistory:
    def test_an_event_id_is_saved_once(self, store: Store) -> None:
        first = store.save(record(), events=[envelope(1)])

        assert store.has_event(ID, "e1")
        assert not store.has_event(OTHER, "e1")
        with pytest.raises(StoreUnavailableError):
            store.save(first, events=[envelope(1)])
        assert store.load(ID) == first

    def test_events_have_positions_without_gaps(self, store: Store) -> None:
        saved = store.save(record(), events=[envelope(1), envelope(2)])
        store.save(saved, events=[envelope(3)])
        store.save(record(OTHER), events=[envelope(1)])

        assert [(position, item.data["n"]) for position, item in store.events(ID, after=0, limit=2)] == [(1, 1), (2, 2)]
        assert [position for position, _ in store.events(ID, after=2, limit=10)] == [3]

    def test_entries_are_read_in_pages(self, store: Store) -> None:
        store.save(record(), entries=[envelope(n, sequence=n) for n in (1, 2, 3)])

        assert [entry.sequence for entry in store.entries(ID, after=1, limit=1)] == [2]

    def test_many_and_large_ones_are_kept_in_order(self, store: Store) -> None:
        saved, written = store.save(record()), 0
        for size in (1, 40, 3, 200, 1, 1, 90):
            numbers = range(written + 1, written + size + 1)
            events = [envelope(number, text="ä" * 3_000) for number in numbers]
            entries = [envelope(number, sequence=number) for number in numbers]
            saved = store.save(saved, events=events, entries=entries)
            written += size

        pages = [store.events(ID, after=after, limit=100) for after in range(0, written, 100)]
        assert [(position, item.id) for page in pages for position, item in page] == [
            (number, f"e{number}") for number in range(1, written + 1)
        ]
        assert [item.sequence for item in store.entries(ID, after=0, limit=999)] == list(range(1, written + 1))
        assert all(store.has_event(ID, f"e{number}") for number in (1, 2, 41, 100, written))
        with pytest.raises(StoreUnavailableError):
            store.save(saved, events=[envelope(1)])

    def test_the_history_of_a_project_that_has_ended_can_be_forgotten(self, store: Store) -> None:
        store.save(record(), events=[envelope(1)])
        saved = store.save(
            ended(OTHER, "2026-01-03T10:00:00+00:00"), events=[envelope(1)], entries=[envelope(1, sequence=1)]
        )

        assert store.ended_before("2026-01-03T10:00:00+00:00", 9) == []
        assert store.ended_before("2026-01-04T00:00:00+00:00", 9) == [OTHER]
        store.forget_history(OTHER)
        store.forget_history(OTHER)

        assert store.ended_before("2026-01-04T00:00:00+00:00", 9) == []
        assert store.events(OTHER, after=0, limit=9) == []
        assert store.entries(OTHER, after=0, limit=9) == []
        assert store.load(OTHER) == saved
        assert [position for position, _ in store.events(ID, after=0, limit=9)] == [1]

    def test_after_forgetting_the_numbering_goes_on(self, store: Store) -> None:
        saved = store.save(ended(ID, "2026-01-03T10:00:00+00:00"), events=[envelope(1), envelope(2)])
        store.forget_history(ID)

        store.save(saved, events=[envelope(3)])

        assert [(position, item.id) for position, item in store.events(ID, after=0, limit=9)] == [(3, "e3")]
        assert store.ended_before("2026-01-04T00:00:00+00:00", 9) == [ID]

    def test_compacting_loses_nothing(self, store: Store) -> None:
        saved = store.save(record(), events=[envelope(n, text="x" * 9_000) for n in range(1, 200)])
        store.save(
            ended(OTHER, "2026-01-01T00:00:00+00:00"), events=[envelope(n, text="x" * 9_000) for n in range(300)]
        )
        store.delete(OTHER)

        store.compact()

        assert store.load(ID) == saved
        assert len(store.events(ID, after=0, limit=999)) == 199


class TestPendingItems:
    def test_they_stay_in_order_until_cleared(self, store: Store) -> None:
        items = [PendingItem("a", ID, command=Undeploy("x")), PendingItem("b", ID, envelope=envelope(1))]
        saved = store.save(record(), pending=items)
        store.save(saved, pending=[PendingItem("c", ID, command=Undeploy("y"))])

        assert [item.id for item in store.pending(ME)] == ["a", "b", "c"]
        assert store.pending(ME)[:2] == items
        store.clear(items[0])
        store.clear(items[0])
        assert [item.id for item in store.pending(ME)] == ["b", "c"]

    def test_clearing_makes_no_save_stale(self, store: Store) -> None:
        item = PendingItem("a", ID, command=Undeploy("x"))
        saved = store.save(record(), pending=[item])
        store.clear(item)

        assert store.save(saved).revision == 2

    def test_they_are_their_owner_s(self, store: Store) -> None:
        store.save(record(), pending=[PendingItem("a", ID, command=Undeploy("x"))])
        store.save(record(OTHER, owner="another"), pending=[PendingItem("b", OTHER, command=Undeploy("x"))])

        assert [item.id for item in store.pending(ME)] == ["a"]
        assert [item.id for item in store.pending("another")] == ["b"]
        assert store.pending("") == []


class TestDeadlines:
    def test_a_new_one_replaces_the_project_s_old_one(self, store: Store) -> None:
        store.save(record())
        store.set_deadline(Deadline(ID, "checking", 10.0, 5.0))
        store.set_deadline(Deadline(ID, "building", 20.0, 5.0))

        assert store.take_due(ME, 15.0) == []
        due = store.take_due(ME, 20.0)
        assert [item.name for item in due] == ["building"]
        store.drop_deadline(due[0])
        assert store.take_due(ME, 99.0) == []

    def test_dropping_one_leaves_its_successor(self, store: Store) -> None:
        store.save(record())
        first, second = Deadline(ID, "checking", 10.0, 5.0), Deadline(ID, "building", 20.0, 5.0)
        store.set_deadline(first)
        store.set_deadline(second)
        store.drop_deadline(first)

        assert store.take_due(ME, 99.0) == [second]

    def test_the_owner_alone_is_told_the_earliest_first(self, store: Store) -> None:
        store.save(record())
        store.save(record(OTHER))
        store.save(record("a" * 24, owner="another"))
        deadlines = [Deadline(OTHER, "x", 3.0, 1.0), Deadline(ID, "x", 4.0, 1.0), Deadline("a" * 24, "x", 2.0, 1.0)]
        for deadline in deadlines:
            store.set_deadline(deadline)

        assert store.take_due(ME, 99.0) == deadlines[:2]


class TestSeveralManagers:
    def test_adopted_projects_are_the_new_owner_s_alone(self, open_store: Callable[[], Store]) -> None:
        former, successor = open_store(), open_store()
        item = PendingItem("a", ID, command=Undeploy("x"))
        saved = former.save(record(), pending=[item])
        former.save(record(OTHER, owner="third"))
        former.set_deadline(Deadline(ID, "x", 1.0, 1.0))

        assert successor.adopt(ME, "successor") == [ID]

        assert successor.pending("successor") == [item]
        assert former.pending(ME) == []
        assert former.take_due(ME, 9.0) == []
        assert len(successor.take_due("successor", 9.0)) == 1
        with pytest.raises(StaleVersionError):
            former.save(saved)
        adopted = successor.load(ID)
        assert adopted == replace(saved, revision=saved.revision + 1, owner="successor")
        assert successor.save(adopted).owner == "successor"
        assert successor.adopt(ME, "successor") == []

    def test_what_nobody_owns_can_be_adopted(self, store: Store) -> None:
        store.save(record(owner=""))

        assert store.adopt("", ME) == [ID]

    def test_signs_of_life_are_counted(self, open_store: Callable[[], Store]) -> None:
        first, second = open_store(), open_store()
        for _ in range(3):
            first.beat("a")
        second.beat("b.$c")

        assert second.beats() == {"a": 3, "b.$c": 1}
        second.retire("a")
        second.retire("a")
        assert first.beats() == {"b.$c": 1}

    def test_an_office_changes_hands_only_from_its_holder(self, open_store: Callable[[], Store]) -> None:
        first, second = open_store(), open_store()

        assert first.holder("intake") == ""
        assert first.take_office("intake", "a", "")
        assert first.take_office("intake", "a", "")
        assert not second.take_office("intake", "b", "")
        assert not second.take_office("intake", "b", "c")
        assert second.holder("intake") == "a"
        assert second.take_office("intake", "b", "a")
        assert not first.take_office("intake", "a", "")
        assert first.holder("intake") == "b"
        assert first.holder("another") == ""

    def test_facts_are_remembered(self, open_store: Callable[[], Store]) -> None:
        store, other = open_store(), open_store()

        assert store.recall("cursor") == ""
        store.remember("cursor", "7")
        store.remember("cursor", "8")
        assert other.recall("cursor") == "8"


class TestRaces:
    """Threads with a store each, and processes."""

    def test_of_two_writers_one_wins(self, open_store: Callable[[], Store]) -> None:
        saved = open_store().save(record())
        stores = [open_store() for _ in range(8)]

        def write(number: int) -> str:
            try:
                stores[number].save(saved, events=[envelope(number)])
            except StaleVersionError:
                return "lost"
            return "won"

        assert sorted(together(write, 8)) == ["lost"] * 7 + ["won"]
        assert len(stores[0].events(ID, after=0, limit=99)) == 1

    def test_a_new_project_is_made_once(self, open_store: Callable[[], Store]) -> None:
        stores = [open_store() for _ in range(8)]

        def begin(number: int) -> str:
            try:
                stores[number].save(record(owner=f"m{number}"), events=[envelope(number)])
            except StaleVersionError:
                return "lost"
            return f"m{number}"

        outcomes = together(begin, 8)

        (winner,) = set(outcomes) - {"lost"}
        made = stores[0].load(ID)
        assert made is not None
        assert made.owner == winner
        assert outcomes.count("lost") == 7

    def test_one_takes_the_office(self, open_store: Callable[[], Store]) -> None:
        stores = [open_store() for _ in range(8)]

        outcomes = together(lambda number: stores[number].take_office("intake", f"m{number}", ""), 8)

        assert outcomes.count(True) == 1
        assert stores[0].holder("intake") == f"m{outcomes.index(True)}"

    def test_each_project_is_adopted_by_one(self, open_store: Callable[[], Store]) -> None:
        stores = [open_store() for _ in range(4)]
        ids = [f"{number:024x}" for number in range(20)]
        for project_id in ids:
            stores[0].save(record(project_id, owner="former"))

        adopted = together(lambda number: stores[number].adopt("former", f"m{number}"), 4)

        assert sorted(project_id for share in adopted for project_id in share) == ids
        owners = {f"m{number}": sorted(share) for number, share in enumerate(adopted) if share}
        assert {
            name: sorted(r.project.id for r in stores[0].projects() if r.owner == name) for name in owners
        } == owners

    def test_adopting_makes_what_is_being_saved_stale_or_comes_after_it(self, open_store: Callable[[], Store]) -> None:
        former, successor = open_store(), open_store()
        former.save(record())
        kept: list[int] = []

        def write() -> None:
            saved = former.load(ID)
            while saved is not None and saved.owner == ME:
                try:
                    saved = former.save(replace(saved, own_sequence=saved.own_sequence + 1))
                except StaleVersionError:
                    return
                kept.append(saved.own_sequence)

        writer = threading.Thread(target=write)
        writer.start()
        wait_until(lambda: len(kept) > 5)
        successor.adopt(ME, "successor")
        writer.join()

        last = successor.load(ID)
        assert last is not None
        assert last.owner == "successor"
        assert last.own_sequence == kept[-1]

    def test_signs_of_life_from_everywhere_are_all_counted(self, open_store: Callable[[], Store]) -> None:
        stores = [open_store() for _ in range(4)]

        def live(number: int) -> None:
            for _ in range(25):
                stores[number].beat("m")

        together(live, 4)

        assert stores[0].beats() == {"m": 100}

    def test_dead_letters_from_everywhere_have_numbers_of_their_own(self, open_store: Callable[[], Store]) -> None:
        stores = [open_store() for _ in range(4)]

        now = datetime.now(UTC).timestamp()

        def put_aside(number: int) -> None:
            for _ in range(25):
                stores[number].keep_dead_letter("t", b"x", "r", now)

        together(put_aside, 4)

        assert len({letter.number for letter in stores[0].dead_letters(0, 999)}) == 100

    def test_processes_race_as_threads_do(self, url: str, store: Store) -> None:
        store.save(record(owner="former"))

        assert Counter(map(str, race(url, "take_office"))) == {"True": 1, "False": RACERS - 1}
        assert sorted(map(str, race(url, "adopt"))) == sorted([str([ID]), *["[]"] * (RACERS - 1)])
        won = [outcomes.count(True) for outcomes in race(url, "save")]
        last = store.load(ID)
        assert last is not None
        assert sum(won) > 0
        assert sum(won) == sum(last.watermarks.values()) == last.revision - 2


class TestDeadLetters:
    def test_they_are_read_in_pages_and_dropped(self, store: Store) -> None:
        now = datetime.now(UTC).timestamp()
        for number in range(5):
            store.keep_dead_letter(f"t/{number}", b"\xff{", "no JSON", now + number)

        letters = store.dead_letters(0, 3)
        assert letters[0] == DeadLetter(letters[0].number, "t/0", b"\xff{", "no JSON", now)
        assert [letter.topic for letter in letters] == ["t/0", "t/1", "t/2"]
        assert [letter.topic for letter in store.dead_letters(letters[-1].number, 99)] == ["t/3", "t/4"]
        assert store.drop_dead_letters([letters[0].number, letters[2].number, 99_999]) == 2
        assert store.drop_dead_letters([letters[0].number]) == 0
        assert [letter.topic for letter in store.dead_letters(0, 99)] == ["t/1", "t/3", "t/4"]
        assert store.drop_dead_letters(None) == 3
        assert store.dead_letters(0, 99) == []

    def test_old_ones_are_forgotten(self, store: Store) -> None:
        now = datetime.now(UTC).timestamp()
        store.keep_dead_letter("old", b"", "r", now - DEAD_LETTERS_AGE_S - 60)
        store.keep_dead_letter("young", b"", "r", now - DEAD_LETTERS_AGE_S + 60)
        store.keep_dead_letter("new", b"", "r", now)

        assert [letter.topic for letter in store.dead_letters(0, 9)] == ["young", "new"]

    def test_a_number_is_never_used_twice(self, store: Store) -> None:
        now = datetime.now(UTC).timestamp()
        store.keep_dead_letter("t", b"", "r", now)
        (first,) = store.dead_letters(0, 9)
        store.drop_dead_letters(None)
        store.keep_dead_letter("t", b"", "r", now)

        assert store.dead_letters(0, 9)[0].number > first.number


def together(do: Callable[[int], Any], threads: int) -> list[Any]:
    """What several threads that begin at the same moment come to."""
    barrier, outcomes = threading.Barrier(threads), [None] * threads

    def run(number: int) -> None:
        barrier.wait()
        outcomes[number] = do(number)

    running = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return outcomes


def race(url: str, deed: str) -> list[Any]:
    """What several processes that begin at the same moment come to."""
    command = [sys.executable, str(Path(store_racer.__file__)), url, deed]
    racers = [
        subprocess.Popen([*command, f"p{number}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for number in range(RACERS)
    ]
    for racer in racers:
        assert racer.stdout
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin
        racer.stdin.write("go\n")
        racer.stdin.flush()
    return [json.loads(racer.communicate(timeout=60)[0]) for racer in racers]


class TestSchema:
    def test_a_store_of_a_later_version_is_refused_and_left_as_it_is(
        self, open_store: Callable[[], Store], url: str
    ) -> None:
        open_store().save(record())
        set_version(url, 99)

        with pytest.raises(StoreUnavailableError, match=r"its schema 99 was made by a later version"):
            open_store()
        assert version_of(url) == 99

    def test_managers_that_start_at_the_same_time_agree(self, open_store: Callable[[], Store], url: str) -> None:
        together(lambda number: open_store().beat(f"manager-{number}"), RACERS)

        assert len(open_store().beats()) == RACERS
        assert version_of(url) == len(SQLITE_MIGRATIONS if url.startswith("sqlite") else MONGO_MIGRATIONS)


def version_of(url: str) -> int:
    """The version of the schema that a store says it has."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite://"))) as database:
            return int(database.execute("PRAGMA user_version").fetchone()[0])
    with closing(MongoServer(url)) as server:
        return int((server.collection("schema").find_one() or {})["version"])


def set_version(url: str, version: int) -> None:
    """Let a store say that it has another version."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite://"))) as database:
            database.execute(f"PRAGMA user_version = {version}")
        return
    with closing(MongoServer(url)) as server:
        server.collection("schema").update_one({"_id": "schema"}, {"$set": {"version": version}})
