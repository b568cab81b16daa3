"""Starting, watching and steering a project; the group ``flops project`` is in ``projects``."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Final, get_args

import click

from flops.cli.completion import project_argument, sla_argument
from flops.cli.inbox import ENDED, SEVERITIES, code_of_end, forgotten, has_ended, history, only, show_entry, watch
from flops.cli.output import (
    in_one_line,
    json_option,
    local_time,
    percent,
    print_json,
    print_result,
    say,
    visible,
)
from flops.cli.session import Session, caller, session
from flops.cli.since import Moment
from flops.cli.stage_tree import is_for_a_tree, live_tree
from flops.errors import NoAnswerError
from flops.sla_library import load_sla
from flops.wire.requests import CancelProject, DeleteProject, RetryProject, ShowProject, Stage
from flops.wire.sla import parse_project_sla

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

STAGES: Final = get_args(Stage)
MAX_NAME: Final = 128
END_TIMEOUT_S: Final = 300.0
POLL_S: Final = 0.3
NOT_SHOWN: Final = {"rounds", "entries"}


@click.command(name="p")
@click.option(
    "--project-sla-file-name",
    "name",
    required=True,
    help="Name of an SLA file, or a path to one, or - for standard input.",
)
@json_option
def p(name: str, *, as_json: bool) -> None:
    """Start a project from a named SLA file and return at once."""
    _start(name, follow=False, as_json=as_json)


@click.command()
@sla_argument("projects")
@click.option(
    "--watch/--detach",
    "follow",
    default=False,
    help="Show its stages until the project has ended, or return at once (the default).",
)
@click.option("--token", default="", help="Of your requests with the same token, one makes a project.")
@json_option
def start(file: str, *, follow: bool, token: str, as_json: bool) -> None:
    """Start a project from an SLA FILE.

    FILE is a path, the name of a shipped SLA ('flops sla list'), or - for standard input. With --watch, a
    terminal shows a tree of stages with their progress, anything else gets the lines of the inbox; Ctrl-C detaches and
    the project goes on; the exit code says how it ended.
    """
    _start(file, follow=follow, as_json=as_json, token=token)


@click.command()
@project_argument
@json_option
def show(project_id: str, *, as_json: bool) -> None:
    """Show a PROJECT at a glance: its status and what of it runs.

    PROJECT is an id, the beginning of one, the name of its ML repository if only one project has it, NAME@latest, or
    @latest; so it is for all commands.
    """
    with session() as opened:
        found = opened.ask("project", ShowProject(project_id=opened.project_id(project_id)))

    def render() -> None:
        for name, value in [*_glance(found["status"]), *_states(found["services"])]:
            click.echo(f"{name:>14}  {visible(value)}")

    print_result(found, as_json=as_json, render=render)


@click.command()
@project_argument
@click.option("-f", "--follow", is_flag=True, help="Go on until the project has ended.")
@click.option("--since", type=Moment(), default=None, help="Only entries from then on: 10m, 2h, 3d (ago), or a time.")
@click.option(
    "--severity", type=click.Choice(SEVERITIES), default=None, help="Only entries as severe as this, or more."
)
@click.option("--after", type=click.IntRange(0), default=0, help="Go on after the entry with this number.")
@json_option
def inbox(  # noqa: PLR0913  its options
    project_id: str, *, follow: bool, since: datetime | None, severity: str | None, after: int, as_json: bool
) -> None:
    """Print the inbox of a PROJECT: everything that happened, oldest first.

    With --json one entry per line; the last one's 'sequence' is what --after takes to go on from there. With --follow,
    Ctrl-C detaches and the project goes on, and the exit code says how it ended.
    """
    with session() as opened:
        full_id = opened.project_id(project_id)
        show = only(_print_line if as_json else show_entry, severity=severity or "", since=since)
        gone = forgotten(opened, full_id)
        if gone > after:
            say(f"The first {gone:,} entries are kept no more: they were older than FLOPS_KEEP_EVENTS_DAYS.")
        begin = max(gone, after)
        is_empty = begin and not any(history(opened, full_id, after=begin))
        if follow and is_empty and has_ended(opened, full_id):
            sys.exit(code_of_end(opened, full_id))
        if follow:
            sys.exit(watch(opened, full_id, show, after=begin))
        for entry in history(opened, full_id, after=begin):
            show(entry)


@click.command()
@project_argument
@json_option
def cancel(project_id: str, *, as_json: bool) -> None:
    """Stop a PROJECT and remove what it runs."""
    with session() as opened:
        full_id = opened.project_id(project_id)
        answer = opened.ask("cancel", CancelProject(project_id=full_id, by=caller(opened)))
    text = _what_comes_of(full_id, answer)
    print_result({"project_id": full_id, **answer}, as_json=as_json, render=lambda: click.echo(text))


@click.command()
@project_argument
@click.option("--from-stage", type=click.Choice(STAGES), help="Where to go on; without it, where it ended.")
@click.option("--watch/--detach", "follow", default=False, help="Show its stages from here on, or return at once.")
@json_option
def retry(project_id: str, *, from_stage: str | None, follow: bool, as_json: bool) -> None:
    """Let a failed or cancelled PROJECT go on with what it has.

    It keeps its id, inbox and images; the training goes on after its last finished round. Code that was mended since
    is taken from the stage 'checking' on: the ML repository is looked up anew.
    """
    with session() as opened:
        full_id = opened.project_id(project_id)
        seen = int(opened.ask("project", ShowProject(project_id=full_id))["status"]["entries"])
        question = RetryProject.model_validate(
            {"project_id": full_id, "from_stage": from_stage or "", "by": caller(opened)[:MAX_NAME]}
        )
        answer = opened.ask("retry", question)
        text = f"{full_id} goes on from the stage '{answer['stage']}'."
        if as_json:
            (_print_line if follow else print_json)({"project_id": full_id, **answer})
        else:
            click.echo(text)
        if follow:
            say("Ctrl-C detaches; the project goes on.")
            sys.exit(_watch(opened, full_id, as_json=as_json, after=seen))
    say(f"Follow it with: flops project inbox {full_id} -f")


@click.command()
@project_argument
@click.option("--cancel", "stop", is_flag=True, help="Stop it first if it is under way, and wait until it has ended.")
@json_option
def delete(project_id: str, *, stop: bool, as_json: bool) -> None:
    """Forget an ended PROJECT: its inbox, its app, its model's image and server."""
    with session() as opened:
        full_id = opened.project_id(project_id)
        if stop:
            answer = opened.ask("cancel", CancelProject(project_id=full_id, by=caller(opened)))
            say(_what_comes_of(full_id, answer))
            await_end(opened, full_id)
        opened.ask("delete", DeleteProject(project_id=full_id), timeout_s=60)
    print_result(
        {"project_id": full_id, "deleted": True}, as_json=as_json, render=lambda: click.echo(f"{full_id} is deleted.")
    )


