"""Finding and killing every process that belongs to an instance, however it tries to get away.

A process belongs to an instance when it is in the session that the instance was started with, when its initial
environment carries the instance's marker, or when an ancestor belongs to it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

from flops.adapters.local_processes.environment import HOME_MARKER, INSTANCE_MARKER

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def find_members(home: Path, *, instance: str = "", session: int = 0) -> list[psutil.Process]:
    """The living processes of one instance, or with neither given those of every instance under ``home``."""
    everything = {process.pid: process for process in psutil.process_iter()}
    found = {pid for pid in everything if _is_seed(everything[pid], home, instance, session)}
    parents = {pid: _parent_of(process) for pid, process in everything.items()}
    grown = True
    while grown:
        below = {pid for pid, parent in parents.items() if parent in found} - found
        found |= below
        grown = bool(below)
    found.discard(os.getpid())
    return [everything[pid] for pid in sorted(found) if is_alive(everything[pid])]


def find_offspring() -> list[psutil.Process]:
    """The living descendants of this process, adopted orphans included."""
    return [process for process in psutil.Process().children(recursive=True) if is_alive(process)]


def is_alive(process: psutil.Process) -> bool:
    """Whether the process still runs; one that only waits to be reaped does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def marker_of(process: psutil.Process, home: Path) -> str:
    """The id of the instance under ``home`` that the process was started for, or an empty string."""
    try:
        environment = process.environ()
    except (psutil.Error, OSError):
        return ""
    return environment.get(INSTANCE_MARKER, "") if environment.get(HOME_MARKER) == str(home) else ""


def session_of(process: psutil.Process) -> int:
    """The id of the session that the process is in, or 0 if it is gone."""
    try:
        return os.getsid(process.pid)
    except OSError:
        return 0


def kill(processes: Iterable[psutil.Process]) -> None:
    """Send SIGKILL to each that is still the process it was when it was found."""
    for process in processes:
        with suppress(psutil.Error):
            process.kill()


def memory_bytes(processes: Iterable[psutil.Process], limit_bytes: int) -> int:
    """The memory in use; pages that several of the processes share count once when it matters for the limit."""
    listed = list(processes)
    resident = sum(_resident_bytes(process) for process in listed)
    return resident if resident <= limit_bytes else sum(_proportional_bytes(process) for process in listed)


def _is_seed(process: psutil.Process, home: Path, instance: str, session: int) -> bool:
    if session and session_of(process) == session:
        return True
    marker = marker_of(process, home)
    return marker == instance if instance else bool(marker)


def _parent_of(process: psutil.Process) -> int:
    try:
        return process.ppid()
    except psutil.Error:
        return 0


def _resident_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _proportional_bytes(process: psutil.Process) -> int:
    try:
        usage = process.memory_full_info()
    except psutil.Error:
        return 0
    return int(getattr(usage, "pss", usage.rss))
