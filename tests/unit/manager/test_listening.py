"""Messages that are handled together while the store, the disk and other threads do what they like."""

from __future__ import annotations

import threading
import zlib
from contextlib import closing, nullcontext, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.brokers import wait_until

from flops.adapters.memory_bus import MemoryBroker
from flops.adapters.sqlite_store import SqliteStore
from flops.errors import StoreUnavailableError
from flops.manager import listening
from flops.manager.kept import Kept
from flops.manager.projects import LOCKS, Projects
from flops.project.state import Deadlines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flops.manager.intake import Intake
    from flops.ports import Delivery

FATES = ("good", "good", "refused", "undone", "orphan", "busy")
SCHEMA = """
CREATE TABLE numbers (number INTEGER PRIMARY KEY);
CREATE TABLE children (number INTEGER REFERENCES numbers DEFERRABLE INITIALLY DEFERRED);
INSERT INTO numbers VALUES (0);
"""


@pytest.fixture(scope="module", autouse=True)
def at_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listening, "RETRY_S", 0.001)
        patch.setattr(listening, "WAIT_S", 0.01)
        yield


class Clerk:
    """Handles messages as the manager's intake does: locks, writes, and tells of it afterwards.

    The first time that it handles a message, that has its fate: the store refuses it, SQLite undoes everything, the
    commit fails, or the lock is held by somebody who waits to write.
    """

    def __init__(self, store: SqliteStore, reader: SqliteStore, fates: list[str]) -> None:
        self.projects = Projects(store, Deadlines(), lambda _: None, owner="manager")
        self.told: list[str] = []
        self._store, self._reader = store, reader
        self._fates = {str(number): fate for number, fate in enumerate(fates)}
        self._others: list[threading.Thread] = []

    def goes_together(self, delivery: Delivery) -> bool:
        return bool(delivery.payload)

    def handle(self, delivery: Delivery) -> None:
        name = delivery.payload.decode()
        fate = self._fates.pop(name, "good")
        if fate == "busy":
            self._be_in_the_way(name)
        with self.projects._locked(name):
            self._meet(fate)
            self._store.remember(name, str(int(self._store.recall(name) or 0) + 1))
        self.projects.afterwards(partial(self._tell, name))
        self.projects.afterwards(delivery.acknowledge)

    def close(self) -> None:
        for other in self._others:
            other.join(10)
            assert not other.is_alive()

    def _meet(self, fate: str) -> None:
        if fate == "refused":
            raise StoreUnavailableError("here", "a test")
        if fate == "undone":
            self._store._file.write("INSERT OR ROLLBACK INTO numbers VALUES (0)")
        if fate == "orphan":
            self._store._file.write("INSERT INTO children VALUES (1)")

    def _be_in_the_way(self, name: str) -> None:
        lock, is_locked = self.projects._locks[zlib.crc32(name.encode()) % LOCKS], threading.Event()

        def write_with_lock() -> None:
            with lock:
                is_locked.set()
                with suppress(StoreUnavailableError):  # whoever shares a commit shares its fault
                    self._store.remember(f"other {name}", "1")

        if lock.acquire(blocking=False):  # else it is the batch's own
            lock.release()
            self._others.append(threading.Thread(target=write_with_lock))
            self._others[-1].start()
            assert is_locked.wait(10)

    def _tell(self, name: str) -> None:
        assert self._reader.recall(name) == "1"
        self.told.append(name)


@settings(max_examples=25, deadline=None)
@given(fates=st.lists(st.sampled_from(FATES), min_size=1, max_size=12), each_alone=st.booleans())
def test_every_message_counts_once_and_is_told_once_it_is_durable(fates: list[str], *, each_alone: bool) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "flops.db"
        with closing(SqliteStore(path)) as store, closing(SqliteStore(path)) as reader:
            for statement in filter(str.strip, SCHEMA.split(";")):
                store._file.write(statement)
            with store._file._alone() as database:
                database.execute("PRAGMA foreign_keys = ON")
            if each_alone:  # as on MongoDB
                store.together = nullcontext  # type: ignore[assignment]
            clerk = Clerk(store, reader, fates)
            broker = MemoryBroker()
            bus = broker.connect("manager", persistent=True)
            subscription = bus.subscribe("all/#")
            for number in range(len(fates)):
                bus.publish(f"all/{number}", str(number).encode())
            stopping = threading.Event()
            kept = Kept(lambda _, __: False, lambda: 0.0, lambda: 0.0)
            arguments = (cast("Intake", clerk), clerk.projects, subscription, kept, stopping)
            listener = threading.Thread(target=listening.listen, args=arguments)
            listener.start()
            try:
                wait_until(lambda: len(clerk.told) >= len(fates) or not listener.is_alive(), 10)
            finally:
                stopping.set()
                listener.join(10)
            clerk.close()
            names = [str(number) for number in range(len(fates))]
            assert sorted(clerk.told, key=int) == names
            assert [reader.recall(name) for name in names] == ["1"] * len(names)
            assert not broker._sessions["manager"].unacknowledged
