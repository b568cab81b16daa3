"""Installs what a requirements file locks, and then FLOps itself, into the environment that runs this script.

uv installs four times as fast as pip, but does not read pip's configuration. So pip installs uv, its configuration is
handed over, and pip is the fallback where that is not enough.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PIP: Final = (sys.executable, "-m", "pip", "--disable-pip-version-check")
UV_OPTIONS: Final = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "timeout": "UV_HTTP_TIMEOUT",
    "proxy": "ALL_PROXY",
}
_OPTION: Final = re.compile(r"^(?P<section>\S+)\.(?P<name>[a-z-]+)=(?P<value>'.*'|\".*\")$")
_UV_BLOCK: Final = re.compile(r"^uv==.*(?:\n +--hash=.*)+", re.MULTILINE)


def main(requirements: Path) -> int:
    """Install everything; returns an exit code."""
    uv = _uv(requirements)
    environment = {**uv_environment(_pip_configuration()), **os.environ}
    locked = ("install", "--quiet", "--require-hashes", "--requirement", str(requirements))
    itself = ("install", "--quiet", "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    for arguments in (locked, itself):
        command = [str(uv), "pip", *arguments, "--python", sys.executable]
        if subprocess.run(command, env=environment, check=False).returncode:
            print("uv could not install; trying pip, which takes longer.", file=sys.stderr)
            _pip(*arguments)
    return 0


def uv_environment(configuration: dict[str, str]) -> dict[str, str]:
    """The variables by which uv is told what pip's configuration says."""
    variables = {UV_OPTIONS[name]: value for name, value in configuration.items() if name in UV_OPTIONS}
    if "UV_FIND_LINKS" in variables:
        variables["UV_FIND_LINKS"] = ",".join(variables["UV_FIND_LINKS"].split())
    return {name: " ".join(value.split()) for name, value in variables.items()}


def configuration_of(listing: str) -> dict[str, str]:
    """The options in the output of ``pip config list``: environment over ``install`` over ``global``."""
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listing.splitlines():
        option = _OPTION.match(line)
        if option and option["section"] in found:
            found[option["section"]][option["name"]] = ast.literal_eval(option["value"])
    return {**found["global"], **found["install"], **found[":env:"]}


def _uv(requirements: Path) -> Path:
    """The uv of this environment, installed from the lock if it is missing."""
    uv = Path(sys.executable).parent / "uv"
    if uv.exists():
        return uv
    block = _UV_BLOCK.search(requirements.read_text())
    if block is None:
        message = f"{requirements} does not lock uv"
        raise SystemExit(message)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as only_uv:
        only_uv.write(block[0] + "\n")
        only_uv.flush()
        _pip("install", "--quiet", "--require-hashes", "--requirement", only_uv.name)
    return uv


def _pip_configuration() -> dict[str, str]:
    listing = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True, check=False)
    return configuration_of(listing.stdout)


def _pip(*arguments: str) -> None:
    exit_code = subprocess.run([*PIP, *arguments], check=False).returncode
    if exit_code:
        raise SystemExit(exit_code)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
