"""``flops apps``, ``services``, ``logs`` and ``tracking``."""

from __future__ import annotations

import click

from flops.cli.completion import service_argument
from flops.cli.output import json_option, print_result, print_table, visible
from flops.cli.session import Session, session
from flops.errors import NotFoundError
from flops.suggestions import did_you_mean
from flops.wire.requests import ListApps, ListServices, ReadLogs, ShowTracking


@click.command()
@json_option
def apps(*, as_json: bool) -> None:
    """List the apps of the orchestrator."""
    with session() as opened:
        found = opened.ask("apps", ListApps())["apps"]
    rows = [(app["name"], app["user"]) for app in found]
    print_result(found, as_json=as_json, render=lambda: print_table(("APP", "USER"), rows, empty="There are no apps."))


@click.command()
@click.option("--app", default="", help="Only the services of this app.")
@json_option
def services(app: str, *, as_json: bool) -> None:
    """List services and their instances."""
    with session() as opened:
        found = opened.ask("services", ListServices(app=app))["services"]
        apps = {item["name"] for item in opened.ask("apps", ListApps())["apps"]} if app and not found else {app}
    if app not in apps:
        raise NotFoundError("app", app, remedy=did_you_mean(app, sorted(apps)))
    rows = [
        (item["id"], service["role"], service["app"], service["user"], item["node"], item["state"], item["restarts"])
        for service in found
        for item in service["instances"]
    ]
    columns = ("INSTANCE", "ROLE", "APP", "USER", "NODE", "STATE", "RESTARTS")
    print_result(found, as_json=as_json, render=lambda: print_table(columns, rows, empty="There are no services."))


@click.command()
@service_argument
@click.option(
    "--tail", "tail_lines", type=click.IntRange(1, 100_000), default=200, show_default=True, help="How many lines."
)
@json_option
def logs(service: str, tail_lines: int, *, as_json: bool) -> None:
    """Print the end of the output of a SERVICE or instance, also of one that has ended."""
    with session() as opened:
        full_name, text = _output(opened, service, tail_lines)
    result = {"service": full_name, "text": text}
    print_result(result, as_json=as_json, render=lambda: click.echo(visible(text), nl=not text.endswith("\n")))


@click.command()
@click.option("--user", default="", help="Whose tracking server; yours by default.")
@json_option
def tracking(user: str, *, as_json: bool) -> None:
    """Print the URL of your tracking server; it is started if it does not run."""
    with session() as opened:
        question = ShowTracking(user=user or opened.settings.user)
        url = opened.ask("tracking", question, timeout_s=90)["url"]
    print_result({"url": url}, as_json=as_json, render=lambda: click.echo(url))


def _output(opened: Session, service: str, tail_lines: int) -> tuple[str, str]:
    """The full name of what was meant, and the end of its output; what has ended is known by its full name only."""
    try:
        return service, str(opened.ask("logs", ReadLogs(service=service, tail_lines=tail_lines))["text"])
    except NotFoundError as error:
        full = opened.instance(service)
        if full == service:
            raise error from None
        return full, str(opened.ask("logs", ReadLogs(service=full, tail_lines=tail_lines))["text"])
