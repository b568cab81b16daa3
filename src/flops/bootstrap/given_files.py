"""Files that a service is given in one flat folder, as a swarm does with its secrets, found where they belong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

SEPARATOR: Final = "~"  # what stands for "/" in the name of a file that belongs elsewhere


def link(folder: Path, home: Path) -> None:
    """Let each file of ``folder`` whose name is a path be found at that path below ``home``, without copying it."""
    for given in folder.glob(f"*{SEPARATOR}*"):
        place = home.joinpath(*given.name.split(SEPARATOR))
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.symlink_to(given)
