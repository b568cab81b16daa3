"""What a person watches: all projects, and the inbox of the one that is selected. No Textual here."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from flops.errors import FlopsError
from flops.tui.entries import Entries
from flops.tui.feed import PAGE
from flops.tui.projects import Projects

if TYPE_CHECKING:
    from collections.abc import Callable

    from flops.tui.feed import Feed

ASK_AGAIN_S: Final = 2.0
FIRST_LOADED: Final = 1000


@dataclass(slots=True)
class Changes:
    """What one look has changed. ``older`` says how many entries came before the first."""

    projects: bool = False
    entries: bool = False
    older: int = 0


class Watching:
    """Keeps projects and one inbox up to date; ``look`` is called several times a second, by one thread."""

    def __init__(self, feed: Feed, user: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self.feed, self.projects, self.entries = feed, Projects(user), Entries()
        self.selected = ""
        self.problem = ""
        self.is_listed = False
        self._user, self._clock = user, clock
        self._connection = 0
        self._asked_at: dict[str, float] = {}
        self._under_way: set[str] = set()
        self._missed = False
        self._changes = Changes()

    def select(self, project_id: str) -> None:
        """Show this project's inbox."""
        self.selected, self.entries = project_id, Entries()
        self._changes.entries = True
        self._missed = True
        self._asked_at.pop("inbox", None)
        self.feed.select(project_id)

    def look(self) -> Changes:
        """Take in what has come, and ask for what is missing."""
        news, changes = self.feed.take(), self._changes
        for status in news.statuses:
            changes.projects |= self.projects.hear(status)
        for project_id in news.deleted:
            changes.projects |= self.projects.forget(project_id)
        for entry in news.entries:
            if entry["project_id"] == self.selected:
                self.entries.hear(entry)
                changes.entries = True
        for then, answer in news.answers:
            then(answer)
        if self.feed.is_connected and self._connection != self.feed.connection_count:
            self._connection, self._missed = self.feed.connection_count, True
            self._ask("projects", lambda: self.feed.projects(self._user), self._list)
        self._fill()
        self._changes = Changes()
        return changes

    def load_older(self) -> None:
        """Load what comes before the first entry that is shown."""
        first, project_id = self.entries.first, self.selected
        if first > 1 and self.entries.is_loaded:
            after = max(0, first - 1 - PAGE)
            question = lambda: self.feed.history(project_id, after, first)  # noqa: E731  a question, once
            self._ask(f"older {project_id} {first}", question, lambda found: self._add_older(project_id, found))

    def _fill(self) -> None:
        told = int((self.projects.get(self.selected) or {}).get("entries", 0))
        is_behind = self.entries.has_gap or not self.entries.is_loaded or told > self.entries.last or self._missed
        now = self._clock()
        if not self.selected or not is_behind or not self.feed.is_connected:
            return
        if now - self._asked_at.get("inbox", -ASK_AGAIN_S) < ASK_AGAIN_S:
            return
        self._asked_at["inbox"], self._missed = now, False
        project_id = self.selected
        after = self.entries.last if self.entries.is_loaded else max(0, told - FIRST_LOADED)
        question = lambda: self.feed.history(project_id, after)  # noqa: E731  a question, once
        self._ask(f"inbox {project_id}", question, lambda found: self._add(project_id, found))

    def _ask(self, key: str, question: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Ask, unless the same question waits for its answer; what failed is said, and asked again when due."""
        if key in self._under_way:
            self._missed = True
            return
        self._under_way.add(key)

        def handle(answer: Any) -> None:  # noqa: ANN401  whatever the question gives
            self._under_way.discard(key)
            if isinstance(answer, FlopsError):
                self.problem, self._missed = answer.message, True
                if key == "projects":
                    self._connection = 0
                return
            self.problem = ""
            then(answer)

        self.feed.ask(question, handle)

    def _list(self, found: list[dict[str, Any]]) -> None:
        for status in found:
            self.projects.hear(status)
        self.projects.keep_only(str(status["project_id"]) for status in found)
        self._changes.projects = self.is_listed = True

    def _add(self, project_id: str, found: list[dict[str, Any]]) -> None:
        if project_id == self.selected:
            self.entries.read(found)
            self._changes.entries = True

    def _add_older(self, project_id: str, found: list[dict[str, Any]]) -> None:
        if project_id == self.selected:
            self._changes.older = self.entries.read_older(found)
            self._changes.entries = True
