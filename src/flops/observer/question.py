"""What an observer asks the manager for: the events of its project, page by page."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flops.errors import UndecodableMessageError
from flops.wire.envelope import Envelope, envelope_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Page:
    """What the manager has answered: events with their positions in its log, and whether it has more."""

    events: Sequence[tuple[int, Envelope]]
    more: bool


class Question:
    """What is asked by a thread of its own, which nobody has to wait for."""

    def __init__(self, ask: Callable[[], Page | None], times_behind: int) -> None:
        self.answer: Page | None = None
        self.times_behind = times_behind
        self._ask = ask
        self._thread = threading.Thread(target=self._run, name="question", daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether the answer is there, or that there is none."""
        return not self._thread.is_alive()

    def _run(self) -> None:
        self.answer = self._ask()


def page_of(answer: Mapping[str, Any]) -> Page:
    """The page that an answer is.

    Raises:
        UndecodableMessageError: it is none.
    """
    try:
        events = [(int(item["position"]), envelope_of("request/events", item["envelope"])) for item in answer["events"]]
        return Page(events, bool(answer["more"]))
    except (LookupError, TypeError, ValueError) as error:
        raise UndecodableMessageError("request/events", f"its answer is no page of events: {error!r}") from error
