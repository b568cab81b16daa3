"""The address of an ML repository, taken apart without touching network or disk."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from flops.errors import RepositoryUnavailableError
from flops.wire.repository_url import split_reference, url_fault

EXAMPLE: Final = "example"
FILE: Final = "file"
_FULL_HASH: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/@\s]+@")


@dataclass(frozen=True, slots=True)
class RepositoryAddress:
    """Where a repository is. ``location`` is what git is given; it never holds a password."""

    location: str
    scheme: str
    host: str
    path: str
    ref: str = ""

    @property
    def commit(self) -> str:
        """The full hash that the address itself names, or an empty string."""
        return self.ref if is_full_hash(self.ref) else ""


def is_full_hash(text: str) -> bool:
    """Whether a text is a complete commit hash (SHA-1 or SHA-256)."""
    return bool(_FULL_HASH.fullmatch(text))


def without_credentials(text: str) -> str:
    """Any text with the ``user:password@`` of every URL in it removed."""
    return _CREDENTIALS.sub("", text)


def parse_address(url: str) -> RepositoryAddress:
    """Take an address apart.

    Raises:
        RepositoryUnavailableError: it is none, or of a kind that is refused.
    """
    fault = url_fault(url)
    if fault is not None:
        reason, remedy = fault
        raise RepositoryUnavailableError(without_credentials(url), f"its address {reason}", remedy=remedy)
    place, ref = split_reference(url)
    if place.startswith("/"):
        return _local(place, ref)
    if "://" not in place:
        authority, _, path = place.partition(":")
        return RepositoryAddress(place, "ssh", authority.rpartition("@")[2].lower(), path, ref)
    parts = urlsplit(place)
    scheme = parts.scheme.lower()
    if scheme == FILE:
        return _local(unquote(parts.path), ref)
    if scheme == EXAMPLE:
        return RepositoryAddress(place, scheme, "", parts.netloc, ref)
    return RepositoryAddress(place, scheme, parts.netloc.rpartition("@")[2].lower(), parts.path, ref)


def _local(path: str, ref: str) -> RepositoryAddress:
    path = "/" + posixpath.normpath(path).lstrip("/")
    return RepositoryAddress(path, FILE, "", path, ref)
