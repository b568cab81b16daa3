"""What the engine has told of ends of containers: by themselves, or because somebody stopped them."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from flops.adapters.docker_engine.container import Container, ContainerEvent

_SIGTERM: Final = "15"
_SECONDS: Final = len("2026-01-01T00:00:00")


class Fate(Enum):
    """Why a container does not run."""

    ENDED = auto()
    STOPPED = auto()
    UNKNOWN_YET = auto()


class Fates:
    """Fed with the engine's events in their order, by one thread; asked by any.

    An engine tells ``kill`` with SIGTERM, then ``die``, when it stops a container: on request, before it ends itself,
    and for what it finds running when it starts after it was killed. What it told before it ended is lost.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: set[str] = set()
        self._fates: dict[str, Fate] = {}
        self._known_until = 0.0

    def hear(self, event: ContainerEvent) -> None:
        """Take an event in."""
        container = event.container_id
        with self._lock:
            match event.action:
                case "start" | "destroy":
                    self._asked.discard(container)
                    self._fates.pop(container, None)
                case "kill" if event.signal == _SIGTERM:
                    self._asked.add(container)
                case "die":
                    self._fates[container] = Fate.STOPPED if container in self._asked else Fate.ENDED

    def heard_all_until(self, time_s: int) -> None:
        """Whatever happened up to then was heard, or will never be."""
        with self._lock:
            self._known_until = time_s

    def of(self, container: Container) -> Fate:
        """Why a container does not run any more."""
        with self._lock:
            fate = self._fates.get(container.id)
            if fate is None and seconds(container.ended) < self._known_until:
                return Fate.STOPPED
            return fate or Fate.UNKNOWN_YET


def seconds(engine_time: str) -> int:
    """A time as the engine writes it, in whole seconds since the epoch."""
    return int(datetime.fromisoformat(engine_time[:_SECONDS]).replace(tzinfo=UTC).timestamp())
