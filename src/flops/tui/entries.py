"""The inbox of one project as a person scrolls through it: in order, each entry once, without gaps."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

SIGNS: Final = {"info": " ", "success": "✓", "warning": "!", "error": "✗"}
ENDED: Final = frozenset({"completed", "failed", "cancelled"})
SIGNS_OF_PHASES: Final = {"completed": "✓", "failed": "✗", "cancelled": "■"}
MINUTE_S: Final = 60
MILESTONES: Final = frozenset({"training.started", "round.finished"})
Entry = dict[str, Any]


class Entries:
    """Entries in the order of their numbers, whatever order and however often they come.

    What was published is shown once all before it is known; what is missing in between has to be read from the history,
    which alone knows what is kept no more.
    """

    def __init__(self) -> None:
        self.shown: list[Entry] = []
        self._milestones: list[Entry] = []
        self.is_loaded = False
        self._early: dict[int, Entry] = {}

    @property
    def first(self) -> int:
        """The number of the oldest entry that is loaded; 0 without any."""
        return int(self.shown[0]["sequence"]) if self.shown else 0

    @property
    def last(self) -> int:
        """The number up to which nothing is missing; 0 before anything is known."""
        return int(self.shown[-1]["sequence"]) if self.shown else 0

    @property
    def has_gap(self) -> bool:
        """Whether something is known after what is missing."""
        return bool(self._early)

    @property
    def course(self) -> list[Entry]:
        """The few entries that stages and rounds can be told from: where one begins, and the last."""
        return [*self._milestones, *self.shown[-1:]]

    def hear(self, entry: Entry) -> None:
        """Take an entry that was published."""
        if entry["sequence"] > self.last:
            self._early[entry["sequence"]] = entry
            if self.is_loaded:
                self._close_up()

    def read(self, entries: Iterable[Entry]) -> None:
        """Take what the history has after the last entry; what it leaves out is kept no more."""
        for entry in entries:
            if entry["sequence"] > self.last:
                self._append(entry)
        self.is_loaded = True
        self._early = {number: entry for number, entry in self._early.items() if number > self.last}
        self._close_up()

    def read_older(self, entries: Iterable[Entry]) -> int:
        """Take what the history has before the first entry; returns how many were new."""
        older = [entry for entry in entries if entry["sequence"] < self.first]
        self.shown[:0] = older
        self._milestones[:0] = [
            entry for before, entry in zip([None, *older], older, strict=False) if _is_milestone(entry, before)
        ]
        return len(older)

    def _close_up(self) -> None:
        while (entry := self._early.pop(self.last + 1, None)) is not None:
            self._append(entry)

    def _append(self, entry: Entry) -> None:
        if _is_milestone(entry, self.shown[-1] if self.shown else None):
            self._milestones.append(entry)
        self.shown.append(entry)


def _is_milestone(entry: Entry, before: Entry | None) -> bool:
    return before is None or entry.get("stage") != before.get("stage") or entry["event_type"] in MILESTONES


def matches(entry: Entry, wanted: str) -> bool:
    """Whether an entry has a text anywhere that a person can see; upper and lower case are the same."""
    return not wanted or any(
        wanted.casefold() in str(entry.get(name, "")).casefold()
        for name in ("text", "severity", "stage", "details", "next_step")
    )


def printable(text: str) -> str:
    """A text from elsewhere without anything that a terminal would obey."""
    return "".join(character if character.isprintable() else " " for character in text)


def printable_lines(text: str) -> str:
    """Several lines without anything that a terminal would obey."""
    return "\n".join(map(printable, text.expandtabs(4).split("\n")))


def span(seconds: float) -> str:
    """A length of time in two figures at most: 42s, 3m12s, 5h07m, 4d."""
    whole = max(0, int(seconds))
    minutes, hours = whole // MINUTE_S, whole // MINUTE_S**2
    if whole < MINUTE_S:
        return f"{whole}s"
    if hours == 0:
        return f"{minutes}m{whole % MINUTE_S:02d}s"
    return f"{hours}h{minutes % MINUTE_S:02d}m" if hours < 100 else f"{hours // 24}d"  # noqa: PLR2004  room for it


def line_of(entry: Entry) -> str:
    """An entry in one line."""
    clock = datetime.fromisoformat(entry["time"]).astimezone().strftime("%H:%M:%S")
    more = " …" if entry.get("details") else ""
    return f"{clock} {SIGNS.get(str(entry['severity']), ' ')} {printable(str(entry['text']))}{more}"


def full_text(entry: Entry) -> str:
    """An entry with everything that is known of it."""
    parts = [line_of(entry).removesuffix(" …"), ""]
    parts += [printable(line) for line in str(entry.get("details", "")).expandtabs(4).splitlines()]
    if entry.get("next_step"):
        parts += ["", f"→ {printable(str(entry['next_step']))}"]
    told = {"number": entry["sequence"], "time": entry["time"], "stage": entry.get("stage", "")}
    told |= {"event": entry.get("event_type", ""), "told by": entry.get("source", ""), **entry.get("data", {})}
    parts += ["", *(f"{name:>12}  {printable(str(value))}" for name, value in told.items())]
    return "\n".join(parts)


def markdown_of(project_id: str, entries: Iterable[Entry]) -> str:
    """An inbox to paste into an issue or a chat."""
    parts = [f"# Inbox of project {project_id}", ""]
    for entry in entries:
        parts.append(f"- `{entry['time']}` **{entry['severity']}** {printable(str(entry['text']))}")
        if entry.get("details"):
            parts += ["", *(f"      {printable(line)}" for line in str(entry["details"]).splitlines()), ""]
        if entry.get("next_step"):
            parts.append(f"  - next: {printable(str(entry['next_step']))}")
    return "\n".join([*parts, ""])
