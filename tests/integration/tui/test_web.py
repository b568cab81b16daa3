"""The interface in a browser: nothing without the token, everything with it, and no process left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import psutil
import pytest
from tests.brokers import wait_until

from flops.cli.results import Address

pytest.importorskip("textual_serve")
aiohttp = pytest.importorskip("aiohttp")

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aiohttp import ClientWebSocketResponse
    from tests.brokers import BrokerProcess

FIRST_SIGHT_S: Final = 30.0
SIZE: Final = "ws?width=100&height=30"


@dataclass(frozen=True)
class Served:
    """``flops tui --web`` as a process, and the address that it printed."""

    process: subprocess.Popen[str]
    url: str

    @property
    def root(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}/"

    def visitors(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture
def served(mosquitto: BrokerProcess, tmp_path: Path) -> Iterator[Served]:
    access = mosquitto.access
    password = tmp_path / "password"
    password.write_text(access.password)
    environment = {
        **os.environ,
        "FLOPS_HOME": str(tmp_path / "home"),
        "FLOPS_BROKER_USERNAME": access.username,
        "FLOPS_BROKER_PASSWORD_FILE": str(password),
    }
    command = (sys.executable, "-m", "flops", "--set", f"broker_url={access.url}", "tui", "--web", "--json")
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        yield Served(process, _url_in(process))
    finally:
        process.kill()
        process.communicate(timeout=10)


def _url_in(process: subprocess.Popen[str]) -> str:
    """The address out of the JSON document that the command prints before it serves."""
    assert process.stdout is not None
    printed = ""
    for line in process.stdout:
        printed += line
        if line.startswith("}"):
            return Address.model_validate_json(printed).url
    pytest.fail(f"it printed no address: {printed}")


async def _see(socket: ClientWebSocketResponse, text: str) -> None:
    """Return once a text has come to the screen."""
    screen = b""
    async with asyncio.timeout(FIRST_SIGHT_S):
        while text.encode() not in screen:
            message = await socket.receive()
            assert message.type in {aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT}, screen
            screen += message.data if isinstance(message.data, bytes) else message.data.encode()


def test_nothing_is_served_without_the_token(served: Served) -> None:
    token = urlsplit(served.url).path.strip("/")
    assert len(token) >= 32

    async def visit() -> None:
        async with aiohttp.ClientSession() as visitor:
            for base in (served.root, f"{served.root}{token[:-1]}/", f"{served.root}{token.swapcase()}/"):
                for path in ("", "static/js/textual.js", f"?token={token}", "download/x", SIZE):
                    async with visitor.get(base + path) as answer:
                        assert answer.status == 403, base + path
                        assert token not in await answer.text()
                with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
                    await visitor.ws_connect(base + SIZE)

    asyncio.run(visit())
    assert served.visitors() == []


def test_with_the_token_there_is_a_page_and_a_live_interface(served: Served) -> None:
    async def visit() -> None:
        async with aiohttp.ClientSession() as visitor:
            async with visitor.get(served.url) as answer:
                page = await answer.text()
                assert (answer.status, answer.headers["Referrer-Policy"]) == (200, "no-referrer")
                assert "font-src" not in answer.headers["Content-Security-Policy"]
                assert f'data-session-websocket-url="{served.url.replace("http", "ws", 1)}ws"' in page
            async with visitor.get(f"{served.url}static/js/textual.js") as answer:
                assert answer.status == 200
            async with visitor.ws_connect(served.url + SIZE) as socket:
                await _see(socket, "Inbox")
                assert len(served.visitors()) == 1
                await socket.send_json(["stdin", "?"])
                await _see(socket, "Esc closes this")

    asyncio.run(visit())
    wait_until(lambda: served.visitors() == [])


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whichever_way_it_ends_its_visitors_end(served: Served, how: signal.Signals) -> None:
    async def visit() -> list[psutil.Process]:
        async with aiohttp.ClientSession() as visitor, visitor.ws_connect(served.url + SIZE) as socket:
            await _see(socket, "Inbox")
            visitors = served.visitors()
            served.process.send_signal(how)
            await asyncio.to_thread(served.process.wait, 15)
            return visitors

    visitors = asyncio.run(visit())
    assert len(visitors) == 1
    wait_until(lambda: not any(child.is_running() and child.status() != "zombie" for child in visitors))
    assert served.process.returncode == (0 if how is not signal.SIGKILL else -how)
