"""What 'flops doctor' finds out on this machine, whether or not anything runs; each finding has its remedy."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import stat
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, Literal

from flops.bootstrap import adapters
from flops.configuration import unknown_variables
from flops.errors import FlopsError
from flops.settings import is_mongodb, without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flops.settings import Settings

MINIMUM_FREE_BYTES: Final = 5_000_000_000
PARTS: Final = {"flwr": "actors", "mlflow": "tracking", "pyarrow": "data", "uv": "builder"}
OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what was found, and what to do about it."""

    level: Literal["ok", "advice", "fault"]
    subject: str
    found: str
    remedy: str = ""


def configuration(settings: Settings) -> Iterator[Finding]:  # noqa: ARG001  all checks look alike
    """Files that were read, and variables that have no effect."""
    read = adapters.configuration()
    files = ", ".join(str(file.path) for file in read.files) or "no file"
    context = f", context {read.context}" if read.context else ""
    yield Finding("ok", "configuration", f"{files}{context}")
    for name in unknown_variables(os.environ):
        remedy = "'flops config show' lists all settings; remove this one, or correct its name."
        yield Finding("advice", "configuration", f"the environment variable {name} is no setting", remedy)


def versions(settings: Settings) -> Iterator[Finding]:  # noqa: ARG001
    """FLOps, Python, and what the services of this machine need."""
    yield Finding("ok", "versions", f"FLOps {version('flops-fl')}, Python {platform.python_version()}")
    for name, extra in PARTS.items():
        try:
            yield Finding("ok", name, version(name))
        except PackageNotFoundError:
            remedy = f"Services of this machine need it. Install FLOps with its extra '{extra}', or with 'all'."
            yield Finding("advice", name, "not installed", remedy)


def tools(settings: Settings) -> Iterator[Finding]:  # noqa: ARG001
    """Programs that FLOps calls."""
    from flops.adapters.embedded_broker import find_mosquitto  # noqa: PLC0415

    git = shutil.which("git")
    yield Finding("ok", "git", git) if git else Finding("fault", "git", "not installed", "Install git.")
    mosquitto = find_mosquitto()
    if mosquitto:
        yield Finding("ok", "Mosquitto", mosquitto)
    else:
        remedy = "FLOps uses its own small broker instead. For real work install Mosquitto."
        yield Finding("advice", "Mosquitto", "not installed", remedy)


def disk(settings: Settings) -> Iterator[Finding]:
    """Room for images, where somebody may write."""
    place = next(path for path in (settings.home, *settings.home.parents) if path.exists())
    if not (place.is_dir() and os.access(place, os.W_OK)):
        yield Finding("fault", "disk", f"nothing can be written to {place}", "Set FLOPS_HOME to a folder of yours.")
        return
    free = shutil.disk_usage(place).free
    text = f"{free / 1e9:.1f} GB free under {settings.home}"
    if free >= MINIMUM_FREE_BYTES:
        yield Finding("ok", "disk", text)
    else:
        yield Finding("advice", "disk", text, "Images need room: free some, or set FLOPS_HOME to a larger disk.")


def credentials(settings: Settings) -> Iterator[Finding]:
    """Who else may read what must stay secret, and whether it is sent in the clear."""
    if settings.home.exists() and settings.home.stat().st_mode & OTHERS:
        yield Finding("advice", "credentials", f"others may look into {settings.home}", f"chmod 700 {settings.home}")
    for name in ("broker_password_file", "broker_ca_file"):
        if value := str(getattr(settings, name)):
            yield from _file(name, value)
    if settings.broker_url:
        host, _, is_encrypted = adapters.broker_access(settings).address()
        if settings.broker_username and not is_encrypted and not _is_loopback(host):
            remedy = "Use mqtts:// and, for a certificate of your own, FLOPS_BROKER_CA_FILE."
            yield Finding("advice", "credentials", f"the password goes to {host} unencrypted", remedy)
        if not settings.broker_username:
            remedy = "Set FLOPS_BROKER_USERNAME and FLOPS_BROKER_PASSWORD_FILE if the broker wants them."
            yield Finding("advice", "credentials", f"none are set for the broker {settings.broker_url}", remedy)
    else:
        yield Finding("ok", "credentials", "FLOps made those of its private broker itself")


def _file(name: str, value: str) -> Iterator[Finding]:
    variable = f"FLOPS_{name.upper()}"
    if not os.access(value, os.R_OK):
        yield Finding("fault", "credentials", f"{value} cannot be read", f"Check {variable}.")
    elif name == "broker_password_file" and os.stat(value).st_mode & OTHERS:  # noqa: PTH116  it is a text
        yield Finding("advice", "credentials", f"others may read {value}", f"chmod 600 {value}")
    else:
        yield Finding("ok", "credentials", f"{value} can be read")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def store(settings: Settings) -> Iterator[Finding]:
    """Whether the managers' store opens."""
    if is_mongodb(settings.store_url):
        place, remedy = without_credentials(settings.store_url), "Check FLOPS_STORE_URL, and whether the server runs."
    else:
        path = adapters.store_path(settings)
        if not path.exists():
            yield Finding("ok", "store", f"not made yet; it will be {path}")
            return
        place, remedy = str(path), "Check the file and who may write to it."
    try:
        adapters.store(settings).close()
        damage = damage_of_store(settings)
    except FlopsError as error:
        yield Finding("fault", "store", error.message, error.remedy or remedy)
        return
    if damage:
        remedy = f"'flops down', put a copy of {place} back, 'flops up'. Without one: flops reset-database"
        yield Finding("fault", "store", f"{place} is damaged: {damage}", remedy)
    else:
        yield Finding("ok", "store", f"opens: {place}")


def damage_of_store(settings: Settings) -> str:
    """What SQLite finds wrong first in the file of the store; nothing if it is sound, not there, or elsewhere."""
    if is_mongodb(settings.store_url) or not (path := adapters.store_path(settings)).exists():
        return ""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as opened:
            found = str(opened.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.Error as error:
        return str(error)
    return "" if found == "ok" else " ".join(found.split())


def registry(settings: Settings) -> Iterator[Finding]:
    """Whether the images of this machine can be listed, and others be made."""
    place = settings.home / "images"
    if settings.registry_url:
        yield _oci_registry(settings)
        return
    if place.exists() and not (place.is_dir() and os.access(place, os.R_OK | os.W_OK | os.X_OK)):
        remedy = f"It has to be a folder that you may read and write: ls -ld {place}"
        yield Finding("fault", "registry", f"{place} cannot be used", remedy)
        return
    try:
        images = adapters.registry(settings).images()
    except (FlopsError, OSError) as error:
        yield Finding("fault", "registry", str(error), "Check who may read FLOPS_HOME, or call 'flops clear-registry'.")
    else:
        yield Finding("ok", "registry", f"{len(images):,} images")


def _oci_registry(settings: Settings) -> Finding:
    try:
        images = adapters.registry(settings).images()
    except FlopsError as error:
        return Finding("fault", "registry", error.message, error.remedy)
    return Finding("ok", "registry", f"{len(images):,} images in {settings.registry_url}")
