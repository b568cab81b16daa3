"""A socket that is read and written in large pieces, on a real pair of sockets."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from flops.adapters.mqtt.buffered_socket import AT_ONCE, BufferedSocket

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def pair() -> Iterator[tuple[BufferedSocket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.settimeout(0.0)
    buffered = BufferedSocket(ours)
    yield buffered, theirs
    buffered.close()
    theirs.close()


def received(theirs: socket.socket, size_bytes: int) -> bytes:
    theirs.settimeout(10.0)
    data = bytearray()
    while len(data) < size_bytes and (piece := theirs.recv(AT_ONCE)):
        data += piece
    return bytes(data)


def fill(buffered: BufferedSocket) -> int:
    """Send until nothing more is taken; returns how many bytes were."""
    taken = 0
    with suppress(BlockingIOError):
        while True:
            taken += buffered.send(b"x" * 10_000)
    return taken


def test_what_came_is_read_piece_by_piece_and_the_system_asked_once(pair: tuple[BufferedSocket, socket.socket]) -> None:
    buffered, theirs = pair
    theirs.sendall(b"abcdef")
    assert buffered.recv(1) == b"a"
    assert buffered.pending() == 5
    assert (buffered.recv(2), buffered.recv(10)) == (b"bc", b"def")
    assert buffered.pending() == 0
    with pytest.raises(BlockingIOError):
        buffered.recv(1)


def test_a_large_piece_is_read_past_the_buffer_and_in_order(pair: tuple[BufferedSocket, socket.socket]) -> None:
    buffered, theirs = pair
    theirs.sendall(b"a" + b"b" * 1000)
    assert buffered.recv(1) == b"a"
    data = buffered.recv(2 * AT_ONCE)
    theirs.sendall(b"c" * 1000)
    data += buffered.recv(2 * AT_ONCE)
    assert data == b"b" * 1000 + b"c" * 1000


def test_the_end_is_told_after_all_that_came(pair: tuple[BufferedSocket, socket.socket]) -> None:
    buffered, theirs = pair
    theirs.sendall(b"ab")
    theirs.close()
    assert (buffered.recv(1), buffered.recv(1), buffered.recv(1)) == (b"a", b"b", b"")


def test_what_is_sent_leaves_together(pair: tuple[BufferedSocket, socket.socket]) -> None:
    buffered, theirs = pair
    theirs.settimeout(0.0)
    assert (buffered.send(b"ab"), buffered.send(b"c")) == (2, 1)
    with pytest.raises(BlockingIOError):
        theirs.recv(1)
    assert buffered.flush()
    assert theirs.recv(10) == b"abc"


def test_who_does_not_read_is_not_sent_ever_more(pair: tuple[BufferedSocket, socket.socket]) -> None:
    buffered, theirs = pair
    taken = fill(buffered)
    read = 0
    while not buffered.flush():
        read += len(theirs.recv(AT_ONCE))
    assert read > 0
    assert read + len(received(theirs, taken - read)) == taken


def test_a_connection_that_cannot_be_written_to_has_ended(pair: tuple[BufferedSocket, socket.socket]) -> None:
    buffered, theirs = pair
    theirs.close()
    buffered.send(b"x")
    assert buffered.flush()
    assert buffered.pending()
    assert buffered.recv(1) == b""


def test_a_farewell_is_sent_before_the_socket_is_closed(pair: tuple[BufferedSocket, socket.socket]) -> None:
    buffered, theirs = pair
    buffered.send(b"bye")
    buffered.close()
    assert received(theirs, 4) == b"bye"
