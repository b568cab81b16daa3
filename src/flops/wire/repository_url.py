"""The URLs of ML repositories: which forms are taken, and what git must never get to see."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

MAX_URL: Final = 2048
SCHEMES: Final = ("https", "http", "ssh", "git", "file", "example")

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_TRANSPORT: Final = re.compile(r"[A-Za-z0-9+.-]*::")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SCP: Final = re.compile(
    r"(?:(?P<user>[A-Za-z0-9._][A-Za-z0-9._-]*)@)(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*):(?P<path>[^:\-].*)"
)
_REFERENCE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+-]*")
_EXAMPLE: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]")

_FORMS: Final = "Take https://host/owner/repository, git@host:owner/repository, or an absolute path."


def split_reference(url: str) -> tuple[str, str]:
    """Split ``url@ref`` into URL and branch, tag or commit; the latter is empty if none is given."""
    place, at, reference = url.rpartition("@")
    authority_end = _authority_end(url)
    if not at or authority_end < 0 or len(place) <= authority_end:
        return url, ""
    return (place, reference) if _is_reference(reference) else (url, "")


def _authority_end(url: str) -> int:
    """Where user and host end and the path begins; -1 if there is no path."""
    begin = _SCHEME.match(url)
    if begin and begin[1].lower() == "example":  # a name only, no user and no host
        return begin.end()
    if begin:
        return url.find("/", begin.end())
    return 0 if url.startswith("/") else url.find(":")


def url_fault(url: str) -> tuple[str, str] | None:
    """Why a URL is refused, and what to write instead; None if it is fine."""
    if _CONTROL.search(url) or url != url.strip():
        return "must not hold control characters or outer spaces", ""
    if url.startswith("-"):
        return "must not begin with a dash: git would take it for an option", _FORMS
    if _TRANSPORT.match(url):
        return "names a git transport helper, which could run any command", _FORMS
    place, reference = split_reference(url)
    if not reference and "@-" in place[max(0, _authority_end(place)) :]:
        return "has a reference that begins with a dash: git would take it for an option", ""
    begin = _SCHEME.match(place)
    if begin:
        return _scheme_fault(place, begin[1].lower())
    if place.startswith("/") or _SCP.fullmatch(place):
        return None
    return "is not a form of Git URL that FLOps knows", _guess(place)


def _is_reference(text: str) -> bool:
    return bool(_REFERENCE.fullmatch(text)) and ".." not in text


def _scheme_fault(url: str, scheme: str) -> tuple[str, str] | None:
    if scheme not in SCHEMES:
        return f"has the scheme '{scheme[:20]}', which is not allowed", f"Allowed are {', '.join(SCHEMES)}."
    if scheme == "example":
        name = url.partition("://")[2]
        return None if _EXAMPLE.fullmatch(name) else ("names no example", "'flops examples' lists them.")
    try:
        parts = urlsplit(url)
        host, has_password, _ = _host(parts.netloc), parts.password is not None, parts.port
    except ValueError:
        return "has a host or port that cannot be read", _FORMS
    if has_password or (scheme in {"http", "https"} and parts.username):
        return "holds a credential, which everybody would see", "Use a git credential helper or an SSH key."
    if scheme != "file" and not _HOST.fullmatch(host):
        return "has no host that can be used", _FORMS
    if (parts.username or "").startswith("-") or parts.path in {"", "/"}:
        return "names no repository", _FORMS
    return None


def _host(netloc: str) -> str:
    host = netloc.rpartition("@")[2]
    return host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]


def _guess(url: str) -> str:
    first, slash, _ = url.partition("/")
    if slash and "." in first.strip("."):
        return f"Did you mean https://{url[:200]}?"
    if url.startswith((".", "~")):
        return "Give the absolute path: the manager does not know your current or home directory."
    return _FORMS
