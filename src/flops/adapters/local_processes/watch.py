"""What is looked at now and then: limits, strays, the size of logs, and state that could not be saved."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flops.adapters.local_processes import log_file
from flops.adapters.local_processes.members import find_children
from flops.adapters.local_processes.process_table import Entry, kill, memory_bytes
from flops.adapters.local_processes.protocol import daemon_log

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flops.adapters.local_processes.state import StateFile
    from flops.adapters.local_processes.supervisor import Supervised, Supervisor

_log = logging.getLogger(__name__)

MIB: Final = 1024 * 1024
_BLOCK_BYTES: Final = 512  # the unit of st_blocks


async def watch(
    supervisor: Supervisor, state: StateFile, home: Path, *, memory_every_s: float = 0.5, rest_every_s: float = 5.0
) -> None:
    """Look after the running processes for ever."""
    per_round = max(1, round(rest_every_s / memory_every_s))
    turn, suspects = 0, set[Entry]()
    while True:
        check_memory(supervisor)
        if turn % per_round == 0:
            check_storage(supervisor)
            suspects = kill_strays(supervisor, suspects)
            bound_logs([*(Path(process.spec.log_file) for process in supervisor.running), daemon_log(home)])
            state.save_again()
        turn += 1
        await asyncio.sleep(memory_every_s)


def check_memory(supervisor: Supervisor) -> None:
    """Break off what uses more memory than it may, its offspring counted."""
    limited = [process for process in supervisor.running if process.spec.limits.memory_mb]
    if not limited:
        return
    members = supervisor.members.by_instance(_sessions(limited))
    for process in limited:
        limit_mb = process.spec.limits.memory_mb
        if memory_bytes(members.get(process.spec.id, []), limit_mb * MIB) > limit_mb * MIB:
            supervisor.break_off(process, f"used more than {limit_mb:,} MB of memory")


def check_storage(supervisor: Supervisor) -> None:
    """Break off what has written more into its directory than it may."""
    for process in supervisor.running:
        limit_mb = process.spec.limits.storage_mb
        if limit_mb and directory_bytes(Path(process.spec.directory)) > limit_mb * MIB:
            supervisor.break_off(process, f"used more than {limit_mb:,} MB of storage")


def kill_strays(supervisor: Supervisor, suspects: set[Entry]) -> set[Entry]:
    """Kill adopted orphans that belong to nothing that runs, if they were suspects before; returns the new suspects.

    The second look is needed since a process in the middle of an exec shows no marker.
    """
    sessions = _sessions(supervisor.running)
    members = supervisor.members.by_instance(sessions)
    accounted = {entry.pid for instance in sessions.values() for entry in members.get(instance, [])}
    strays = {child for child in find_children() if child.pid not in accounted}
    if convicted := strays & suspects:
        _log.warning("killing strays: %s", ", ".join(str(stray.pid) for stray in convicted))
        kill(convicted)
    return strays - convicted


def bound_logs(paths: Iterable[Path]) -> None:
    """Rotate the logs that have grown too long."""
    for path in paths:
        try:
            log_file.rotate(path)
        except OSError as error:
            _log.warning("log not rotated: %s: %s", path, error)


def directory_bytes(directory: Path) -> int:
    """The space that a directory takes on disk."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * _BLOCK_BYTES  # noqa: PTH118  a hot loop
            except OSError:
                continue
    return total


def _sessions(processes: Iterable[Supervised]) -> dict[int, str]:
    return {process.status.pid: process.spec.id for process in processes}
