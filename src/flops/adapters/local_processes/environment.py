"""Which variables of the user's environment reach the processes of FLOps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

INSTANCE_MARKER: Final = "FLOPS_INSTANCE"
HOME_MARKER: Final = "FLOPS_HOME"
SERVICE_FILE: Final = "FLOPS_SERVICE_FILE"

_NAMES: Final = frozenset(
    {
        "PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH",
        "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSH_AUTH_SOCK",
        "HF_HOME", "HF_ENDPOINT", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "PYTHONUTF8", "PYTHONIOENCODING",
    }
)  # fmt: skip
_PREFIXES: Final = ("LC_", "XDG_", "PIP_", "UV_", "GIT_", "FLOPS_")
_PROXIES: Final = frozenset({"http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"})
_PER_INSTANCE: Final = frozenset({INSTANCE_MARKER, SERVICE_FILE})
# A store's URL may hold a password, and no service needs it: managers alone use the store.
_OF_FLOPS_ITSELF: Final = frozenset({"FLOPS_STORE_URL"})


def passed_through(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that processes inherit: where things are, how to reach out, FLOps' own settings."""
    return {name: value for name, value in environment.items() if _is_passed(name)}


def for_a_service(environment: Mapping[str, str]) -> dict[str, str]:
    """What of that reaches a service, which is no part of FLOps itself."""
    return {name: value for name, value in environment.items() if name not in _OF_FLOPS_ITSELF}


def _is_passed(name: str) -> bool:
    if name in _PER_INSTANCE:
        return False
    return name in _NAMES or name.startswith(_PREFIXES) or name.lower() in _PROXIES
