"""The processes of this machine, as /proc tells them on Linux and psutil elsewhere.

/proc is read directly because a scan happens whenever a process ends: over a hundred processes it takes a few
milliseconds, where psutil takes ten times as long.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_MAX_STAT_BYTES: Final = 4096
_STATE, _PARENT, _SESSION, _START = 0, 1, 3, 19  # proc(5), /proc/pid/stat, counted after the name
_IS_LINUX: Final = sys.platform == "linux"


@dataclass(frozen=True, slots=True)
class Entry:
    """A process. ``started`` tells it from a later one with the same id; its unit does not matter."""

    pid: int
    parent: int
    session: int
    started: float
    is_zombie: bool = False


def scan() -> list[Entry]:
    """Every process that can be seen."""
    if not _IS_LINUX:
        return _scan_with_psutil()
    entries = (entry_of(int(name)) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208  a hot loop
    return [entry for entry in entries if entry is not None]


def entry_of(pid: int) -> Entry | None:
    """One process, or None if it is gone."""
    if not _IS_LINUX:
        return next((entry for entry in _scan_with_psutil() if entry.pid == pid), None)
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
        try:
            text = os.read(descriptor, _MAX_STAT_BYTES)
        finally:
            os.close(descriptor)
    except OSError:
        return None
    fields = text[text.rindex(b")") + 2 :].split()  # the name, in parentheses, may hold anything
    return Entry(pid, int(fields[_PARENT]), int(fields[_SESSION]), int(fields[_START]), fields[_STATE] in b"ZX")


def environment_of(pid: int) -> dict[str, str]:
    """The environment that a process was started with; empty if it is gone or another user's."""
    try:
        if not _IS_LINUX:
            return _environment_with_psutil(pid)
        block = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    items = (item.partition(b"=") for item in block.split(b"\0") if item)
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in items}


def kill(entries: Iterable[Entry]) -> None:
    """Send SIGKILL to each that is still the process it was."""
    for entry in entries:
        now = entry_of(entry.pid)
        if now is not None and now.started == entry.started:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(entry.pid, signal.SIGKILL)


def memory_bytes(entries: Iterable[Entry], limit_bytes: int) -> int:
    """The memory in use; pages that several of the processes share count once when it matters for the limit."""
    listed = list(entries)
    resident = sum(_memory_of(entry.pid, "memory_info", "rss") for entry in listed)
    if resident <= limit_bytes:
        return resident
    return sum(_memory_of(entry.pid, "memory_full_info", "pss" if _IS_LINUX else "uss") for entry in listed)


def _memory_of(pid: int, question: str, figure: str) -> int:
    import psutil  # noqa: PLC0415  megabytes that a daemon without limits to watch does without

    try:
        return int(getattr(getattr(psutil.Process(pid), question)(), figure))
    except psutil.Error:
        return 0


def _scan_with_psutil() -> list[Entry]:
    import psutil  # noqa: PLC0415

    entries = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            is_zombie = process.status() == psutil.STATUS_ZOMBIE
            session = os.getsid(process.pid)
            entries.append(Entry(process.pid, process.ppid(), session, process.create_time(), is_zombie))
    return entries


def _environment_with_psutil(pid: int) -> dict[str, str]:
    import psutil  # noqa: PLC0415

    try:
        return dict(psutil.Process(pid).environ())
    except psutil.Error:
        return {}
