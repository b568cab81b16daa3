from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from flops.cli.inbox import forgotten
from flops.wire.requests import ReadInbox

if TYPE_CHECKING:
    from flops.cli.session import Session

ID = "0" * 24


class Manager:
    """Answers as a manager does that has told ``told`` entries and kept those from ``first`` on."""

    def __init__(self, told: int, first: int) -> None:
        self._told, self._kept = told, range(first, told + 1)

    def ask(self, name: str, question: object) -> dict[str, Any]:
        if name == "project":
            return {"status": {"entries": self._told}}
        assert isinstance(question, ReadInbox)
        entries = [{"sequence": number} for number in self._kept if number > question.after]
        return {"entries": entries[:10], "more": len(entries) > 10}


@pytest.mark.parametrize(
    ("told", "first", "gone"),
    [(0, 1, 0), (25, 1, 0), (25, 26, 25), (30, 26, 25)],
    ids=["none yet", "all kept", "all forgotten", "retried since"],
)
def test_how_many_entries_are_kept_no_more(told: int, first: int, gone: int) -> None:
    assert forgotten(cast("Session", Manager(told, first)), ID) == gone
