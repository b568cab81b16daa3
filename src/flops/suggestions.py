"""What somebody probably meant by a name that is not known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_MAX_COMPARED: Final = 60


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint with the known name that is closest, or with all of them when none is."""
    import difflib  # noqa: PLC0415  only a mistake needs it

    names = list(known)
    by_lower = {item.lower(): item for item in names}
    close = difflib.get_close_matches(name[:_MAX_COMPARED].lower(), by_lower, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {by_lower[close[0]]!r}?"
    return f"Known are {', '.join(names)}." if names else ""
