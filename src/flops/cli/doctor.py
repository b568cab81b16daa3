"""``flops doctor``: each finding with its remedy."""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, Literal

import click

from flops.bootstrap import adapters, installation
from flops.cli.output import json_option, print_result
from flops.cli.session import Session
from flops.errors import EXIT_FAILED, FlopsError
from flops.settings import is_mongodb, without_credentials
from flops.wire.requests import ListData, ListServices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flops.settings import Settings

MINIMUM_FREE_BYTES: Final = 5_000_000_000
SIGNS: Final = {
    "ok": click.style("✓", fg="green"),
    "advice": click.style("!", fg="yellow"),
    "fault": click.style("✗", fg="red"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what was found, and what to do about it."""

    level: Literal["ok", "advice", "fault"]
    subject: str
    found: str
    remedy: str = ""


@click.command()
@json_option
def doctor(*, as_json: bool) -> None:
    """Check this installation and say what to mend. Exits with 1 if something does not work."""
    settings = adapters.read_settings()
    findings = [finding for check in CHECKS for finding in check(settings)]

    def render() -> None:
        for finding in findings:
            click.echo(f"{SIGNS[finding.level]} {finding.subject}: {finding.found}")
            if finding.remedy:
                click.echo(f"    → {finding.remedy}")

    print_result([asdict(finding) for finding in findings], as_json=as_json, render=render)
    if any(finding.level == "fault" for finding in findings):
        sys.exit(EXIT_FAILED)


def _tools(settings: Settings) -> Iterator[Finding]:  # noqa: ARG001  all checks look alike
    from flops.adapters.embedded_broker import find_mosquitto  # noqa: PLC0415

    git = shutil.which("git")
    yield Finding("ok", "git", git) if git else Finding("fault", "git", "not installed", "Install git.")
    mosquitto = find_mosquitto()
    if mosquitto:
        yield Finding("ok", "Mosquitto", mosquitto)
    else:
        remedy = "FLOps uses its own small broker instead. For real work install Mosquitto."
        yield Finding("advice", "Mosquitto", "not installed", remedy)


def _disk(settings: Settings) -> Iterator[Finding]:
    place = settings.home if settings.home.exists() else settings.home.parent
    free = shutil.disk_usage(place).free if place.exists() else 0
    text = f"{free / 1e9:.1f} GB free under {settings.home}"
    if free >= MINIMUM_FREE_BYTES:
        yield Finding("ok", "disk", text)
    else:
        yield Finding("advice", "disk", text, "Images need room: free some, or set FLOPS_HOME to a larger disk.")


def _store(settings: Settings) -> Iterator[Finding]:
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
    except FlopsError as error:
        yield Finding("fault", "store", error.message, error.remedy or remedy)
    else:
        yield Finding("ok", "store", f"opens: {place}")


def _services(settings: Settings) -> Iterator[Finding]:
    if not installation.is_up(settings):
        yield Finding("fault", "local orchestrator", "not running", "Start it with 'flops up'.")
        return
    yield Finding("ok", "local orchestrator", "running")
    try:
        opened = Session(settings)
    except FlopsError as error:
        yield Finding("fault", "broker", error.message, error.remedy)
        return
    yield Finding("ok", "broker", "answers")
    try:
        services = opened.ask("services", ListServices(), timeout_s=5)["services"]
        yield Finding("ok", "manager", f"answers; {len(services)} services are deployed")
        for node, tags in opened.ask("data", ListData(), timeout_s=5)["nodes"].items():
            listed = ", ".join(f"{tag} ({examples:,})" for tag, examples in tags.items()) or "no data yet"
            yield Finding("ok", f"data of node {node}", listed)
    except FlopsError as error:
        yield Finding("fault", "manager", error.message, _manager_remedy(settings, installation.MANAGER))
    finally:
        opened.close()
    for name in installation.manager_names(settings)[1:]:
        if installation.runs(settings, name):
            yield Finding("ok", name, "runs")
        else:
            yield Finding("fault", name, "does not run", _manager_remedy(settings, name))


def _manager_remedy(settings: Settings, name: str) -> str:
    log, end = installation.log_path(settings, name), installation.end_of_log(settings, name)
    said = f"Its log {log} ends with:\n{end}\n" if end else f"Its log {log} is empty. "
    return f"{said}Mend that, or try 'flops down', then 'flops up'."


CHECKS: Final[tuple[Callable[[Settings], Iterator[Finding]], ...]] = (_tools, _disk, _store, _services)