def _what_comes_of(project_id: str, answer: dict[str, Any]) -> str:
    if answer["phase"] in ENDED:
        return f"{project_id} is {answer['phase']} already."
    outcome = answer.get("outcome", "")
    if outcome not in {"", "cancelled"}:
        return f"{project_id} is about to be {outcome} already; what is not needed any more is being removed."
    return f"{project_id} is being stopped."


def await_end(opened: Session, project_id: str) -> None:
    """Return once a project has ended.

    Raises:
        NoAnswerError: it has not within ``END_TIMEOUT_S``.
    """
    deadline = time.monotonic() + END_TIMEOUT_S
    while not has_ended(opened, project_id):
        if time.monotonic() > deadline:
            raise NoAnswerError(f"cancel {project_id}", END_TIMEOUT_S)
        time.sleep(POLL_S)


def _start(name: str, *, follow: bool, as_json: bool, token: str = "") -> None:
    sla = parse_project_sla(load_sla(name).content).to_document()
    with session() as opened:
        project_id = opened.start(sla, token=token)
        if as_json:
            result = {"project_id": project_id, "inbox": opened.topics.project_inbox(project_id)}
            (_print_line if follow else print_json)(result)
        else:
            click.echo(project_id)
        if follow:
            say("Ctrl-C detaches; the project goes on.")
            sys.exit(_watch(opened, project_id, as_json=as_json))
    say(f"Accepted. Follow it with: flops project inbox {project_id} -f")


def _watch(opened: Session, project_id: str, *, as_json: bool, after: int = 0) -> int:
    """Until the project has ended: a tree of its stages in a terminal, else the lines of its inbox."""
    if as_json or not is_for_a_tree():
        return watch(opened, project_id, _print_line if as_json else show_entry, after=after)
    with live_tree(f"Project {project_id}") as (show, stop):
        return watch(opened, project_id, show, after=after, at_the_end=stop)


def _glance(status: dict[str, Any]) -> Iterator[tuple[str, str]]:
    shown = {
        **status,
        "created": local_time(status["created"]),
        "updated": local_time(status["updated"]),
        "round": f"{status['round']} of {status['rounds']}" if status["rounds"] else "",
        "accuracy": percent(status["accuracy"]),
        "loss": "" if status["loss"] is None else f"{status['loss']:.4f}",
        "best_accuracy": percent(status["best_accuracy"]),
    }
    for name, value in shown.items():
        if name not in NOT_SHOWN and value not in {"", None}:
            yield name.replace("_", " "), str(value)


def _states(services: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for service in services:
        states = ", ".join(f"{item['id']} {item['state']}" for item in service["instances"])
        yield f"{service['role']}", states


def _print_line(entry: dict[str, Any]) -> None:
    click.echo(in_one_line(entry))
