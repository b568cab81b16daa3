"""What containers that fetch from elsewhere have to know of this machine: package indexes, proxies, certificates."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flops.endpoint import LOOPBACK_HOST, seen_from
from flops.project.deployment import Role

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLES: Final = "machine.json"  # addresses of package indexes may hold passwords, so this is a file
CERTIFICATES: Final = "certificates.pem"
_FETCHING: Final = frozenset({Role.BUILDER, Role.MOCK_DATA})
_CARRIED: Final = frozenset({
    "UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_INDEX_STRATEGY", "UV_NO_INDEX",
    "UV_FIND_LINKS", "UV_INSECURE_HOST", "UV_HTTP_TIMEOUT", "UV_NO_BUILD", "UV_PYTHON_DOWNLOADS", "HF_ENDPOINT",
})  # fmt: skip
_PROXIES: Final = frozenset({"http_proxy", "https_proxy", "all_proxy"})
_NO_PROXY: Final = "no_proxy"
_CERTIFICATES: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO")


def files_for(role: Role, environment: Mapping[str, str]) -> dict[str, str]:
    """The texts of the files that a service of this role is given, by their names.

    Raises:
        OSError: the certificates that a variable names cannot be read.
    """
    if role not in _FETCHING:
        return {}
    from flops.adapters.images.pip_settings import uv_environment  # noqa: PLC0415  services do without

    known = {**environment, **uv_environment(environment)}
    variables = {name: _carried(name, value) for name, value in known.items() if value}
    files = {VARIABLES: json.dumps({name: value for name, value in variables.items() if value})}
    named = next((known[name] for name in _CERTIFICATES if known.get(name)), "")
    return {**files, CERTIFICATES: Path(named).read_text("utf-8")} if named else files


def adopt(directory: Path) -> None:
    """Let this process know what the machine knows that its container runs on, if files in ``directory`` tell."""
    if (directory / VARIABLES).is_file():
        os.environ.update(json.loads((directory / VARIABLES).read_text("utf-8")))
    if (directory / CERTIFICATES).is_file():
        os.environ.update(dict.fromkeys(_CERTIFICATES, str(directory / CERTIFICATES)))


def _carried(name: str, value: str) -> str:
    """What a variable is to a container; empty if it is nothing to it."""
    if name.lower() in _PROXIES:
        return seen_from(LOOPBACK_HOST, value)
    if name.lower() == _NO_PROXY:
        return f"{value},{LOOPBACK_HOST}"
    if name not in _CARRIED:
        return ""
    # Folders of this machine are not there.
    places = (
        [place for place in value.replace(",", " ").split() if "://" in place] if name == "UV_FIND_LINKS" else [value]
    )
    return ",".join(places)
