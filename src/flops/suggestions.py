"""What somebody probably meant by a name that is not known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_MAX_COMPARED: Final = 60


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint with the known name that is closest, or with all of them when none is."""
    names = list(known)
    if close := _closest(name, names):
        return f"Did you mean {close!r}?"
    return f"Known are {', '.join(names)}." if names else ""


def did_you_mean_file(path: str) -> str:
    """A hint with the file of the same folder that is called nearly so, if there is one."""
    wanted = Path(path)
    try:
        close = _closest(wanted.name, [file.name for file in wanted.parent.iterdir() if file.is_file()])
    except (OSError, ValueError):  # there is no such folder, nobody may look, or it can be none
        return ""
    return f"Did you mean {str(wanted.with_name(close))!r}?" if close else ""


def _closest(name: str, names: list[str]) -> str:
    import difflib  # noqa: PLC0415  only a mistake needs it

    by_lower = {item.lower(): item for item in names}
    close = difflib.get_close_matches(name[:_MAX_COMPARED].lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else ""
