"""The network thread of a connection, made of the functions that paho has for event loops.

paho's own thread asks the system five times for each packet, and once more for each that another thread publishes or
acknowledges. This one asks it for many at once: each such question also lets Python's threads change places.
"""

from __future__ import annotations

import logging
import select
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

from paho.mqtt.client import Client

from flops.adapters.mqtt.buffered_socket import BufferedSocket
from flops.adapters.mqtt.light_paho import tls_would_block

if TYPE_CHECKING:
    from paho.mqtt.client import SocketLike

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0  # how often paho looks whether the broker is still there
FAREWELL_S: Final = 1.0
RECONNECT_FIRST_S: Final = 0.1
RECONNECT_LAST_S: Final = 5.0


class BufferedClient(Client):
    """A client of paho whose socket is buffered."""

    def _create_socket(self) -> SocketLike:
        opened = cast("socket.socket", super()._create_socket())
        # With Nagle's algorithm and delayed acknowledgements a small request and its reply take 40 ms.
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        buffered = BufferedSocket(opened, *tls_would_block())
        return cast("SocketLike", buffered)  # as much of a socket as paho needs


class Network:
    """Reads and writes for a client that has connected once, and connects it again when the connection is lost."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stopping, self._stop_at = threading.Event(), float("inf")
        self._thread = threading.Thread(target=self._run, name="mqtt-network", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._woken, self._waker = socket.socketpair()
        for end in (self._woken, self._waker):
            end.settimeout(0.0)
        self._client.on_socket_register_write = self._wake
        self._thread.start()

    def stop(self) -> None:
        """End once a client that was told to disconnect has done so, or cannot for a moment. Idempotent."""
        if self._stopping.is_set():
            return
        self._stop_at = time.monotonic() + FAREWELL_S
        self._stopping.set()
        self._wake()
        self._thread.join()
        self._woken.close()
        self._waker.close()

    def _wake(self, *_: Any) -> None:  # noqa: ANN401  what paho tells of its socket
        """Have the thread look: there is something to write. Any thread."""
        with suppress(BlockingIOError):
            self._waker.send(b"\0")

    def _run(self) -> None:
        wait_s = RECONNECT_FIRST_S
        while not self._stopping.is_set():
            if self._serve():
                wait_s = RECONNECT_FIRST_S
            if self._stopping.wait(wait_s):
                return
            wait_s = min(2 * wait_s, RECONNECT_LAST_S)
            try:
                self._client.reconnect()
            except OSError as error:
                log.debug("no connection", extra={"reason": str(error)})

    def _serve(self) -> bool:
        """Serve one connection to its end; returns whether anything came."""
        has_come = False
        while (opened := cast("BufferedSocket | None", self._client.socket())) is not None:
            if time.monotonic() >= self._stop_at:
                opened.close()
                return has_come
            has_come = self._turn(opened) or has_come
        return has_come

    def _turn(self, opened: BufferedSocket) -> bool:
        """Wait until there is something to do, and do it; returns whether anything came."""
        is_stuck = not opened.flush() or self._client.want_write()
        wait_s = 0.0 if opened.pending() else LOOK_S
        ends: list[BufferedSocket | socket.socket] = [opened, self._woken]
        readable, _, _ = select.select(ends, [opened] if is_stuck else [], [], wait_s)
        if self._woken in readable:
            with suppress(BlockingIOError):
                self._woken.recv(4096)
        is_readable = opened in readable or opened.pending() > 0
        if is_readable:
            self._client.loop_read()
            while opened.pending() and self._client.socket() is not None:
                self._client.loop_read()
        self._client.loop_write()
        self._client.loop_misc()
        return is_readable
