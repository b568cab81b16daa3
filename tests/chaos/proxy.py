"""A TCP proxy that understands just enough of MQTT to repeat, delay and reorder messages on their way to the broker."""

from __future__ import annotations

import asyncio
import random
import threading
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from flops.settings import BrokerAccess

LOOPBACK: Final = "127.0.0.1"
READY_S: Final = 10.0
PUBLISH: Final = 3
DISCONNECT: Final = 14
DUPLICATE: Final = 0x08
QOS: Final = 0x06
RETAIN: Final = 0x01


class Proxy:
    """Stands between clients and a broker.

    A QoS 1 message of a client reaches the broker ``copies`` times (repetitions marked with DUP), each copy after
    a delay of its own of at most ``delay_s``, so that messages overtake each other. Retained messages are repeated but
    keep their order: each is a state that replaces the one before.
    """

    def __init__(self, access: BrokerAccess, *, copies: int = 1, delay_s: float = 0.0, seed: int = 0) -> None:
        host, port, _ = access.address()
        self.messages = 0
        self._target, self._copies, self._delay_s = (host, port), copies, delay_s
        self._random = random.Random(seed)  # noqa: S311  a repeatable experiment, no secret
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._port = 0
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()
        assert self._ready.wait(READY_S)
        self.access = replace(access, url=f"mqtt://{LOOPBACK}:{self._port}")

    def close(self) -> None:
        """Cut every connection and stop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(READY_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._connect, LOOPBACK, 0))
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_broker, to_broker = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        pumps = [
            asyncio.ensure_future(self._pass_on(reader, to_broker)),
            asyncio.ensure_future(_copy(from_broker, writer)),
        ]
        try:
            with suppress(asyncio.CancelledError):  # the proxy stops
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            writer.close()
            to_broker.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                packet = await _read_packet(reader)
                kind, flags = packet[0] >> 4, packet[0] & 0x0F
                if kind == DISCONNECT:
                    await asyncio.sleep(self._delay_s)  # what was said before it arrives before it
                if kind != PUBLISH or not flags & QOS:
                    writer.write(packet)
                    continue
                self.messages += 1
                repeated = bytes([packet[0] | DUPLICATE]) + packet[1:]
                for copy in [packet] + [repeated] * (self._copies - 1):
                    delay_s = 0.0 if flags & RETAIN else self._random.uniform(0.0, self._delay_s)
                    if delay_s:
                        self._loop.call_later(delay_s, _write, writer, copy)
                    else:
                        writer.write(copy)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


def _write(writer: asyncio.StreamWriter, packet: bytes) -> None:
    if not writer.is_closing():
        writer.write(packet)


async def _read_packet(reader: asyncio.StreamReader) -> bytes:
    """One control packet: a byte of type and flags, the length as MQTT encodes it, and the rest."""
    header = await reader.readexactly(1)
    length, shift = 0, 0
    while True:
        digit = await reader.readexactly(1)
        header += digit
        length |= (digit[0] & 0x7F) << shift
        shift += 7
        if not digit[0] & 0x80:
            return header + await reader.readexactly(length)
