"""Events that came before their predecessors: held until those come, but not for ever."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from flops.wire.envelope import Envelope

PATIENCE_S: Final = 60.0
MAX_HELD: Final = 10_000
MAX_HELD_OF_SOURCE: Final = 1_000
MAX_GAPS: Final = 10_000

Source = tuple[str, str]


@dataclass(slots=True)
class _Gap:
    """``held`` are the events beyond the gap by their numbers, ``first`` is the lowest number that was seen there."""

    since: float
    first: int
    held: dict[int, Envelope] = field(default_factory=dict)


class Gaps:
    """The gaps in what each source of each project has told, and what was heard beyond them.

    They are forgotten with the process, and what cannot be held is not: its producer sends it again. Any thread.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._gaps: dict[Source, _Gap] = {}
        self._held = 0
        self._lock = threading.Lock()

    def hold(self, project_id: str, envelope: Envelope) -> None:
        """Note an event that came too early."""
        key = (project_id, envelope.source)
        with self._lock:
            if key not in self._gaps and len(self._gaps) >= MAX_GAPS:
                return
            gap = self._gaps.setdefault(key, _Gap(self._clock(), envelope.sequence))
            gap.first = min(gap.first, envelope.sequence)
            has_room = self._held < MAX_HELD and len(gap.held) < MAX_HELD_OF_SOURCE
            if envelope.sequence not in gap.held and has_room:
                gap.held[envelope.sequence] = envelope
                self._held += 1

    def following(self, project_id: str, source: str, watermark: int) -> Envelope | None:
        """The held event that comes next after ``watermark``, given out once; a gap that is closed is forgotten."""
        key = (project_id, source)
        with self._lock:
            gap = self._gaps.get(key)
            if gap is None:
                return None
            for number in [number for number in gap.held if number <= watermark]:
                self._drop(gap, number)
            following = self._drop(gap, watermark + 1)
            if gap.held:
                gap.first = min(gap.held)
            elif watermark + 1 >= gap.first:
                del self._gaps[key]
            if following is not None and key in self._gaps:
                gap.since = self._clock()
            return following

    def overdue(self) -> list[tuple[str, str, int]]:
        """The gaps that were waited for long enough: project, source, and the last number that is missing."""
        now = self._clock()
        with self._lock:
            return [(*key, gap.first - 1) for key, gap in self._gaps.items() if now - gap.since >= PATIENCE_S]

    def forget(self, project_id: str, source: str) -> None:
        """Forget a gap that is none of this manager's any more."""
        with self._lock:
            gap = self._gaps.pop((project_id, source), None)
            self._held -= len(gap.held) if gap else 0

    def _drop(self, gap: _Gap, number: int) -> Envelope | None:
        envelope = gap.held.pop(number, None)
        self._held -= envelope is not None
        return envelope
