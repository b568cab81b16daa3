"""``flops project …``, and its list; kept light, since a list is called for often."""

from __future__ import annotations

from typing import Final

import click

from flops.cli.groups import LazyGroup
from flops.cli.output import json_option, percent, print_result, print_table
from flops.cli.session import session

COMMANDS: Final = {
    "start": ("project:start", "Start a project from an SLA file."),
    "list": ("projects:list_projects", "List all projects, newest first."),
    "show": ("project:show", "Show a project at a glance."),
    "inbox": ("project:inbox", "Print and follow the inbox of a project."),
    "report": ("report:report", "Write all there is to tell of a project into one file."),
    "cancel": ("project:cancel", "Stop a project and remove what it runs."),
    "retry": ("project:retry", "Let a failed or cancelled project go on."),
    "delete": ("project:delete", "Forget an ended project and what it left."),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def project() -> None:
    """Start, list, show, follow, report on, cancel, retry and delete projects."""


@click.command(name="list")
@click.option("--user", default="", help="Only this user's projects.")
@json_option
def list_projects(user: str, *, as_json: bool) -> None:
    """List all projects, newest first."""
    with session() as opened:
        projects = list(opened.projects(user))

    def render() -> None:
        rows = [
            (
                item["project_id"],
                item["user"],
                item["phase"],
                f"{item['round']}/{item['rounds']}",
                percent(item["best_accuracy"]),
                item["ml_repo_url"],
            )
            for item in projects
        ]
        whose = f"{user} has no projects" if user else "There are no projects yet"
        empty = f"{whose}. Start one with 'flops project start FILE'."
        columns = ("PROJECT", "USER", "PHASE", "ROUND", "BEST ACCURACY", "ML REPOSITORY")
        print_table(columns, rows, empty=empty)

    print_result(projects, as_json=as_json, render=render)
