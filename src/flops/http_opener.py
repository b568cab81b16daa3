"""How FLOps calls HTTP servers."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit
from urllib.request import OpenerDirector, ProxyHandler, build_opener

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


def opener_for(url: str) -> OpenerDirector:
    """What opens ``url`` and others of its server: through the user's proxy, but never to this machine itself."""
    if urlsplit(url).hostname in LOOPBACK:
        return build_opener(ProxyHandler({}))
    return build_opener()
