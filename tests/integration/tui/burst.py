"""A flood of entries from a real broker, and somebody who presses keys meanwhile."""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.doubles.tui import ID, Desk, status
from tests.integration.tui.seat import WITHIN_S, inbox, lines, sit_down, until
from textual import events

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.brokers import BrokerProcess
    from textual.pilot import Pilot

    from flops.tui.app import FlopsApp
    from flops.wire.topics import Topics

PER_S: Final = 10_000 / 60 * 2  # twice as quick as 10,000 a minute
BETWEEN_KEYS_S: Final = 0.03
LOOK_S: Final = 0.001
ROOT: Final = Path(__file__).parents[3]


@dataclass
class Latencies:
    """How long keys took until what they do was drawn: by the clock, and of the interface's own time."""

    waited_s: list[float] = field(default_factory=list)
    worked_s: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        waited, worked = (
            f"median {statistics.median(values) * 1000:.0f} ms, 99 % {percentile_99(values) * 1000:.0f} ms"
            for values in (self.waited_s, self.worked_s)
        )
        return f"{len(self.waited_s)} keys: {waited}; of the interface's own time {worked}"


def percentile_99(values: list[float]) -> float:
    """What 99 of a hundred do not exceed."""
    return statistics.quantiles(values, n=100, method="inclusive")[98]


def keys_during_a_burst(broker: BrokerProcess, topics: Topics, directory: Path, entries: int) -> Latencies:
    """Let an observer tell so many entries, and press keys until all of them are there."""
    latencies = Latencies()

    async def part(app: FlopsApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: app.watching.selected == ID and app.watching.entries.is_loaded)
        await pilot.press("1")
        gc.freeze()  # as the command does, which has loaded less than the tests
        with _observer(broker, topics, directory, entries):
            await until(pilot, lambda: len(lines(app)) > 1)
            while len(lines(app)) < entries:
                waited_s, worked_s = await _key_s(app, is_up=len(latencies.waited_s) % 2 == 0)
                latencies.waited_s.append(waited_s)
                latencies.worked_s.append(worked_s)
                await asyncio.sleep(BETWEEN_KEYS_S)
        gc.unfreeze()
        assert lines(app) == list(range(1, entries + 1))

    with _desk(broker, topics) as desk:
        desk.listed = [status(entries=0)]
        sit_down(desk.link(), part)
    return latencies


async def _key_s(app: FlopsApp, *, is_up: bool) -> tuple[float, float]:
    """Press one of two keys: one leaves the newest entry, and the other leads back to it."""
    pressed, is_drawn = events.Key("up" if is_up else "end", None), asyncio.Event()
    pressed.set_sender(app)
    begun, worked = time.perf_counter(), time.thread_time()
    app.post_message(pressed)
    while inbox(app).is_following == is_up:
        assert time.perf_counter() < begun + WITHIN_S, pressed
        await asyncio.sleep(LOOK_S)
    inbox(app).call_after_refresh(is_drawn.set)
    await is_drawn.wait()
    return time.perf_counter() - begun, time.thread_time() - worked


@contextmanager
def _desk(broker: BrokerProcess, topics: Topics) -> Iterator[Desk]:
    made = Desk(broker, topics)
    thread = threading.Thread(target=made.run)
    thread.start()
    try:
        yield made
    finally:
        made.stopping.set()
        thread.join(10)
        made.bus.close()


@contextmanager
def _observer(broker: BrokerProcess, topics: Topics, directory: Path, entries: int) -> Iterator[None]:
    access, password = broker.access, directory / "password"
    password.write_text(access.password)
    host, port, _ = access.address()
    arguments = [host, port, access.username, password, topics.project_inbox(ID), PER_S, entries]
    command = [sys.executable, *map(str, [Path(__file__).with_name("observer.py"), *arguments])]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        yield
    finally:
        process.kill()
        process.wait(10)
