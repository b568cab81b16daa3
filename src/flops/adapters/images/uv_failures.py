"""Turns what uv says into what a person can act on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from flops.errors import BuildFailedError, DownloadFailedError
from flops.repository.address import without_credentials

if TYPE_CHECKING:
    from flops.child_process import FinishedChild
    from flops.repository.dependencies import Dependencies

_DETAIL_LINES: Final = 40
_MAX_REASON: Final = 1500
_NAME: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_BUILD: Final = re.compile(rf"Failed to (?:download and )?build `(?P<package>{_NAME})", re.IGNORECASE)
_DISK_FULL: Final = re.compile(r"No space left on device|os error 28|ENOSPC", re.IGNORECASE)
_NETWORK: Final = re.compile(
    r"dns error|error sending request|Connection refused|timed out|was disabled|Failed to fetch|certificate",
    re.IGNORECASE,
)
_LASTING: Final = re.compile(r"was disabled|certificate|HTTP status client error \(4(?!08|29)\d\d", re.IGNORECASE)
_UNSATISFIABLE: Final = re.compile(r"No solution found|unsatisfiable")
# What uv says, and what to try.
_SPELLING: Final = (
    "Check the spelling; a conda package may have another name on the Python package index (list that under 'pip:')."
)
_REMEDIES: Final = (
    (r"not found in the package registry|not found in the provided package locations", _SPELLING),
    (
        r"no usable wheels|no wheels with a matching platform",
        "Pin a version with a wheel for that platform, or leave the platform out of FLOPS_IMAGE_PLATFORMS.",
    ),
    (
        r"no wheels with a matching Python|does not satisfy Python|Requires-Python",
        "Pin a version that exists for this Python, or install the Python version that the repository asks for.",
    ),
    (r"no version of|only .* available", "Pin a version that exists."),
    (r"unsatisfiable|depends on", "Loosen or change one of these pins so that they fit together."),
)


def is_passing(said: str) -> bool:
    """Whether uv has failed for a reason of the network that may pass."""
    lasts = _LASTING.search(said) or _DISK_FULL.search(said) or _BUILD.search(said)
    return bool(_NETWORK.search(said)) and not lasts and not _UNSATISFIABLE.search(said)


def disk_full(step: str, where: str) -> BuildFailedError:
    """The failure of a build that has run out of disk."""
    return BuildFailedError(
        step,
        "the disk is full.",
        where=where,
        remedy="Free space there, delete images that are not needed, or point FLOPS_HOME to a larger disk.",
    )


def build_failure(step: str, child: FinishedChild, dependencies: Dependencies, home: str) -> BuildFailedError:
    """The failure of a build in which uv has failed."""
    said = without_credentials(child.errors).strip()
    if child.exit_code is None:
        return BuildFailedError(step, "uv took too long and was ended.", remedy="Try again; check the connection.")
    if _DISK_FULL.search(said):
        return disk_full(step, home)
    details = "\n".join(said.splitlines()[-_DETAIL_LINES:])
    package = _BUILD.search(said)
    if package is not None:
        return _sdist_failure(step, package["package"], dependencies, details)
    reason = _cause(said)
    if not _UNSATISFIABLE.search(said) and _NETWORK.search(said):
        remedy = "Check this machine's connection to its package index (proxy, VPN, pip or uv settings) and try again."
        kind = DownloadFailedError if is_passing(said) else BuildFailedError
        return kind(step, f"the package index cannot be used: {reason}", remedy=remedy, details=details)
    remedy = next((remedy for pattern, remedy in _REMEDIES if re.search(pattern, said)), "")
    return BuildFailedError(step, reason, where=_places(reason, dependencies), remedy=remedy, details=details)


def platform_failure(step: str, child: FinishedChild, dependencies: Dependencies, platform: str) -> BuildFailedError:
    """The failure of a build for another platform than the builder's, where nothing can be built from source."""
    failure = build_failure(step, child, dependencies, "")
    reason = f"for the platform {platform}, where only wheels can be installed: {failure.reason}"
    return type(failure)(step, reason, where=failure.where, remedy=failure.remedy, details=failure.details)


def _sdist_failure(step: str, package: str, dependencies: Dependencies, details: str) -> BuildFailedError:
    place = dependencies.place_of(package)
    return BuildFailedError(
        step,
        f"the package {package} has no ready-made file for this machine and cannot be built here.",
        where=", ".join(filter(None, (package, place))),
        remedy="Pin a version with a wheel for this Python, ask for another Python, or install what its build needs.",
        details=details,
    )


def _cause(said: str) -> str:
    """The reason without its frame: what follows the last useful ``cause:``, or its first line."""
    text = re.split(r"\n\s*\n?hint:", said)[0]
    causes = re.split(r"\n\s*cause:\s*", text)
    reason = causes[1] if len(causes) > 1 and "No solution found" in causes[0] else causes[-1]
    reason = re.sub(r"^(?:error|\s)+:?\s*", "", reason)
    return re.sub(r"\s+", " ", reason).strip()[:_MAX_REASON]


def _places(reason: str, dependencies: Dependencies) -> str:
    """The lines of the dependency file that ask for the packages uv names, in uv's order."""
    mentioned = re.findall(_NAME, reason)
    places = (dependencies.place_of(re.split(r"[=<>!~]", word)[0]) for word in mentioned)
    return ", ".join(dict.fromkeys(filter(None, places)))
