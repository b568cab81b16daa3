"""Which names tags and partitions may have: they become parts of paths, so the pattern leaves nothing to interpret."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from flops.errors import InvalidDataError
from flops.wire.sla import TAG_PATTERN

MAX_LENGTH: Final = 64
_DIGEST_LENGTH: Final = 8
_ALLOWED: Final = re.compile(TAG_PATTERN)


def check_tag(tag: str) -> str:
    """The tag itself if it may be used.

    Raises:
        InvalidDataError: says what is allowed.
    """
    return _check("data tag", tag)


def check_partition_name(name: str) -> str:
    """The partition name itself if it may be used.

    Raises:
        InvalidDataError: says what is allowed.
    """
    return _check("partition name", name)


def is_allowed(name: str) -> bool:
    """Whether a tag or partition may have this name."""
    return _ALLOWED.fullmatch(name) is not None


def partition_name_of(file_stem: str) -> str:
    """A partition name that resembles the name of the file its data come from.

    Names that may not be used as they are get a digest, so that different files never share a partition.
    """
    if is_allowed(file_stem):
        return file_stem
    digest = hashlib.sha256(file_stem.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_LENGTH]
    similar = re.sub(r"[^A-Za-z0-9._-]+", "-", file_stem).strip("._-") or "data"
    return f"{similar[: MAX_LENGTH - len(digest) - 1]}-{digest}"


def _check(kind: str, name: str) -> str:
    if is_allowed(name):
        return name
    shown = name if len(name) <= MAX_LENGTH else f"{name[:MAX_LENGTH]}…"
    message = f"The {kind} {shown!r} cannot be used."
    allowed = f"Use 1 to {MAX_LENGTH} ASCII letters, digits, '.', '-' and '_', beginning with a letter or digit."
    raise InvalidDataError(message, remedy=allowed)
