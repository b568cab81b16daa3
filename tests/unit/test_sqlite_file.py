from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import pytest
from tests.brokers import wait_until

from flops.errors import StoreUnavailableError
from flops.sqlite_file import SqliteFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WRITERS: Final = 8
EACH: Final = 40
SCHEMA: Final = """
CREATE TABLE numbers (number INTEGER PRIMARY KEY);
CREATE TABLE children (number INTEGER REFERENCES numbers DEFERRABLE INITIALLY DEFERRED)
"""
WRITE_UNTIL_KILLED: Final = """
import os, sys, threading
from pathlib import Path
from flops.sqlite_file import SqliteFile

file = SqliteFile(Path(sys.argv[1]))

def write(first):
    for number in range(first, 1_000_000, 8):
        file.write("INSERT INTO numbers VALUES (?)", number)
        os.write(1, f"{number}\\n".encode())

for first in range(8):
    threading.Thread(target=write, args=(first,)).start()
"""


class _OwnError(Exception):
    pass


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SqliteFile]:
    made = SqliteFile(tmp_path / "some.db")
    made.migrate([SCHEMA])
    yield made
    made.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(WRITERS) as made:
        yield made


def numbers(file: SqliteFile) -> set[int]:
    return {number for (number,) in file.rows("SELECT number FROM numbers")}


def insert(file: SqliteFile, number: int, *, then: type[Exception] | None = None) -> None:
    with file.writing() as database:
        database.execute("INSERT INTO numbers VALUES (?)", (number,))
        if then:
            raise then


def together(file: SqliteFile, pool: ThreadPoolExecutor, *statements: str) -> list[Future[int]]:
    """Let statements wait for each other, so that one commit is for all of them."""
    with file._alone():
        futures = [pool.submit(file.write, statement) for statement in statements]
        wait_until(lambda: file._waiting == len(statements))
    return futures


def test_those_who_wait_for_each_other_share_a_commit(file: SqliteFile, pool: ThreadPoolExecutor) -> None:
    statements: list[str] = []
    with file.writing() as database:
        database.set_trace_callback(statements.append)
    for future in together(file, pool, *(["INSERT INTO numbers VALUES (NULL)"] * WRITERS)):
        future.result(10)
    assert statements.count("COMMIT") == 2  # of the empty transaction above, and of all others
    assert len(numbers(file)) == WRITERS


def test_the_failure_of_one_undoes_nothing_of_the_others(file: SqliteFile, pool: ThreadPoolExecutor) -> None:
    def write(first: int) -> set[int]:
        """Every seventh is undone by its own exception."""
        for number in range(first, WRITERS * EACH, WRITERS):
            if number % 7:
                insert(file, number)
            else:
                with pytest.raises(_OwnError):
                    insert(file, number, then=_OwnError)
        return {number for number in range(first, WRITERS * EACH, WRITERS) if number % 7}

    stored = set().union(*pool.map(write, range(WRITERS)))
    assert numbers(file) == stored
    assert len(stored) > WRITERS


def test_a_statement_that_fails_undoes_nothing_of_the_others(file: SqliteFile, pool: ThreadPoolExecutor) -> None:
    good, bad = together(file, pool, "INSERT INTO numbers VALUES (1)", "INSERT INTO nowhere VALUES (2)")
    good.result(10)
    with pytest.raises(StoreUnavailableError, match="nowhere"):
        bad.result(10)
    assert numbers(file) == {1}


def test_a_commit_that_fails_fails_for_all_and_changes_nothing(file: SqliteFile, pool: ThreadPoolExecutor) -> None:
    with file._alone() as database:
        database.execute("PRAGMA foreign_keys = ON")
    good, orphan = "INSERT INTO numbers VALUES (1)", "INSERT INTO children VALUES (2)"  # which only the commit finds
    for future in together(file, pool, good, orphan):
        with pytest.raises(StoreUnavailableError, match="FOREIGN KEY"):
            future.result(10)
    assert numbers(file) == set()
    insert(file, 3)
    assert numbers(file) == {3}


def test_a_transaction_that_sqlite_undoes_fails_for_all_in_it(file: SqliteFile, pool: ThreadPoolExecutor) -> None:
    insert(file, 0)
    goods = {number: f"INSERT INTO numbers VALUES ({number})" for number in range(1, WRITERS)}  # noqa: S608  numbers
    *futures, undone = together(file, pool, *goods.values(), "INSERT OR ROLLBACK INTO numbers VALUES (0)")
    assert isinstance(undone.exception(10), StoreUnavailableError)
    stored = {number for number, future in zip(goods, futures, strict=True) if future.exception(10) is None}
    assert numbers(file) == {0} | stored
    insert(file, WRITERS)
    assert WRITERS in numbers(file)


def test_parts_of_a_transaction_are_undone_alone_and_durable_together(
    file: SqliteFile, pool: ThreadPoolExecutor
) -> None:
    statements: list[str] = []
    with file.writing() as database:
        database.set_trace_callback(statements.append)
        insert(file, 1)
        with pytest.raises(_OwnError):
            insert(file, 2, then=_OwnError)
        insert(file, 3)
        assert pool.submit(numbers, file).result(10) == set()
    assert numbers(file) == {1, 3}
    assert statements.count("COMMIT") == 1


def test_nothing_is_written_by_a_transaction_after_sqlite_has_undone_it(file: SqliteFile) -> None:
    def write_on() -> None:
        with file.writing():
            insert(file, 1)
            with pytest.raises(StoreUnavailableError):
                file.write("INSERT OR ROLLBACK INTO numbers VALUES (0)")
            with pytest.raises(StoreUnavailableError, match="undone"):
                insert(file, 2)

    insert(file, 0)
    with pytest.raises(StoreUnavailableError):
        write_on()
    assert numbers(file) == {0}


def test_what_is_not_committed_is_not_seen(file: SqliteFile, pool: ThreadPoolExecutor) -> None:
    with file.writing() as database:
        database.execute("INSERT INTO numbers VALUES (1)")
        assert pool.submit(numbers, file).result(10) == set()
        assert numbers(file) == {1}  # but its own thread sees it
    assert numbers(file) == {1}


def test_nothing_is_lost_that_was_written_before_a_kill(file: SqliteFile, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITE_UNTIL_KILLED, str(tmp_path / "some.db")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        told = [int(writer.stdout.readline()) for _ in range(200)]
        os.kill(writer.pid, signal.SIGKILL)
        told += [int(line) for line in writer.stdout]
    assert set(told) <= numbers(file)
    assert file.rows("PRAGMA integrity_check") == [("ok",)]


def test_a_writer_is_not_left_waiting_by_one_that_goes_away(file: SqliteFile) -> None:
    """Somebody whom a signal interrupts while it waits does not commit for those before it."""
    file._waiting = 1
    writer = threading.Thread(target=insert, args=(file, 1))
    writer.start()
    writer.join(10)
    assert not writer.is_alive()
    assert numbers(file) == {1}
