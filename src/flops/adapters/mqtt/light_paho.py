"""Loads paho without what it has no use for: it would take 8 MB of every process and most of its loading time."""

from __future__ import annotations

import importlib
import sys
from contextlib import contextmanager
from importlib.machinery import PathFinder
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def light_paho() -> Iterator[None]:
    """Let paho, which is imported in this context, load lightly.

    dnspython finds DNS SRV records, which no setting of ours asks for. urllib.request knows the proxies of the
    environment, which paho goes through with PySocks only. hashlib is for WebSockets. Of ssl, connections without TLS
    need two names of errors; ``let_paho_use_tls`` is for the others.
    """
    stand_ins: dict[str, ModuleType | None] = {"dns": None}  # None is the documented way to make an import fail
    stand_ins["hashlib"] = ModuleType("hashlib")
    stand_ins["ssl"] = _ssl_without_tls()
    if PathFinder.find_spec("socks") is None:
        stand_ins["urllib.request"] = ModuleType("urllib.request")
    missing = {name: module for name, module in stand_ins.items() if name not in sys.modules}
    sys.modules |= missing  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]


def let_paho_use_tls() -> None:
    """Give paho, which is loaded, the real ssl."""
    vars(sys.modules["paho.mqtt.client"])["ssl"] = importlib.import_module("ssl")


def tls_would_block() -> tuple[type[OSError], type[OSError]]:
    """What a socket with TLS raises where it can do nothing right now, as paho, which is loaded, knows it."""
    ssl = vars(sys.modules["paho.mqtt.client"])["ssl"]
    return ssl.SSLWantReadError, ssl.SSLWantWriteError


def _ssl_without_tls() -> ModuleType:
    module = ModuleType("ssl")
    vars(module).update({name: type(name, (OSError,), {}) for name in ("SSLWantReadError", "SSLWantWriteError")})
    return module
