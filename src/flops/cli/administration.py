"""What only administrators need: each command says what will go, asks, and leaves a system that works."""

from __future__ import annotations

import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from flops.bootstrap import adapters, installation
from flops.cli.findings import damage_of_store
from flops.cli.inbox import ENDED
from flops.cli.output import json_option, print_result, say
from flops.cli.project import await_end
from flops.cli.session import Session, caller, session
from flops.errors import EXIT_FAILED, NotStartedError, ProjectNotEndedError
from flops.project.images import parse_image
from flops.wire.requests import CancelProject, DeleteProject, DropDeadLetters, ListServices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flops.settings import Settings

DELETE_TIMEOUT_S: Final = 60.0
MOST_NAMED: Final = 10
SQLITE_FILES: Final = ("", "-wal", "-shm")


def yes_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command be told not to ask."""
    return click.option("--yes", is_flag=True, help="Do not ask.")(command)


def agree(question: str, *, yes: bool) -> None:
    """Ask, unless that was answered before; where nobody can answer, ``--yes`` is needed.

    If the answer is no, the command ends here.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        message = "Nobody can be asked here. Add --yes if that is what you want."
        raise click.UsageError(message)
    if not click.confirm(question, err=True):
        say("Nothing was done.")
        click.get_current_context().exit(EXIT_FAILED)


@click.command()
@yes_option
@json_option
def reset_database(*, yes: bool, as_json: bool) -> None:
    """Forget all projects of all users, with their inboxes, apps, models' images and servers, and all dead letters.

    What is under way is cancelled first. Images of actors, training data and what the tracking servers hold stay.
    A store that is damaged is put aside, and what runs for its projects is removed.
    """
    settings = adapters.read_settings()
    if damage := damage_of_store(settings):
        result = {"deleted": [], "dropped_dead_letters": 0, "put_aside": _put_aside(settings, damage, yes=yes)}
        text = "The store is empty. New projects can be started."
        print_result(result, as_json=as_json, render=lambda: click.echo(text))
        return
    with session() as opened:
        projects = list(opened.projects())
        running = [item["project_id"] for item in projects if item["phase"] not in ENDED]
        for item in projects[:MOST_NAMED]:
            say(f"  {item['project_id']}  {item['phase']:<10} {item['user']}  {item['ml_repo_url']}")
        if len(projects) > MOST_NAMED:
            say(f"  … and {len(projects) - MOST_NAMED:,} more")
        say("With the projects go their inboxes, apps, models' images and servers, and all dead letters.")
        question = f"Cancel {len(running):,} projects and forget all {len(projects):,}?"
        agree(question, yes=yes)
        for project_id in running:
            opened.ask("cancel", CancelProject(project_id=project_id, by=caller(opened)))
        for project_id in running:
            await_end(opened, project_id)
        for item in projects:
            opened.ask("delete", DeleteProject(project_id=item["project_id"]), timeout_s=DELETE_TIMEOUT_S)
        dropped = opened.ask("dead-letters-drop", DropDeadLetters(all=True))["dropped"]
    deleted = [item["project_id"] for item in projects]
    result = {"deleted": deleted, "dropped_dead_letters": dropped, "put_aside": ""}
    text = f"{len(projects):,} projects and {dropped:,} dead letters are forgotten. New projects can be started."
    print_result(result, as_json=as_json, render=lambda: click.echo(text))


@click.command()
@yes_option
@json_option
def clear_registry(*, yes: bool, as_json: bool) -> None:
    """Delete all images, on this machine or in the registry, but those of models that are served.

    What is needed again is built again. Refused while a project is under way, since it may need an image at any moment.
    """
    settings = adapters.read_settings()
    with session() as opened:
        for item in opened.projects():
            if item["phase"] not in ENDED:
                raise ProjectNotEndedError(item["project_id"], item["phase"])
        served = _served(opened)
    registry = adapters.registry(settings)
    images = registry.images()
    kept = [image for image in images if parse_image(image).tag in served]
    going = [image for image in images if image not in kept]
    for image in going[:MOST_NAMED]:
        say(f"  {image}")
    if len(going) > MOST_NAMED:
        say(f"  … and {len(going) - MOST_NAMED:,} more")
    say(f"{len(kept):,} images of served models stay. Deleted ones are built again when a project needs them.")
    agree(f"Delete {len(going):,} images?", yes=yes)
    for image in going:
        registry.delete(image)
    result = {"deleted": going, "kept": kept}
    text = f"{len(going):,} images are deleted, {len(kept):,} are kept."
    print_result(result, as_json=as_json, render=lambda: click.echo(text))


@click.command()
@yes_option
@json_option
def restart_management(*, yes: bool, as_json: bool) -> None:
    """Stop the managers of this machine and start them again; projects go on, and nothing is lost."""
    settings = adapters.read_settings()
    if not installation.is_up(settings):
        raise NotStartedError(str(settings.home))
    names = [name for name in installation.manager_names(settings) if installation.runs(settings, name)]
    say(
        f"Nobody answers requests for a few seconds; what runs goes on. To restart: {', '.join(names) or 'no manager'}."
    )
    agree("Restart the management?", yes=yes)
    _stop(settings, names)
    started = installation.up(settings, say)
    result = {"restarted": names, "broker_url": started.broker_url}
    print_result(result, as_json=as_json, render=lambda: click.echo("The management is up again."))


def _put_aside(settings: Settings, damage: str, *, yes: bool) -> str:
    """Begin with an empty store; returns where the damaged one is kept."""
    if not installation.is_up(settings):
        raise NotStartedError(str(settings.home))
    path = adapters.store_path(settings)
    say(f"The store {path} is damaged: {damage}. No project in it can be read; all of them are forgotten.")
    agree("Keep the file under another name, and begin with an empty store?", yes=yes)
    _stop(settings, installation.manager_names(settings))  # also one that is about to be started again
    aside = path.with_name(f"{path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    for suffix in SQLITE_FILES:
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    installation.up(settings, say)
    return str(aside)


def _stop(settings: Settings, names: Iterable[str]) -> None:
    client = adapters.daemon(settings)
    for name in names:
        say(f"Stopping {name}.")
        client.stop(name)


def _served(opened: Session) -> set[str]:
    """The ids of projects whose models are served."""
    found = opened.ask("services", ListServices())["services"]
    return {str(service["project_id"]) for service in found if service["role"] == "inference"}
