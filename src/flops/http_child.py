"""An HTTP server that a service runs as its child process, on a port that stays the same if it can."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
from typing import IO, TYPE_CHECKING, Final

from flops.endpoint import Endpoint
from flops.errors import ServerNotReadyError
from flops.http_opener import opener_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

LOOPBACK: Final = "127.0.0.1"
POLL_S: Final = 0.25
PROBE_S: Final = 0.05
PROBE_TIMEOUT_S: Final = 2.0
GRACE_S: Final = 5.0
TAIL_BYTES: Final = 8 * 1024


def listen(remembered: Path, endpoint: Endpoint = Endpoint()) -> socket.socket:  # noqa: B008  it is frozen
    """Listen on the endpoint's port, or where it has none on the one kept in the file ``remembered``.

    If that is not free, another one is kept there. The socket is bound before anybody learns its port, so two servers
    never collide.
    """
    for port in (endpoint.port,) if endpoint.port else (_read_port(remembered), 0):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            listener.bind((endpoint.listen, port))
            listener.listen()
        except OSError:
            listener.close()
            if port in {0, endpoint.port}:
                raise
            continue
        remembered.write_text(str(listener.getsockname()[1]))
        return listener
    raise AssertionError


class HttpChild:
    """A program that serves HTTP on a given listening socket, whose descriptor is its last argument.

    ``url`` is what others call it. Its standard input is a pipe that ends with this process: the program is expected to
    end then too.
    """

    def __init__(
        self,
        command: Sequence[str],
        listener: socket.socket,
        environment: Mapping[str, str],
        directory: Path,
        *,
        host: str = LOOPBACK,
    ) -> None:
        port = listener.getsockname()[1]
        self.url, self._own_url = f"http://{host}:{port}", f"http://{LOOPBACK}:{port}"
        self._tail = b""
        with listener:
            self._process = subprocess.Popen(
                [*command, str(listener.fileno())],
                pass_fds=(listener.fileno(),),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=directory,
            )
        self._output = threading.Thread(target=self._pass_on, args=(self._process.stdout,), daemon=True)
        self._output.start()

    def wait_until_ready(self, paths: Sequence[str], stopping: threading.Event, deadline_s: float) -> bool:
        """Wait until every path answers 200, one after the other; False when ``stopping`` was set before.

        Raises:
            ServerNotReadyError: the child ended or the deadline passed.
        """
        late = threading.Event()
        timer = threading.Timer(deadline_s, late.set)
        timer.daemon = True
        timer.start()
        try:
            return all(self._wait_for(path, stopping, late, deadline_s) for path in paths)
        finally:
            timer.cancel()

    def watch(self, stopping: threading.Event) -> int | None:
        """Wait until ``stopping`` is set (None) or the child has ended by itself (its exit code)."""
        while not stopping.wait(POLL_S):
            if self._process.poll() is not None:
                return self._process.returncode
        return None

    def stop(self) -> None:
        """End the child, politely and then by force. Idempotent."""
        for end in (self._process.terminate, self._process.kill):
            if self._process.poll() is None:
                end()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE_S)
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._output.join(1)

    def output_tail(self) -> str:
        """The end of what the child has printed."""
        return self._tail.decode(errors="replace")

    def _wait_for(self, path: str, stopping: threading.Event, late: threading.Event, deadline_s: float) -> bool:
        while not stopping.is_set():
            if self._answers(path):
                return True
            if (code := self._process.poll()) is not None:
                self._output.join(1)
                raise ServerNotReadyError(_how_it_ended(code), self.output_tail())
            if late.is_set():
                reason = f"it did not answer {path} within {deadline_s:g} s"
                raise ServerNotReadyError(reason, self.output_tail())
            stopping.wait(PROBE_S)
        return False

    def _answers(self, path: str) -> bool:
        try:
            with opener_for(self._own_url).open(self._own_url + path, timeout=PROBE_TIMEOUT_S) as answer:
                return bool(answer.status == 200)  # noqa: PLR2004 -- HTTP
        except OSError:
            return False

    def _pass_on(self, pipe: IO[bytes]) -> None:
        with pipe:
            for line in iter(lambda: pipe.readline(TAIL_BYTES), b""):
                self._tail = (self._tail + line)[-TAIL_BYTES:]
                with contextlib.suppress(OSError):  # a full disk; unread, the child would stand still
                    sys.stderr.write(line.decode(errors="replace"))
                    sys.stderr.flush()


def _how_it_ended(code: int) -> str:
    if code < 0:
        return f"it was ended by {signal.Signals(-code).name}"
    return f"it ended with exit code {code}"


def _read_port(remembered: Path) -> int:
    try:
        port = int(remembered.read_text())
    except (OSError, ValueError):
        return 0
    return port if 1024 <= port < 65536 else 0  # noqa: PLR2004 -- what an unprivileged server may use
