"""Notices that what ``flops up`` waits for crashes again and again, so that nobody waits for it in vain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    from flops.adapters.local_processes.process import ProcessStatus

TOLERATED: Final = 1  # whatever stood in the way of the first start may be gone by the second


class Crashes:
    """The crashes since it was made, which is before anything is started."""

    def __init__(self, processes: Callable[[], Iterable[ProcessStatus]]) -> None:
        self._processes = processes
        self._restarts_before = {status.id: status.restarts for status in processes()}

    def again_and_again(self, names: Container[str]) -> ProcessStatus | None:
        """The first of these processes that has crashed more often than once, if any has."""
        for status in self._processes():
            before = min(self._restarts_before.get(status.id, 0), status.restarts)
            self._restarts_before[status.id] = before  # one that was specified anew counts from 0
            if status.id in names and status.restarts - before > TOLERATED:
                return status
        return None
