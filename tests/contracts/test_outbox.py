"""What every Outbox does."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from flops.adapters.sqlite_outbox import SqliteOutbox
from flops.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROJECT = "a" * 24

WRITER = """
import sys
from pathlib import Path
from flops.adapters.sqlite_outbox import SqliteOutbox

outbox = SqliteOutbox(Path(sys.argv[1]))
while True:
    sequence, _ = outbox.append(sys.argv[2], lambda number: str(number).encode())
    print(sequence, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "service" / "outbox.db"


@pytest.fixture
def outbox(path: Path) -> Iterator[SqliteOutbox]:
    outbox = SqliteOutbox(path)
    yield outbox
    outbox.close()


def encode(sequence: int) -> bytes:
    return f"event {sequence}".encode()


def test_events_are_numbered_from_one_for_each_project(outbox: SqliteOutbox) -> None:
    assert outbox.append(PROJECT, encode) == (1, b"event 1")
    assert outbox.append(PROJECT, encode) == (2, b"event 2")
    assert outbox.append("b" * 24, encode) == (1, b"event 1")
    assert outbox.unconfirmed(PROJECT, 1000) == [(1, b"event 1"), (2, b"event 2")]


def test_what_is_confirmed_is_forgotten_and_the_numbering_goes_on(outbox: SqliteOutbox) -> None:
    for _ in range(3):
        outbox.append(PROJECT, encode)
    outbox.confirm(PROJECT, 2)
    outbox.confirm(PROJECT, 1)
    assert outbox.unconfirmed(PROJECT, 1000) == [(3, b"event 3")]
    outbox.confirm(PROJECT, 3)
    assert outbox.append(PROJECT, encode) == (4, b"event 4")


def test_events_and_numbering_survive_a_restart(outbox: SqliteOutbox, path: Path) -> None:
    for _ in range(2):
        outbox.append(PROJECT, encode)
    outbox.confirm(PROJECT, 2)
    outbox.append(PROJECT, encode)
    outbox.close()
    again = SqliteOutbox(path)
    assert again.unconfirmed(PROJECT, 1000) == [(3, b"event 3")]
    assert again.append(PROJECT, encode)[0] == 4
    again.close()


def test_a_number_that_was_never_given_out_confirms_nothing(outbox: SqliteOutbox) -> None:
    outbox.append(PROJECT, encode)
    for nonsense in (2, 2**53, -1):
        outbox.confirm(PROJECT, nonsense)
    assert outbox.unconfirmed(PROJECT, 1000) == [(1, b"event 1")]
    assert outbox.append(PROJECT, encode)[0] == 2


def test_the_first_of_what_is_unconfirmed_is_given_where_all_is_not_needed(outbox: SqliteOutbox) -> None:
    for _ in range(3):
        outbox.append(PROJECT, encode)
    assert outbox.unconfirmed(PROJECT, 2) == [(1, b"event 1"), (2, b"event 2")]


def test_a_new_outbox_is_a_new_generation_and_an_old_one_stays_what_it_was(outbox: SqliteOutbox, path: Path) -> None:
    again, other = SqliteOutbox(path), SqliteOutbox(path.with_name("other.db"))
    assert again.generation == outbox.generation
    assert other.generation != outbox.generation
    assert len(outbox.generation) == 8
    again.close()
    other.close()


def test_an_outbox_from_before_there_were_generations_goes_on_without_one(outbox: SqliteOutbox, path: Path) -> None:
    outbox.append(PROJECT, encode)
    outbox.close()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DROP TABLE generation")
        database.execute("PRAGMA user_version = 1")
    again = SqliteOutbox(path)
    assert again.generation == ""
    again.close()


def test_an_event_that_cannot_be_encoded_takes_no_number(outbox: SqliteOutbox) -> None:
    def fail(_: int) -> bytes:
        raise StoreUnavailableError("elsewhere", "a test")

    with pytest.raises(StoreUnavailableError):
        outbox.append(PROJECT, fail)
    assert outbox.append(PROJECT, encode)[0] == 1


def test_threads_number_without_gaps(outbox: SqliteOutbox) -> None:
    threads = [threading.Thread(target=lambda: [outbox.append(PROJECT, encode) for _ in range(25)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [sequence for sequence, _ in outbox.unconfirmed(PROJECT, 1000)] == list(range(1, 101))


def test_nothing_that_was_appended_is_lost_when_the_writer_is_killed(path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path), PROJECT], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    acknowledged = [int(writer.stdout.readline()) for _ in range(100)]
    writer.kill()
    acknowledged += [int(line) for line in writer.stdout.read().split()]
    writer.wait()
    outbox = SqliteOutbox(path)
    kept = [sequence for sequence, _ in outbox.unconfirmed(PROJECT, 1000)]
    assert kept[: len(acknowledged)] == acknowledged
    assert kept == list(range(1, len(kept) + 1))
    assert outbox.append(PROJECT, encode)[0] == len(kept) + 1
    outbox.close()
    writer.stdout.close()


def test_the_file_is_private(outbox: SqliteOutbox, path: Path) -> None:
    outbox.append(PROJECT, encode)
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert set(modes.values()) == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_file_that_cannot_be_opened_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailableError):
        SqliteOutbox(tmp_path / "file" / "outbox.db")
    with pytest.raises(StoreUnavailableError):
        SqliteOutbox(tmp_path)


def test_a_full_disk_is_explained_and_leaves_the_outbox_as_it_was(outbox: SqliteOutbox) -> None:
    outbox.append(PROJECT, encode)
    pages = outbox._file.rows("PRAGMA page_count")[0][0]
    outbox._file.write(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreUnavailableError, match="full"):
        outbox.append(PROJECT, lambda _: bytes(1_000_000))
    outbox._file.write("PRAGMA max_page_count = 100000")
    assert outbox.append(PROJECT, encode) == (2, b"event 2")
    assert len(outbox.unconfirmed(PROJECT, 1000)) == 2


def test_a_closed_outbox_says_so(outbox: SqliteOutbox) -> None:
    outbox.close()
    with pytest.raises(StoreUnavailableError):
        outbox.append(PROJECT, encode)
    outbox.close()
