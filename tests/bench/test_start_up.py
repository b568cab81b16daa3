"""How soon a command has answered and the terminal interface is seen, against the least that could do the same."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import statistics
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import pytest
from tests.integration.tui.burst import keys_during_a_burst, percentile_99

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.bench.table import Table
    from tests.brokers import BrokerProcess
    from tests.system.installation import Installation

    from flops.wire.topics import Topics

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

LISTS: Final = 21
PAINTS: Final = 11
PAINT_S: Final = 60.0
ROWS, COLUMNS = 24, 80
EMPTY_APP: Final = """
from textual.app import App
from textual.widgets import Static

class Empty(App):
    def compose(self):
        yield Static("PROJECTS")

Empty().run()
"""


def alternated(commands: dict[str, Callable[[], float]], times: int) -> list[float]:
    """The median of each, measured in turns, so that whatever else the machine does meets them all."""
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(times):
        for name, measure in commands.items():
            taken[name].append(measure())
    return [statistics.median(values) for values in taken.values()]


def duration_s(arguments: Sequence[str], environment: dict[str, str]) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, *arguments], env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def painted_s(arguments: Sequence[str], environment: dict[str, str], content: bytes) -> float:
    """From the start of a process in a terminal of its own until something is read there."""
    begun = time.perf_counter()
    child, terminal = pty.fork()
    if child == 0:
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        os.execve(sys.executable, [sys.executable, *arguments], environment)  # noqa: S606  no shell is wanted
    seen = b""
    try:
        while content not in seen:
            left_s = begun + PAINT_S - time.perf_counter()
            assert select.select([terminal], [], [], max(0.0, left_s))[0], seen
            seen += os.read(terminal, 65536)
        return time.perf_counter() - begun
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(terminal)


def test_a_list_of_projects_is_hardly_slower_than_importing_click(installation: Installation, table: Table) -> None:
    environment = installation.environment
    ours_s, bare_s = alternated(
        {
            "list": lambda: duration_s(["-m", "flops", "project", "list"], environment),
            "click": lambda: duration_s(["-c", "import click"], environment),
        },
        LISTS,
    )
    detail = f"{ours_s * 1000:.0f} ms / {bare_s * 1000:.0f} ms"
    table.at_most("flops project list, against import click", ours_s / bare_s, 2, "x", detail=detail)


def test_the_terminal_interface_is_seen_nearly_as_soon_as_an_empty_one(
    installation: Installation, table: Table
) -> None:
    environment = {**installation.environment, "TERM": "xterm-256color"}
    ours_s, empty_s = alternated(
        {
            "tui": lambda: painted_s(["-m", "flops", "tui"], environment, b"ACCURACY"),
            "empty": lambda: painted_s(["-c", EMPTY_APP], environment, b"PROJECTS"),
        },
        PAINTS,
    )
    detail = f"{ours_s * 1000:.0f} ms / {empty_s * 1000:.0f} ms"
    table.at_most("flops tui, first paint, against an empty app", ours_s / empty_s, 2, "x", detail=detail)


def test_keys_of_the_terminal_interface_are_answered_during_a_burst(
    mosquitto: BrokerProcess, topics: Topics, table: Table, tmp_path: Path
) -> None:
    latencies = keys_during_a_burst(mosquitto, topics, tmp_path, 5000)
    name = "flops tui, 99 % of keys while 20,000 entries a minute arrive"
    detail = f"{len(latencies.waited_s)} keys, half of them {statistics.median(latencies.waited_s) * 1000:.0f} ms"
    table.at_most(name, percentile_99(latencies.waited_s) * 1000, 50, " ms", detail=detail)
