"""Finding every process that belongs to an instance, however it tries to get away.

A process belongs to an instance when it is in the session that the instance was started with, when the environment it
was started with carries the instance's marker, or when its parent belongs to it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from flops.adapters.local_processes.environment import HOME_MARKER, INSTANCE_MARKER
from flops.adapters.local_processes.process_table import Entry, environment_of, scan

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Members:
    """Who belongs to what under one home. Remembers the markers it has read, so that a scan stays cheap."""

    def __init__(self, home: Path) -> None:
        self._home = str(home)
        self._markers: dict[tuple[int, float], str] = {}

    def of(self, instance: str, session: int = 0) -> list[Entry]:
        """The living processes of one instance, which was started with ``session`` if that is not 0."""
        return self.by_instance({session: instance} if session else {}).get(instance, [])

    def all(self) -> list[Entry]:
        """The living processes of every instance."""
        return [entry for found in self.by_instance({}).values() for entry in found]

    def by_instance(self, sessions: Mapping[int, str]) -> dict[str, list[Entry]]:
        """The living processes of every instance, by its id; one scan. ``sessions`` says which instance began which."""
        entries = scan()
        owners = self._owners(entries, sessions)
        found: dict[str, list[Entry]] = {}
        for entry in entries:
            owner = owners.get(entry.pid, "")
            if owner and not entry.is_zombie and entry.pid != os.getpid():
                found.setdefault(owner, []).append(entry)
        return found

    def _owners(self, entries: list[Entry], sessions: Mapping[int, str]) -> dict[int, str]:
        self._read_markers(entries)
        seeds = ((entry.pid, sessions.get(entry.session) or self._marker_of(entry)) for entry in entries)
        owners = {pid: owner for pid, owner in seeds if owner}
        grown = True
        while grown:
            below = {
                entry.pid: owners[entry.parent]
                for entry in entries
                if entry.pid not in owners and entry.parent in owners
            }
            owners.update(below)
            grown = bool(below)
        return owners

    def _marker_of(self, entry: Entry) -> str:
        return self._markers.get((entry.pid, entry.started), "")

    def _read_markers(self, entries: list[Entry]) -> None:
        """Read the markers of new processes; one that later replaces its environment stays what it was.

        An empty environment is read again next time: it may be that of a process in the middle of an exec.
        """
        known, self._markers = self._markers, {}
        for entry in entries:
            key = entry.pid, entry.started
            if key in known:
                self._markers[key] = known[key]
            elif environment := environment_of(entry.pid):
                is_ours = environment.get(HOME_MARKER) == self._home
                self._markers[key] = environment.get(INSTANCE_MARKER, "") if is_ours else ""


def find_offspring() -> list[Entry]:
    """The living descendants of this process, adopted orphans included."""
    entries = scan()
    found = {os.getpid()}
    grown = True
    while grown:
        below = {entry.pid for entry in entries if entry.parent in found} - found
        found |= below
        grown = bool(below)
    return [entry for entry in entries if entry.pid in found and entry.pid != os.getpid() and not entry.is_zombie]


def find_children() -> list[Entry]:
    """The living children of this process, adopted orphans included."""
    return [entry for entry in scan() if entry.parent == os.getpid() and not entry.is_zombie]
