"""How FLOps calls HTTP servers."""

from __future__ import annotations

from urllib.parse import urlsplit
from urllib.request import OpenerDirector, ProxyHandler, build_opener

from flops.endpoint import LOOPBACK, LOOPBACK_HOST


def opener_for(url: str) -> OpenerDirector:
    """What opens ``url`` and others of its server: through the user's proxy, but never to this machine itself."""
    if urlsplit(url).hostname in {*LOOPBACK, LOOPBACK_HOST}:
        return build_opener(ProxyHandler({}))
    return build_opener()
