"""How an OCI registry is reached."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from flops.errors import InvalidSettingError

# The host as engines take it in the names of images, then perhaps a namespace of lower-case components.
_REGISTRY: Final = r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*/?"
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class RegistryAccess:
    """The address, ``http(s)://host[:port][/namespace]``, and what it asks for."""

    url: str
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""

    @property
    def origin(self) -> str:
        """The address without the namespace."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def namespace(self) -> str:
        """What the name of every repository of FLOps begins with, ``/`` included; often empty."""
        path = urlsplit(self.url).path.strip("/")
        return f"{path}/" if path else ""


def checked_url(text: str) -> str:
    """The address of a registry, or nothing.

    Raises:
        InvalidSettingError: it is none, or holds credentials, which do not belong there.
    """
    if text and not re.fullmatch(_REGISTRY, text):
        shown = re.sub(r"(?<=://)[^/]*@", "…@", text)
        expected = "http(s)://host[:port][/namespace], without a user name or password,"
        raise InvalidSettingError("FLOPS_REGISTRY_URL", shown, expected)
    return text


def image_prefix(url: str) -> str:
    """What precedes the names of images where an engine pulls them, as ``localhost:5000``; empty without a registry."""
    parts = urlsplit(url)
    host = parts.netloc
    if host and not (set(".:") & set(host) or host == "localhost"):  # engines would take it for a part of the name
        host = f"{host}:{_PORTS[parts.scheme]}"
    return f"{host}{parts.path.rstrip('/')}"
