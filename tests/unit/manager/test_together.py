"""Several messages in one durable write: nothing is told before it, nothing is lost with it."""

from __future__ import annotations

import threading
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from tests.brokers import wait_until

from flops.adapters.sqlite_store import SqliteStore
from flops.errors import BrokerUnreachableError, StoreUnavailableError
from flops.manager.together import Together
from flops.wire.envelope import Envelope, decode_envelope

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.manager.conftest import Office

SLA: dict[str, Any] = {
    "ml_repo_url": "https://host.invalid/owner/repository",
    "ml_model_flavor": "sklearn",
    "training_configuration": {"data_tags": ["a"]},
}


class _OwnError(Exception):
    pass


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore(tmp_path / "flops.db")) as opened:
        yield opened


@pytest.fixture
def reader(tmp_path: Path, store: SqliteStore) -> Iterator[SqliteStore]:
    """What others find in the store."""
    assert store
    with closing(SqliteStore(tmp_path / "flops.db")) as opened:
        yield opened


def test_what_has_to_be_done_afterwards_is_done_once_it_is_durable(store: SqliteStore, reader: SqliteStore) -> None:
    together, found = Together(store), []
    look = lambda name: found.append((name, reader.recall("a"), reader.recall("b")))  # noqa: E731  a short name for it

    with together.begun():
        store.remember("a", "1")
        together.afterwards(partial(look, "first"))
        together.afterwards(partial(look, "old"), instead_of="the same")
        store.remember("b", "2")
        together.afterwards(partial(look, "new"), instead_of="the same")
        assert not found
    together.afterwards(partial(look, "alone"))

    assert found == [(name, "1", "2") for name in ("first", "new", "alone")]


def test_nothing_is_done_afterwards_of_what_was_undone(store: SqliteStore, reader: SqliteStore) -> None:
    together, lock, done = Together(store), threading.Lock(), []

    def begin_in_vain() -> None:
        with together.begun(), together.locked(lock):
            store.remember("a", "1")
            together.afterwards(lambda: done.append(1))
            raise _OwnError

    with pytest.raises(_OwnError):
        begin_in_vain()

    assert (done, reader.recall("a"), lock.locked()) == ([], "", False)


@pytest.mark.parametrize("fault", [BrokerUnreachableError("mqtt://x", "it is a test"), _OwnError()])
def test_what_cannot_be_told_keeps_nothing_else_from_being_told(store: SqliteStore, fault: Exception) -> None:
    def fail() -> None:
        raise fault

    together, done = Together(store), []
    with together.begun():
        together.afterwards(fail)
        together.afterwards(lambda: done.append(1))

    assert done == [1]


def test_locks_are_held_until_the_end(store: SqliteStore) -> None:
    together, lock = Together(store), threading.Lock()
    with together.begun():
        for _ in range(2):
            with together.locked(lock):
                pass
            assert lock.locked()
        together.afterwards(lambda: None if lock.locked() else pytest.fail("it was free too early"))
    assert not lock.locked()


def test_it_waits_for_no_lock_while_others_wait_to_write(store: SqliteStore, reader: SqliteStore) -> None:
    together, lock, is_locked = Together(store), threading.Lock(), threading.Event()

    def write_with_lock() -> None:
        with together.locked(lock):
            is_locked.set()
            wait_until(lambda: store._file._waiting == 0 and reader.recall("a") == "1")
            store.remember("b", "2")

    other = threading.Thread(target=write_with_lock)
    done: list[str] = []
    with together.begun():
        store.remember("a", "1")
        together.afterwards(lambda: done.append("first"))
        other.start()
        assert is_locked.wait(10)
        with together.locked(lock):
            assert (done, reader.recall("b")) == (["first"], "2")
        together.afterwards(lambda: done.append("second"))
        assert done == ["first", "second"]
    other.join(10)


def ask_for_projects(office: Office, count: int) -> set[str]:
    """Request projects all at once; returns the ids that the answers name."""
    replies = office.bus.subscribe(office.topics.reply("burst"))
    for number in range(count):
        request = Envelope(
            id=f"request {number}",
            source="/client/burst",
            type="project.request",
            time=datetime.now(UTC),
            data=SLA,
            reply_to=office.topics.reply("burst"),
        )
        office.bus.publish(office.topics.project_start(), request.encode())
    found = set()
    for _ in range(count):
        delivery = replies.receive(20)
        assert delivery is not None
        found.add(str(decode_envelope(delivery.topic, delivery.payload).data["project_id"]))
    return found


def accepted(office: Office) -> set[str]:
    return {record.project.id for record in office.store.projects()}


def test_a_burst_of_requests_takes_few_writes_and_each_is_answered_once_it_is_durable(office: Office) -> None:
    writes: list[int] = []
    with office.store.together():
        office.store._file._database.set_trace_callback(lambda sql: writes.append(1) if sql == "COMMIT" else None)
        ids = threading.Thread(target=lambda: found.update(ask_for_projects(office, 64)))
        found: set[str] = set()
        ids.start()
        wait_until(lambda: office.store._file._waiting > 0)  # the manager has begun with the first of them
    ids.join(20)

    assert found == accepted(office)
    assert len(found) == 64
    assert len(writes) < 64


def test_what_could_not_be_stored_together_is_handled_one_by_one(office: Office) -> None:
    failures = []

    @contextmanager
    def fail_at_the_end() -> Iterator[None]:
        with office.store._file.writing():
            yield
            failures.append(1)
            raise StoreUnavailableError("here", "full")

    office.store.together = fail_at_the_end  # type: ignore[method-assign]
    found = ask_for_projects(office, 64)

    assert failures, "nothing was handled together"
    assert found == accepted(office)
    assert len(found) == 64
    wait_until(lambda: len([name for name in office.orchestrator.deployed if name.startswith("observ")]) == 64, 30)
