"""A socket that is read and written in large pieces: paho reads each packet in four, and writes each by itself."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import socket

AT_ONCE: Final = 64 * 1024
FAREWELL_S: Final = 1.0


class BufferedSocket:
    """What paho needs of a socket that does not block. One thread.

    What was sent leaves with ``flush``, and before the socket is closed. Where it cannot, the connection is lost, and
    ``recv`` says so as it does when the other side has ended it.
    """

    def __init__(self, opened: socket.socket, *would_block: type[OSError]) -> None:
        """``would_block`` is what the socket raises, besides BlockingIOError, where it can do nothing right now."""
        self._socket = opened
        self._would_block: tuple[type[OSError], ...] = (BlockingIOError, *would_block)
        self._received, self._read = b"", 0
        self._unsent = bytearray()
        self._is_lost = False

    def fileno(self) -> int:
        """For ``select``."""
        return self._socket.fileno()

    def setblocking(self, flag: bool) -> None:  # noqa: FBT001  as sockets have it
        """As sockets have it."""
        self._socket.setblocking(flag)

    def pending(self) -> int:
        """How much can be read without asking the system, so that no ``select`` tells of it."""
        return self._is_lost or len(self._received) - self._read or getattr(self._socket, "pending", int)()

    def recv(self, size_bytes: int) -> bytes:
        """At most that many bytes, none at the end. Raises what sockets raise."""
        if self._is_lost:
            return b""
        if self._read == len(self._received):
            if size_bytes >= AT_ONCE:
                return self._socket.recv(size_bytes)
            self._received, self._read = self._socket.recv(AT_ONCE), 0
        begin = self._read
        self._read = min(begin + size_bytes, len(self._received))
        return self._received[begin : self._read]

    def send(self, data: bytes | bytearray) -> int:
        """Take all of it, unless very much is waiting that the system does not take.

        Raises:
            BlockingIOError: nothing was taken.
        """
        if len(self._unsent) >= AT_ONCE and not self.flush():
            raise BlockingIOError
        self._unsent += data
        return len(data)

    def flush(self) -> bool:
        """Send what is waiting; False if the system does not take all of it now."""
        while self._unsent and not self._is_lost:
            try:
                sent = self._socket.send(self._unsent)
            except self._would_block:
                return False
            except OSError:
                self._is_lost = True
            else:
                del self._unsent[:sent]
        return True

    def close(self) -> None:
        """Send what is waiting, a farewell above all, and close."""
        if self._unsent and not self._is_lost:
            with suppress(OSError):
                self._socket.settimeout(FAREWELL_S)
                self._socket.sendall(self._unsent)
        self._socket.close()
