"""The SLA files that FLOps ships, found by name, beside those that a user wrote."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Literal, get_args

from flops.errors import InvalidSlaError, NotFoundError, SlaFault
from flops.suggestions import did_you_mean, did_you_mean_file
from flops.wire.sla_text import MAX_SLA_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

STANDARD_INPUT: Final = "-"
SlaKind = Literal["projects", "mocks"]
_USES: Final[dict[SlaKind, str]] = {
    "projects": "That is a project SLA: use 'flops project start {}'.",
    "mocks": "That is a mock-data SLA: use 'flops mock-data {}'.",
}


@dataclass(frozen=True, slots=True)
class SlaFile:
    """An SLA as it was read, not checked yet; ``name`` says where from."""

    name: str
    content: bytes


def list_slas(kind: SlaKind) -> list[Path]:
    """The shipped SLA files of one kind, sorted by name."""
    return sorted((_directory() / kind).glob("*.json"))


def load_sla(name_or_path: str, *kinds: SlaKind) -> SlaFile:
    """Read what ``find_sla`` finds, be it a file or a named pipe, or standard input for ``-``.

    Raises:
        NotFoundError, InvalidSlaError: as ``find_sla``, or because it cannot be read.
    """
    if name_or_path == STANDARD_INPUT:
        name = "standard input"
        return SlaFile(name, _read(name, lambda: open(0, "rb", closefd=False)))
    path = find_sla(name_or_path, *kinds)
    return SlaFile(str(path), _read(str(path), lambda: path.open("rb")))


def find_sla(name_or_path: str, *kinds: SlaKind) -> Path:
    """What can be read at a path or, if there is nothing, the shipped file of that name (with or without ``.json``).

    Shipped files are of the given kinds, or SLAs of projects.

    Raises:
        NotFoundError: there is neither; the remedy names what is close, or that it is of another kind.
        InvalidSlaError: at the path is a directory, or something that nobody lets us look at.
    """
    path = Path(os.path.expanduser(name_or_path))  # noqa: PTH111  unlike pathlib's, it never raises
    shipped = {file.stem: file for kind in kinds or ("projects",) for file in list_slas(kind)}
    mode = _mode(path)
    if mode and not stat.S_ISDIR(mode):
        return path.absolute()
    name = name_or_path.removesuffix(".json")
    if name in shipped:
        return shipped[name]
    if mode and name_or_path:
        raise InvalidSlaError([SlaFault("", f"{path} is not a file")])
    others = (_USES[kind].format(name) for kind in get_args(SlaKind) for file in list_slas(kind) if file.stem == name)
    remedy = next(others, "") or did_you_mean_file(str(path)) or did_you_mean(path.stem, shipped)
    raise NotFoundError("SLA file", name_or_path, remedy=remedy)


def _mode(path: Path) -> int:
    """What kind of file is at a path; 0 for none."""
    try:
        return path.stat().st_mode
    except PermissionError as error:
        raise _unreadable(str(path), error) from error
    except (OSError, ValueError):  # no such file, a name that is too long, a loop of links, a zero byte
        return 0


def _read(name: str, opened: Callable[[], IO[bytes]]) -> bytes:
    """The content, or enough of it to tell that it is too long."""
    try:
        with opened() as file:
            return file.read(MAX_SLA_BYTES + 1)
    except OSError as error:
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: OSError) -> InvalidSlaError:
    return InvalidSlaError([SlaFault("", f"{name} cannot be read ({(error.strerror or str(error)).lower()})")])


def _directory() -> Path:
    """Inside an installed package, or beside ``src`` in a checkout."""
    packaged = Path(__file__).parent / "slas"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "slas"
