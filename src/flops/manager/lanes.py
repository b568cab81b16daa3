"""One lane per project: what is to be done is done in order there, and lanes run side by side."""

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


class Lanes:
    """Gives items to ``perform``, in order within a project. ``perform`` retries and reports by itself."""

    def __init__(self, perform: Callable[[PendingItem], None], *, workers: int = WORKERS) -> None:
        self._perform = perform
        self._waiting: dict[str, deque[PendingItem]] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="lane")

    def put(self, items: Sequence[PendingItem]) -> None:
        """Queue items of one or several projects; returns at once."""
        with self._lock:
            for item in items:
                lane = self._waiting.get(item.project_id)
                if lane is None:
                    self._waiting[item.project_id] = deque([item])
                    self._pool.submit(self._run, item.project_id)
                else:
                    lane.append(item)

    def close(self) -> None:
        """Finish what is being done; what waits stays pending in the store."""
        with self._lock:
            for lane in self._waiting.values():
                lane.clear()
        self._pool.shutdown(wait=True)

    def _run(self, project_id: str) -> None:
        while True:
            with self._lock:
                lane = self._waiting[project_id]
                if not lane:
                    del self._waiting[project_id]
                    return
                item = lane.popleft()
            try:
                self._perform(item)
            except Exception:
                log.exception("item stays pending", extra={"item": item.id})
