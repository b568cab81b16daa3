"""Where a service that others call listens, and under which address they reach it."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import urlsplit

LOOPBACK_HOST: Final = "host.docker.internal"  # what the host is called in containers
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
THIS_MACHINE: Final = LOOPBACK | {LOOPBACK_HOST}
ENDPOINT: Final = "endpoint"  # the key in what an instance is told of itself


class Endpoint(NamedTuple):
    """``listen`` is an address of this machine, ``host`` what others call it; port 0 is any that is free."""

    listen: str = "127.0.0.1"
    port: int = 0
    host: str = "127.0.0.1"


def seen_from(loopback_host: str, url: str) -> str:
    """A URL as it is reached where the host's loopback is called ``loopback_host``; empty: where it is loopback."""
    parts = urlsplit(url)
    if not loopback_host or parts.hostname not in LOOPBACK:
        return url
    port = "" if parts.port is None else f":{parts.port}"
    return parts._replace(netloc=f"{loopback_host}{port}").geturl()
