"""``flops doctor``: each finding with its remedy."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from flops.bootstrap import adapters, installation
from flops.cli import findings
from flops.cli.findings import Finding
from flops.cli.output import json_option, print_result, styled
from flops.cli.session import Session, quiet_logs
from flops.errors import EXIT_FAILED, FlopsError
from flops.http_opener import opener_for
from flops.wire.requests import ListData, ListServices, ShowTracking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flops.settings import Settings

PATIENCE_S: Final = 5.0
TRACKING: Final = "tracking"
CLOCK_TOLERANCE: Final = timedelta(minutes=1)
SIGNS: Final = {"ok": ("✓", "green"), "advice": ("!", "yellow"), "fault": ("✗", "red")}


@click.command()
@json_option
def doctor(*, as_json: bool) -> None:
    """Check this installation and say what to mend. Exits with 1 if something does not work."""
    quiet_logs()
    found = list(_findings())

    def render() -> None:
        for finding in found:
            sign, colour = SIGNS[finding.level]
            click.echo(f"{styled(sign, fg=colour)} {finding.subject}: {finding.found}")
            if finding.remedy:
                click.echo(f"    → {finding.remedy}")

    print_result([asdict(finding) for finding in found], as_json=as_json, render=render)
    if any(finding.level == "fault" for finding in found):
        sys.exit(EXIT_FAILED)


def _findings() -> Iterator[Finding]:
    try:
        settings = adapters.read_settings()
    except FlopsError as error:
        yield Finding(
            "fault", "configuration", error.message, error.remedy or "'flops config show' lists all settings."
        )
        return
    for check in CHECKS:
        try:
            yield from check(settings)
        except (FlopsError, OSError) as error:  # the other checks have something to say, too
            remedy = getattr(error, "remedy", "") or f"Check who may read and write {settings.home}."
            yield Finding("fault", check.__name__.strip("_"), str(getattr(error, "message", error)), remedy)


def _services(settings: Settings) -> Iterator[Finding]:
    if installation.is_up(settings):
        yield Finding("ok", "local orchestrator", "running")
    elif settings.broker_url:
        yield Finding("advice", "local orchestrator", "not running", "Start it with 'flops up' if it should run here.")
    else:
        yield Finding("fault", "local orchestrator", "not running", "Start it with 'flops up'.")
        return
    try:
        opened = Session(settings)
    except FlopsError as error:
        yield Finding("fault", "broker", error.message, error.remedy)
        return
    yield Finding("ok", "broker", "answers")
    try:
        yield from _answers(opened)
    except FlopsError as error:
        yield Finding("fault", "manager", error.message, _manager_remedy(settings, installation.MANAGER))
    finally:
        opened.close()
    if installation.is_up(settings):
        yield from _managers(settings)
        yield from _local_data(settings)


def _answers(opened: Session) -> Iterator[Finding]:
    services = opened.ask("services", ListServices(), timeout_s=PATIENCE_S)["services"]
    clock = _clock(opened.answered_at)
    yield Finding("ok", "manager", f"answers; {len(services)} services are deployed")
    yield from _states(services)
    yield from _tracking(opened, services)
    nodes = opened.ask("data", ListData(), timeout_s=PATIENCE_S)["nodes"]
    for node, tags in nodes.items():
        listed = ", ".join(f"{tag} ({examples:,})" for tag, examples in tags.items()) or "no data yet"
        yield Finding("ok", f"data of node {node}", listed)
    if not nodes:
        yield Finding("fault", "data", "no node offers its data", "Call 'flops up' on the machines of the learners.")
    yield clock


def _states(services: list[dict[str, Any]]) -> Iterator[Finding]:
    """Instances that do not run."""
    for service in services:
        for item in service["instances"]:
            state = str(item["state"]).lower()
            if state == "failed":
                why = item.get("reason") or "without a reason"
                yield Finding("fault", service["role"], f"{item['id']} has failed: {why}", f"flops logs {item['id']}")


def _tracking(opened: Session, services: list[dict[str, Any]]) -> Iterator[Finding]:
    """Whether the tracking servers that run answer."""
    users = {service["user"] for service in services if service["role"] == TRACKING and service["instances"]}
    if not users:
        yield Finding("ok", "tracking", "no server yet; one comes with a user's first project")
    for user in sorted(users):
        try:
            url = str(opened.ask("tracking", ShowTracking(user=user), timeout_s=PATIENCE_S)["url"])
            with opener_for(url).open(f"{url}/health", timeout=PATIENCE_S):
                yield Finding("ok", "tracking", f"the server of {user} answers at {url}")
        except (FlopsError, OSError, ValueError) as error:
            remedy = "See what it says: flops logs tracking. Rounds are tracked again when it is back."
            yield Finding("fault", "tracking", f"the server of {user} does not answer: {error}", remedy)


def _clock(answered_at: str) -> Finding:
    """How far the clock of whoever answered is from this machine's."""
    apart = datetime.fromisoformat(answered_at) - datetime.now(UTC)
    if abs(apart) <= CLOCK_TOLERANCE:
        return Finding("ok", "clock", "as the manager's")
    how = f"{abs(apart).total_seconds():,.0f} s {'ahead of' if apart > timedelta() else 'behind'} this machine's"
    remedy = "Set the clocks of all machines by NTP: times in the inbox are wrong. Deadlines are right."
    return Finding("advice", "clock", f"the manager's is {how}", remedy)


def _local_data(settings: Settings) -> Iterator[Finding]:
    """Whether the data servers of this machine hand out what they have."""
    for node in settings.local_nodes:
        if "learner" in node.capabilities:
            try:
                adapters.training_data(settings)(node.name).partitions()
            except FlopsError as error:
                name = f"data-{node.name}"
                where = f"See 'flops logs {name}'"
                if settings.orchestrator == "local":
                    where = f"Its log is {installation.log_path(settings, name)}"
                remedy = f"{where}. Mend what it says, or try 'flops down', then 'flops up'."
                yield Finding("fault", f"data server of node {node.name}", error.message, remedy)


def _managers(settings: Settings) -> Iterator[Finding]:
    for name in installation.manager_names(settings)[1:]:
        if installation.runs(settings, name):
            yield Finding("ok", name, "runs")
        else:
            yield Finding("fault", name, "does not run", _manager_remedy(settings, name))


def _manager_remedy(settings: Settings, name: str) -> str:
    log, end = installation.log_path(settings, name), installation.end_of_log(settings, name)
    said = f"Its log {log} ends with:\n{end}\n" if end else f"Its log {log} is empty. "
    return f"{said}Mend that, or try 'flops down', then 'flops up'."


CHECKS: Final[tuple[Callable[[Settings], Iterator[Finding]], ...]] = (
    findings.configuration,
    findings.versions,
    findings.tools,
    findings.disk,
    findings.credentials,
    findings.store,
    findings.registry,
    _services,
)
