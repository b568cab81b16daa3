"""``flops apps``, ``services`` and ``tracking``."""

from __future__ import annotations

import click

from flops.cli.output import json_option, print_result, print_table
from flops.cli.session import session
from flops.errors import NotFoundError
from flops.suggestions import did_you_mean
from flops.wire.requests import ListApps, ListServices, ShowTracking


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
@click.option("--user", default="", help="Whose tracking server; yours by default.")
@json_option
def tracking(user: str, *, as_json: bool) -> None:
    """Print the URL of your tracking server; it is started if it does not run."""
    with session() as opened:
        question = ShowTracking(user=user or opened.settings.user)
        url = opened.ask("tracking", question, timeout_s=90)["url"]
    print_result({"url": url}, as_json=as_json, render=lambda: click.echo(url))
