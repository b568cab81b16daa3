"""How FLOps calls HTTP servers."""

from __future__ import annotations

from urllib.parse import urlsplit
from urllib.request import OpenerDirector, ProxyHandler, build_opener

from flops.endpoint import THIS_MACHINE


def opener_for(url: str) -> OpenerDirector:
    """What opens ``url`` and others of its server: through the user's proxy, but never to this machine itself."""
    if urlsplit(url).hostname in THIS_MACHINE:
        return build_opener(ProxyHandler({}))
    return build_opener()
