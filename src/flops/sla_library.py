"""The SLA files that FLOps ships, found by name, beside those that a user wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, get_args

from flops.errors import InvalidSlaError, NotFoundError, SlaFault
from flops.suggestions import did_you_mean

SlaKind = Literal["projects", "mocks"]
_USES: Final[dict[SlaKind, str]] = {
    "projects": "That is a project SLA: use 'flops project start {}'.",
    "mocks": "That is a mock-data SLA: use 'flops mock-data {}'.",
}


def list_slas(kind: SlaKind) -> list[Path]:
    """The shipped SLA files of one kind, sorted by name."""
    return sorted((_directory() / kind).glob("*.json"))


def find_sla(name_or_path: str, *kinds: SlaKind) -> Path:
    """The SLA file at a path or, if there is none, the shipped one of that name (with or without ``.json``).

    Shipped files are of the given kinds, or SLAs of projects.

    Raises:
        NotFoundError: there is neither; the remedy names what is close, or that it is of another kind.
        InvalidSlaError: at the path is no file.
    """
    path = Path(name_or_path).expanduser()
    shipped = {file.stem: file for kind in kinds or ("projects",) for file in list_slas(kind)}
    if path.is_file():
        return path.absolute()
    name = name_or_path.removesuffix(".json")
    if name in shipped:
        return shipped[name]
    if path.exists():
        raise InvalidSlaError([SlaFault("", f"{path} is not a file")])
    others = (_USES[kind].format(name) for kind in get_args(SlaKind) for file in list_slas(kind) if file.stem == name)
    raise NotFoundError("SLA file", name_or_path, remedy=next(others, "") or did_you_mean(path.stem, shipped))


def _directory() -> Path:
    """Inside an installed package, or beside ``src`` in a checkout."""
    packaged = Path(__file__).parent / "slas"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "slas"
