"""The machine's own pip settings, told to uv, which does not read them. No address is ever written down."""

from __future__ import annotations

import configparser
import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_INDEX_SETTINGS: Final = frozenset({"index", "index-url", "extra-index-url", "find-links", "no-index", "pip"})
# What children of a build get to see: enough to find programs, packages and certificates, none of FLOps' own.
_PASSED_ON: Final = frozenset({
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "SHELL", "SSH_AUTH_SOCK", "NETRC",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CLIENT_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
    "CC", "CXX", "FC", "AR", "LD", "CFLAGS", "CXXFLAGS", "LDFLAGS", "CPPFLAGS", "LD_LIBRARY_PATH", "LIBRARY_PATH",
    "CPATH", "PKG_CONFIG_PATH", "CUDA_HOME", "MAKEFLAGS", "PYENV_ROOT",
})  # fmt: skip
_PASSED_ON_PREFIXES: Final = ("UV_", "LC_", "XDG_", "GIT_")


def uv_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment in which uv runs: reduced, and completed by what pip's settings say where uv has none."""
    passed_on = {
        name: value for name, value in environment.items() if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }
    settings = _pip_settings(environment)
    if not _has_index_of_its_own(environment):
        passed_on |= _index_variables(settings)
    if "SSL_CERT_FILE" not in passed_on and settings.get("cert"):
        passed_on["SSL_CERT_FILE"] = settings["cert"]
    if "UV_INSECURE_HOST" not in passed_on and settings.get("trusted-host"):
        passed_on["UV_INSECURE_HOST"] = " ".join(settings["trusted-host"].split())
    if settings.get("proxy") and not {"HTTPS_PROXY", "https_proxy", "ALL_PROXY"} & set(passed_on):
        passed_on |= {"HTTPS_PROXY": settings["proxy"], "HTTP_PROXY": settings["proxy"]}
    return {**passed_on, "GIT_TERMINAL_PROMPT": "0", "UV_NO_PROGRESS": "1", "NO_COLOR": "1", "LC_ALL": "C.UTF-8"}


def _index_variables(settings: Mapping[str, str]) -> dict[str, str]:
    variables = {}
    if settings.get("index-url"):
        variables["UV_DEFAULT_INDEX"] = settings["index-url"].strip()
    if settings.get("extra-index-url"):
        # pip takes the best version from all of its indexes; so must uv where it has pip's.
        variables |= {
            "UV_INDEX": " ".join(settings["extra-index-url"].split()),
            "UV_INDEX_STRATEGY": "unsafe-best-match",
        }
    places = [place for place in settings.get("find-links", "").split() if "://" in place or Path(place).is_dir()]
    if places:
        variables["UV_FIND_LINKS"] = ",".join(places)
    if settings.get("no-index", "").lower() in {"1", "true", "yes", "on"}:
        variables["UV_NO_INDEX"] = "1"
    return variables


def _has_index_of_its_own(environment: Mapping[str, str]) -> bool:
    """Whether uv has been told by the user where packages are."""
    if {"UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS"} & set(environment):
        return True
    return any(_INDEX_SETTINGS & set(_toml(path)) for path in _uv_files(environment))


def _uv_files(environment: Mapping[str, str]) -> Iterator[Path]:
    if environment.get("UV_CONFIG_FILE"):
        yield Path(environment["UV_CONFIG_FILE"])
    yield _config_home(environment) / "uv" / "uv.toml"
    yield Path("/etc/uv/uv.toml")


def _toml(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}


def _pip_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The settings as pip itself would see them: files from the general to the particular, then variables."""
    settings: dict[str, str] = {}
    for path in _pip_files(environment):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, "utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):
            continue
        for section in ("global", "install"):
            if parser.has_section(section):
                settings |= {name.replace("_", "-"): value for name, value in parser.items(section)}
    for name, value in environment.items():
        if name.startswith("PIP_") and value:
            settings[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    return settings


def _pip_files(environment: Mapping[str, str]) -> Iterator[Path]:
    chosen = environment.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return
    yield Path("/etc/pip.conf")
    yield Path(environment.get("HOME", "/nonexistent")) / ".pip" / "pip.conf"
    yield _config_home(environment) / "pip" / "pip.conf"
    if environment.get("VIRTUAL_ENV"):
        yield Path(environment["VIRTUAL_ENV"]) / "pip.conf"
    if chosen:
        yield Path(chosen)


def _config_home(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("XDG_CONFIG_HOME") or Path(environment.get("HOME", "/nonexistent"), ".config"))
