"""A server as a child process."""

from __future__ import annotations

import http.client
import os
import sys
import textwrap
import threading
import urllib.request
from typing import TYPE_CHECKING

import pytest

from flops.errors import ServerNotReadyError
from flops.http_child import HttpChild, listen

if TYPE_CHECKING:
    from pathlib import Path

SERVER = """
import http.server, os, signal, socket, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/end":
            os._exit(7)
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
listener = socket.socket(fileno=int(sys.argv[-1]))
server = http.server.HTTPServer(listener.getsockname(), Handler, bind_and_activate=False)
server.socket.close()
server.socket = listener
server.serve_forever()
"""


def child_of(tmp_path: Path, program: str) -> HttpChild:
    command = [sys.executable, "-c", textwrap.dedent(program)]
    return HttpChild(command, listen(tmp_path / "port"), os.environ, tmp_path)


def test_the_port_stays_the_same(tmp_path: Path) -> None:
    with listen(tmp_path / "port") as first:
        port = first.getsockname()[1]
    with listen(tmp_path / "port") as second:
        assert second.getsockname()[1] == port


def test_a_taken_port_is_chosen_again(tmp_path: Path) -> None:
    with listen(tmp_path / "port") as first, listen(tmp_path / "port") as second:
        assert first.getsockname() != second.getsockname()
        assert (tmp_path / "port").read_text() == str(second.getsockname()[1])


@pytest.mark.parametrize("text", ["", "x", "-1", "80", "70000"])
def test_a_useless_port_file_is_replaced(tmp_path: Path, text: str) -> None:
    (tmp_path / "port").write_text(text)
    with listen(tmp_path / "port") as listener:
        assert (tmp_path / "port").read_text() == str(listener.getsockname()[1])


def test_a_server_is_awaited_watched_and_stopped(tmp_path: Path) -> None:
    stopping = threading.Event()
    child = child_of(tmp_path, SERVER)
    assert child.wait_until_ready(["/a", "/b"], stopping, 30)
    stopping.set()
    assert child.watch(stopping) is None
    child.stop()
    child.stop()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(child.url)  # noqa: S310 -- loopback


def test_a_server_that_ends_by_itself_is_noticed(tmp_path: Path) -> None:
    stopping = threading.Event()
    child = child_of(tmp_path, SERVER)
    assert child.wait_until_ready(["/"], stopping, 30)
    with pytest.raises(http.client.RemoteDisconnected):
        urllib.request.urlopen(f"{child.url}/end")  # noqa: S310 -- loopback
    assert child.watch(stopping) == 7
    child.stop()


def test_a_server_that_fails_says_why(tmp_path: Path) -> None:
    child = child_of(tmp_path, "raise SystemExit('no such model')")
    with pytest.raises(ServerNotReadyError) as caught:
        child.wait_until_ready(["/"], threading.Event(), 30)
    assert "exit code 1" in caught.value.reason
    assert "no such model" in caught.value.output
    child.stop()


def test_a_server_that_never_answers_is_late(tmp_path: Path) -> None:
    child = child_of(tmp_path, "import sys; print('loading', flush=True); sys.stdin.read()")
    with pytest.raises(ServerNotReadyError, match="within"):
        child.wait_until_ready(["/"], threading.Event(), 0.2)
    child.stop()


def test_waiting_ends_when_the_service_is_stopped(tmp_path: Path) -> None:
    stopping = threading.Event()
    stopping.set()
    child = child_of(tmp_path, "import sys; sys.stdin.read()")
    assert not child.wait_until_ready(["/"], stopping, 30)
    child.stop()
