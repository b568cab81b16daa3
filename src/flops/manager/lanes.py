"""Lanes: what is to be done for a project, in order within a lane, and no lane waiting for another.

Each project has one for what it tells, one for what it decides, one for its questions and one for its services. What
has to be tried again later occupies no worker meanwhile, and each kind has workers of its own: whatever hangs or fails
for many projects stops nobody else.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from flops.project.commands import Announce, FindImages, FindPlacement, ResolveRepository, SetDeadline, Undeploy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from flops.ports import PendingItem

log = logging.getLogger(__name__)


class Kind(StrEnum):
    """What items are about. A question may hang for as long as whoever is asked lets it."""

    EVENTS = "events"
    DECISIONS = "decisions"
    QUESTIONS = "questions"
    SERVICES = "services"


WORKERS: Final[Mapping[Kind, int]] = {Kind.EVENTS: 4, Kind.DECISIONS: 4, Kind.QUESTIONS: 128, Kind.SERVICES: 16}

BURST_LULL_S: Final = 0.25
BURST_S: Final = 2.0

Lane = tuple[str, Kind, str]


class Lanes:
    """Gives items to ``perform(item, attempt)``, which returns None or after how many seconds to try again.

    Attempts count from 1. An item that waits keeps its place. A removal waits for what was to be done before it, and
    nothing waits for a removal: what is to be stopped is stopped at once, and not one after the other.
    """

    def __init__(
        self, perform: Callable[[PendingItem, int], float | None], *, workers: Mapping[Kind, int] = WORKERS
    ) -> None:
        self._perform = perform
        self._waiting: dict[Lane, deque[PendingItem]] = {}
        self._parked: dict[Lane, float] = {}
        self._hurried: set[Lane] = set()
        self._held: dict[Lane, float] = {}
        self._burst_until = 0.0
        self._attempts: Counter[str] = Counter()
        self._changed = threading.Condition()  # of an RLock: ``put_new`` calls ``put``
        self._is_closing = False
        self._pools = {
            kind: ThreadPoolExecutor(number, thread_name_prefix=f"{kind}-lane") for kind, number in workers.items()
        }
        self._clock = threading.Thread(target=self._wake_in_time, name="lanes-clock", daemon=True)
        self._clock.start()

    def put(self, items: Sequence[PendingItem]) -> None:
        """Queue items of one or several projects; returns at once.

        What waits before a removal is tried again at once: it may have no purpose any more.
        """
        with self._changed:
            for item in items:
                self._queue(_lane_of(item), item)

    def put_new(self, items: Sequence[PendingItem]) -> None:
        """Queue what a new project begins with. While one comes after the other they begin later, but not much.

        Whoever asks for a project is told that it is accepted before all that follows takes the processor.
        """
        with self._changed:
            now = time.monotonic()
            if now < self._burst_until:
                if not self._held:
                    self._changed.notify_all()
                for lane in {_lane_of(item) for item in items} - self._waiting.keys():
                    self._waiting[lane] = deque()
                    self._held[lane] = now + BURST_S
            self._burst_until = now + BURST_LULL_S
            self.put(items)

    def drop(self) -> None:
        """Forget what has not begun; it stays pending in the store."""
        with self._changed:
            for lane in (*self._parked, *self._held):
                self._forget(self._waiting.pop(lane))
            self._parked.clear()
            self._held.clear()
            for items in self._waiting.values():
                self._forget([items.pop() for _ in range(len(items) - 1)])

    def close(self) -> None:
        """Finish what is being done; what waits stays pending in the store."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._clock.join()
        for pool in self._pools.values():
            pool.shutdown(wait=True, cancel_futures=True)

    def _forget(self, items: Iterable[PendingItem]) -> None:
        for item in items:
            del self._attempts[item.id]

    def _queue(self, lane: Lane, item: PendingItem) -> None:
        if lane in self._waiting:
            self._waiting[lane].append(item)
            if isinstance(item.command, Undeploy):
                self._hurried.add(lane)
                if self._parked.pop(lane, None) is not None or self._held.pop(lane, None) is not None:
                    self._submit(lane)
        else:
            self._waiting[lane] = deque([item])
            self._submit(lane)

    def _submit(self, lane: Lane) -> None:
        if not self._is_closing:
            self._pools[lane[1]].submit(self._run, lane)

    def _run(self, lane: Lane) -> None:
        while item := self._next(lane):
            try:
                wait_s = self._perform(item, self._attempts[item.id] + 1)
            except Exception:
                log.exception("item stays pending", extra={"item": item.id})
                wait_s = None
            with self._changed:
                if wait_s is None:
                    self._waiting[lane].popleft()
                    del self._attempts[item.id]
                else:
                    self._attempts[item.id] += 1
                    self._parked[lane] = time.monotonic() + (0.0 if lane in self._hurried else wait_s)
                    self._changed.notify_all()
                    return

    def _next(self, lane: Lane) -> PendingItem | None:
        with self._changed:
            if self._is_closing:
                return None
            self._hurried.discard(lane)
            items = self._waiting[lane]
            while items and isinstance(items[0].command, Undeploy) and not lane[2]:
                removal = items.popleft()
                self._queue((*lane[:2], removal.id), removal)
            if not items:
                del self._waiting[lane]
                return None
            return items[0]

    def _wake_in_time(self) -> None:
        with self._changed:
            while not self._is_closing:
                now = time.monotonic()
                for lane in [lane for lane, due in self._parked.items() if due <= now]:
                    del self._parked[lane]
                    self._submit(lane)
                while self._held and self._next_release() <= now:
                    lane = next(iter(self._held))
                    del self._held[lane]
                    self._submit(lane)
                dues = [*self._parked.values(), *([self._next_release()] if self._held else [])]
                self._changed.wait(max(0.0, min(dues) - now) if dues else None)

    def _next_release(self) -> float:
        """When the first of what is held begins: once no more comes, or after it has been held for long."""
        return min(self._burst_until, next(iter(self._held.values())))


def _lane_of(item: PendingItem) -> Lane:
    match item.command:
        case None:
            kind = Kind.EVENTS
        case Announce() | SetDeadline():
            kind = Kind.DECISIONS
        case ResolveRepository() | FindPlacement() | FindImages():
            kind = Kind.QUESTIONS
        case _:
            kind = Kind.SERVICES
    return item.project_id, kind, ""
