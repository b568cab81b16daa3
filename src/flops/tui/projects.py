"""All projects that a person may see, and what of each is shown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flops.tui.entries import ENDED, SIGNS_OF_PHASES, printable, span

if TYPE_CHECKING:
    from collections.abc import Iterable

Status = dict[str, Any]


class Projects:
    """The newest status of each project, whoever tells it and in whatever order. ``user`` leaves others' out."""

    def __init__(self, user: str = "") -> None:
        self._user = user
        self._known: dict[str, Status] = {}
        self._deleted: set[str] = set()

    def hear(self, status: Status) -> bool:
        """Take a status, unless a newer one is known; returns whether it is news."""
        project_id = str(status["project_id"])
        if project_id in self._deleted or (self._user and status["user"] not in {"", self._user}):
            return False
        known = self._known.get(project_id)
        if known is not None and _age(known) >= _age(status):
            return False
        self._known[project_id] = status
        return True

    def forget(self, project_id: str) -> bool:
        """A project was deleted; returns whether it was known."""
        self._deleted.add(project_id)
        return self._known.pop(project_id, None) is not None

    def keep_only(self, listed: Iterable[str]) -> bool:
        """Of what had ended, keep what the manager still has; returns whether anything went."""
        kept = set(listed)
        gone = [name for name, status in self._known.items() if status["phase"] in ENDED and name not in kept]
        return bool([self.forget(name) for name in gone])

    def get(self, project_id: str) -> Status | None:
        """One project."""
        return self._known.get(project_id)

    def listed(self) -> list[Status]:
        """Newest first. What nobody has accepted yet has no user, and is not somebody's to see."""
        own = [status for status in self._known.values() if not self._user or status["user"] == self._user]
        return sorted(own, key=lambda status: (str(status["created"]), str(status["project_id"])), reverse=True)


def _age(status: Status) -> tuple[datetime, int]:
    return datetime.fromisoformat(str(status["updated"])), int(status.get("entries", 0))


def row_of(status: Status, now: datetime | None = None) -> tuple[str, ...]:
    """The cells of a project: state, id, name, phase, round, accuracy, age, duration, reason."""
    now = now or datetime.now(UTC)
    created = datetime.fromisoformat(str(status["created"]))
    ended = datetime.fromisoformat(str(status.get("ended") or status["updated"]))
    phase = str(status["phase"])
    rounds, accuracy = int(status.get("rounds", 0)), status.get("accuracy")
    name = str(status.get("ml_repo_url", "")).rstrip("/").rpartition("/")[2].removesuffix(".git")
    took_s = ((ended if phase in ENDED else now) - created).total_seconds()
    return (
        SIGNS_OF_PHASES.get(phase, "●"),
        str(status["project_id"])[:8],
        printable(name)[:18] or "-",
        phase,
        f"{status.get('round', 0)}/{rounds}" if rounds else "-",
        "-" if accuracy is None else f"{accuracy:.2%}",
        span((now - created).total_seconds()),
        span(took_s),
        printable(str(status.get("reason", ""))),
    )
