"""The MongoDB store while answers are lost, primaries step down and the server is killed."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pytest
from pymongo import MongoClient
from tests.brokers import wait_until
from tests.mongodb import GivenServer, WireTap, drop_database, new_database, start_server
from tests.servers.pulled import free_port

from flops.adapters.mongo_store import MongoStore
from flops.adapters.mongo_store.schema import MIGRATIONS, migrate
from flops.adapters.mongo_store.server import MongoServer
from flops.errors import RecordTooLargeError, StaleVersionError, StoreUnavailableError
from flops.ports import PendingItem, ProjectRecord
from flops.project.commands import Undeploy
from flops.project.glance import first_status
from flops.project.state import Phase, Project
from flops.wire.envelope import Envelope

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.mongodb import MongoDb, OwnMongoDb

ID = "0123456789abcdef01234567"
ME = "manager-1"
STEPPED_DOWN = [(10107, "NotWritablePrimary"), (189, "PrimarySteppedDown"), (11600, "InterruptedAtShutdown")]


@pytest.fixture
def tap(mongodb: MongoDb) -> Iterator[WireTap]:
    if isinstance(mongodb, GivenServer):
        pytest.skip("the wire is only tapped between a store and a server of the tests' own")
    with closing(WireTap(cast("OwnMongoDb", mongodb).port)) as made:
        yield made


@pytest.fixture
def url(mongodb: MongoDb) -> Iterator[str]:
    made = new_database(mongodb)
    yield made
    drop_database(made)


@pytest.fixture
def tapped(tap: WireTap, url: str) -> Iterator[MongoStore]:
    """A store behind the wire tap."""
    with closing(MongoStore(tap.url + url.rpartition("/")[2])) as store:
        yield store


@pytest.fixture
def store(url: str) -> Iterator[MongoStore]:
    """Another one on the same database."""
    with closing(MongoStore(url)) as opened:
        yield opened


def record(project_id: str = ID, *, created: str = "2026-01-01") -> ProjectRecord:
    return ProjectRecord(Project(project_id, user="Ada"), first_status(project_id, created), owner=ME)


def envelope(number: int, *, text: str = "") -> Envelope:
    data = {"n": number, "text": text}
    return Envelope(id=f"e{number}", source="/x", type="t", time=datetime.now(UTC), data=data, sequence=number)


def numbers(store: MongoStore) -> list[tuple[int, int]]:
    return [(position, event.data["n"]) for position, event in store.events(ID, after=0, limit=9999)]


class TestLostAnswers:
    def test_a_save_whose_answer_is_lost_is_done_once(
        self, tap: WireTap, tapped: MongoStore, store: MongoStore
    ) -> None:
        saved = tapped.save(record())
        tap.lose_answers("update")

        item = PendingItem("a", ID, command=Undeploy("x"))
        again = tapped.save(saved, events=[envelope(1)], pending=[item])

        assert again == store.load(ID)
        assert again.revision == 2
        assert numbers(store) == [(1, 1)]
        assert store.pending(ME) == [item]

    def test_a_new_project_whose_answer_is_lost_is_made_once(self, tap: WireTap, tapped: MongoStore) -> None:
        tap.lose_answers("insert")

        assert tapped.save(record(), events=[envelope(1)]) == tapped.load(ID)
        assert numbers(tapped) == [(1, 1)]

    def test_a_save_that_does_not_arrive_is_sent_again(self, tap: WireTap, tapped: MongoStore) -> None:
        saved = tapped.save(record())
        tap.lose_commands("update", times=3)

        assert tapped.save(saved, events=[envelope(1)]).revision == 2
        assert numbers(tapped) == [(1, 1)]

    def test_whoever_saved_in_between_wins(self, tap: WireTap, tapped: MongoStore, store: MongoStore) -> None:
        saved = tapped.save(record())
        store.save(saved, events=[envelope(1)])
        tap.lose_commands("update")

        with pytest.raises(StaleVersionError):
            tapped.save(saved, events=[envelope(2)])
        assert numbers(store) == [(1, 1)]

    def test_adoption_tells_all_ids_although_an_answer_is_lost(self, tap: WireTap, tapped: MongoStore) -> None:
        saved = tapped.save(record())
        tap.lose_answers("update")

        assert tapped.adopt(ME, "successor") == [ID]
        adopted = tapped.load(ID)
        assert adopted == replace(saved, owner="successor", revision=2)

    @pytest.mark.parametrize(("code", "name"), STEPPED_DOWN)
    def test_a_fail_over_is_survived(self, tap: WireTap, tapped: MongoStore, code: int, name: str) -> None:
        saved = tapped.save(record())
        tap.refuse("update", code, name, times=2)

        assert tapped.save(saved, events=[envelope(1)]).revision == 2
        assert numbers(tapped) == [(1, 1)]

    @pytest.mark.parametrize(("code", "name"), STEPPED_DOWN)
    def test_what_a_fail_over_interrupts_can_be_repeated(
        self, tap: WireTap, tapped: MongoStore, code: int, name: str
    ) -> None:
        item = PendingItem("a", ID, command=Undeploy("x"))
        tapped.save(record(), pending=[item])
        tap.refuse("update", code, name)

        with pytest.raises(StoreUnavailableError):
            tapped.clear(item)
        assert tapped.pending(ME) == [item]
        tapped.clear(item)
        assert tapped.pending(ME) == []


class TestInterruptions:
    """What one manager leaves in the middle, another one finds in order."""

    def test_interrupted_moving_of_events_is_done_by_the_next(
        self, tap: WireTap, tapped: MongoStore, store: MongoStore
    ) -> None:
        saved = tapped.save(record(), events=[envelope(number) for number in range(1, 41)])
        tap.lose_commands("update")

        with pytest.raises(StoreUnavailableError):
            tapped.load(ID)
        saved = store.save(saved, events=[envelope(41)])
        expected = [(number, number) for number in range(1, 42)]
        assert numbers(store) == expected
        assert store.load(ID) == saved
        assert numbers(store) == expected
        assert tapped.load(ID) == saved
        assert store.has_event(ID, "e7")

    def test_an_interrupted_deletion_leaves_nothing_to_the_next_project_of_that_id(
        self, tap: WireTap, tapped: MongoStore, url: str
    ) -> None:
        tapped.save(record(), events=[envelope(number) for number in range(1, 41)])
        tapped.load(ID)
        tap.lose_answers("delete")

        with pytest.raises(StoreUnavailableError):
            tapped.delete(ID)

        assert tapped.load(ID) is None
        tapped.save(record(), events=[envelope(1)])
        assert not tapped.has_event(ID, "e2")
        assert numbers(tapped) == [(1, 1)]
        assert left(url) == 40
        tapped.compact()
        assert left(url) == 0
        assert numbers(tapped) == [(1, 1)]

    def test_interrupted_forgetting_is_finished_by_compacting(self, tap: WireTap, tapped: MongoStore, url: str) -> None:
        ended = replace(record(), project=Project(ID, user="Ada", phase=Phase.FAILED))
        tapped.save(ended, events=[envelope(number) for number in range(1, 41)])
        tapped.load(ID)
        tap.lose_commands("delete")

        with pytest.raises(StoreUnavailableError):
            tapped.forget_history(ID)

        assert numbers(tapped) == []
        assert tapped.ended_before("2030-01-01", 9) == []
        tapped.compact()
        assert left(url) == 0


class TestServerKilled:
    def test_nothing_that_was_saved_is_lost_and_nothing_is_there_twice(self, tmp_path: Path) -> None:
        server = start_server(tmp_path / "server")
        with closing(MongoStore(new_database(server))) as store:
            store.save(record())
            saver = Saver(store)
            saver.start()
            try:
                for kill in range(1, 4):
                    wait_until(partial(saver.has_saved, 25 * kill), 30)
                    server.kill()
                    server.start()
            finally:
                saver.stopping.set()
                saver.join(30)

            assert numbers(store) == [(number, number) for number in range(1, saver.saved + 1)]
            assert [item.id for item in store.pending(ME)] == [f"p{number}" for number in range(1, saver.saved + 1)]
        server.kill()

    def test_a_server_that_stays_away_is_told_without_credentials(self) -> None:
        with pytest.raises(StoreUnavailableError) as caught:
            MongoStore(f"mongodb://ada:secret@127.0.0.1:{free_port()}/flops?authSource=admin")

        assert "mongodb://127.0.0.1:" in str(caught.value)
        assert "refused" in str(caught.value)
        assert "secret" not in str(caught.value)
        assert "ada" not in str(caught.value)


class TestLimits:
    def test_what_no_document_can_hold_is_refused_and_changes_nothing(self, store: MongoStore) -> None:
        saved = store.save(record())

        with pytest.raises(RecordTooLargeError, match="14,680,064"):
            store.save(saved, events=[envelope(1, text="x" * 15_000_000)])
        assert store.load(ID) == saved
        assert numbers(store) == []

    def test_large_events_are_moved_to_make_room(self, store: MongoStore) -> None:
        saved = store.save(record())
        for number in range(1, 5):
            saved = store.save(saved, events=[envelope(number, text="x" * 5_000_000)])

        assert numbers(store) == [(number, number) for number in range(1, 5)]
        assert store.load(ID) == saved


class TestSchema:
    def test_each_migration_is_done_once_and_in_order(self, url: str) -> None:
        MongoStore(url).close()
        done: list[str] = []

        def second(database: Any) -> None:  # noqa: ANN401  a migration
            done.append("second")
            database["projects"].update_many({}, {"$set": {"colour": "blue"}})

        def third(_: Any) -> None:  # noqa: ANN401  a migration
            done.append("third")

        with closing(MongoServer(url)) as server:
            for _ in range(2):
                migrate(server, (*MIGRATIONS, second, third))
            assert done == ["second", "third"]
        newer = len(MIGRATIONS) + 2
        with pytest.raises(StoreUnavailableError, match=f"its schema {newer} was made by a later version"):
            MongoStore(url)

    def test_projects_of_the_first_version_are_listed_by_their_age(self, url: str) -> None:
        with closing(MongoStore(url)) as store:
            store.save(record(created="2026-01-01"))
            store.save(record("1" * 24, created="2026-02-01"))
        with closing(MongoServer(url)) as server:
            server.collection("projects").update_many({}, {"$unset": {"created": ""}})
            server.collection("schema").update_one({"_id": "schema"}, {"$set": {"version": 1}})
        with closing(MongoStore(url)) as store:
            assert [item.project.id for item in store.projects()] == ["1" * 24, ID]

    def test_a_migration_that_fails_is_done_again_at_the_next_start(self, url: str) -> None:
        MongoStore(url).close()
        attempts: list[int] = []

        def second(_: Any) -> None:  # noqa: ANN401  a migration
            attempts.append(1)
            if len(attempts) == 1:
                raise StoreUnavailableError("x", "y")

        with closing(MongoServer(url)) as server:
            with pytest.raises(StoreUnavailableError):
                migrate(server, (*MIGRATIONS, second))
            migrate(server, (*MIGRATIONS, second))
            migrate(server, (*MIGRATIONS, second))
        assert len(attempts) == 2


class Saver(threading.Thread):
    """Saves one event and one pending item after the other, as a manager does that goes on when a save fails."""

    def __init__(self, store: MongoStore) -> None:
        super().__init__()
        self._store, self.saved, self.stopping = store, 0, threading.Event()

    def has_saved(self, number: int) -> bool:
        return self.saved >= number

    def run(self) -> None:
        while not self.stopping.is_set():
            try:
                self._save_next(self.saved + 1)
            except StoreUnavailableError:
                self.stopping.wait(0.1)
            else:
                self.saved += 1

    def _save_next(self, number: int) -> None:
        known = self._store.load(ID)
        assert known is not None
        if not self._store.has_event(ID, f"e{number}"):
            item = PendingItem(f"p{number}", ID, command=Undeploy("x"))
            self._store.save(known, events=[envelope(number)], pending=[item])


def left(url: str) -> int:
    """How many events are in the collection that they are moved to."""
    client: MongoClient[dict[str, Any]] = MongoClient(url)
    with client:
        return client.get_default_database()["events"].count_documents({})
