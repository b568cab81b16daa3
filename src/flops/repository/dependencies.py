"""What an ML repository needs to run, whichever of its files says so."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from packaging.utils import canonicalize_name

from flops.errors import FlopsError

PROVIDED: Final = frozenset({"flops-utils"})
_NAME: Final = re.compile(r"\s*(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)")
_REPOSITORY_NAME: Final = re.compile(r"://[^/]+/(?:[^@#]*/)?(?P<name>[A-Za-z0-9._-]+?)(?:\.git)?(?:@[^#]*)?(?:#.*)?$")
_EGG: Final = re.compile(r"#(?:.*&)?egg=(?P<name>[A-Za-z0-9._-]+)")
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement as pip writes it; ``where`` is the ``file:line`` it comes from."""

    text: str
    where: str

    @property
    def name(self) -> str:
        """The normalised name of the package, or an empty string for a URL that does not tell."""
        return name_of(self.text)


@dataclass(frozen=True, slots=True)
class Dependencies:
    """The dependencies of an ML repository. ``python`` is a version specifier; empty means any.

    ``options`` are lines of a requirements file that say where packages are found. ``warnings`` are pairs of
    message and remedy.
    """

    file: str
    python: str = ""
    requirements: tuple[Requirement, ...] = ()
    options: tuple[str, ...] = ()
    warnings: tuple[tuple[str, str], ...] = ()

    def place_of(self, package: str) -> str:
        """Where a package is asked for, or an empty string."""
        wanted = canonicalize_name(package)
        return next((requirement.where for requirement in self.requirements if requirement.name == wanted), "")


class InvalidDependencyFileError(FlopsError):
    """A dependency file cannot be used; ``where`` is the file or ``file:line``."""

    code = "build.dependency-file"

    def __init__(self, where: str, reason: str, *, remedy: str = "") -> None:
        self.where, self.reason = where, reason
        super().__init__(f"{where}: {reason}.", remedy=remedy)


def name_of(requirement: str) -> str:
    """The normalised name of the package that a requirement asks for, or an empty string if it does not tell."""
    if _URL.match(requirement.strip()):
        match = _EGG.search(requirement) or _REPOSITORY_NAME.search(requirement)
    else:
        match = _NAME.match(requirement)
    return str(canonicalize_name(match["name"])) if match else ""


def is_provided(requirement: str) -> bool:
    """Whether FLOps itself provides the package, so that it is not installed."""
    return name_of(requirement) in PROVIDED
