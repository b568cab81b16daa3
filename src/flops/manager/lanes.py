"""Two lanes per project, for events and for commands: each keeps its order, and none waits for the other.

Events have workers of their own, so that projects whose commands take long stop nobody from hearing of anything.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flops.ports import PendingItem

log = logging.getLogger(__name__)

WORKERS: Final = 16
EVENT_WORKERS: Final = 4

Lane = tuple[str, bool]


class Lanes:
    """Gives items to ``perform``, in order within a lane. ``perform`` retries and reports by itself."""

    def __init__(self, perform: Callable[[PendingItem], None], *, workers: int = WORKERS) -> None:
        self._perform = perform
        self._waiting: dict[Lane, deque[PendingItem]] = {}
        self._lock = threading.Lock()
        self._commands = ThreadPoolExecutor(workers, thread_name_prefix="command-lane")
        self._events = ThreadPoolExecutor(EVENT_WORKERS, thread_name_prefix="event-lane")

    def put(self, items: Sequence[PendingItem]) -> None:
        """Queue items of one or several projects; returns at once."""
        with self._lock:
            for item in items:
                lane = (item.project_id, item.command is None)
                if lane in self._waiting:
                    self._waiting[lane].append(item)
                else:
                    self._waiting[lane] = deque([item])
                    pool = self._events if item.command is None else self._commands
                    pool.submit(self._run, lane)

    def close(self) -> None:
        """Finish what is being done; what waits stays pending in the store."""
        with self._lock:
            for items in self._waiting.values():
                items.clear()
        self._commands.shutdown(wait=True)
        self._events.shutdown(wait=True)

    def _run(self, lane: Lane) -> None:
        while True:
            with self._lock:
                items = self._waiting[lane]
                if not items:
                    del self._waiting[lane]
                    return
                item = items.popleft()
            try:
                self._perform(item)
            except Exception:
                log.exception("item stays pending", extra={"item": item.id})
