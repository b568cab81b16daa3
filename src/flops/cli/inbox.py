"""A project's inbox in the terminal: what was, and what comes."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import click
from pydantic import ValidationError

from flops.cli.output import say, visible
from flops.errors import (
    EXIT_CANCELLED,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    BrokerUnreachableError,
    NoAnswerError,
    NotFoundError,
    UndecodableMessageError,
)
from flops.wire.envelope import decode_envelope
from flops.wire.requests import InboxEntry, ReadInbox, ShowProject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flops.cli.session import Session

COLOURS: Final = {"info": None, "success": "green", "warning": "yellow", "error": "red"}
SIGNS: Final = {"info": " ", "success": "✓", "warning": "!", "error": "✗"}
LAST_WORDS: Final = {"project.completed": 0, "project.failed": EXIT_FAILED, "project.cancelled": EXIT_CANCELLED}
ENDED: Final = {"completed", "failed", "cancelled"}
POLL_S: Final = 1.0
FIRST_DETAILS: Final = 6
LAST_DETAILS: Final = 9
MARGIN: Final = " " * 11

Entry = dict[str, Any]


def history(session: Session, project_id: str, *, after: int = 0) -> Iterator[Entry]:
    """The entries that are already there, oldest first."""
    more = True
    while more:
        answer = session.ask("inbox", ReadInbox(project_id=project_id, after=after))
        yield from answer["entries"]
        after = max([after, *(entry["sequence"] for entry in answer["entries"])])
        more = bool(answer["more"])


def forgotten(session: Session, project_id: str) -> int:
    """How many of the first entries are not kept any more."""
    told = 0
    if (first := next(history(session, project_id), None)) is None:
        told = int(session.ask("project", ShowProject(project_id=project_id))["status"]["entries"])
        first = next(history(session, project_id), None) if told else None  # the first may have come just now
    return int(first["sequence"]) - 1 if first else told


def follow(session: Session, project_id: str, *, after: int = 0) -> Iterator[Entry]:
    """All entries, then those that come, each once and in order, until the project has ended.

    One that was retried has more than one last word.

    What a broken connection or a restarted broker has lost is asked for, as often as it takes.
    """
    subscription = session.bus.subscribe(session.topics.project_inbox(project_id))
    connection, shown, heard = 0, after, after
    while True:
        entries: list[Entry] = []
        if heard > shown or connection != session.bus.connection_count:
            current = session.bus.connection_count
            try:
                entries = list(history(session, project_id, after=shown))
                connection = current
            except (BrokerUnreachableError, NoAnswerError):
                if not connection:
                    raise
        if not entries and (delivery := subscription.receive(POLL_S)):
            delivery.acknowledge()
            entries = _entries_in(delivery.topic, delivery.payload)
        for entry in entries:
            heard = max(heard, int(entry["sequence"]))
            if entry["sequence"] == shown + 1:
                shown += 1
                yield entry
                is_last = entry["event_type"] in LAST_WORDS and entry is entries[-1]
                if is_last and has_ended(session, project_id):
                    return


def has_ended(session: Session, project_id: str) -> bool:
    """Whether a project has ended, as far as anybody knows."""
    try:
        shown = session.ask("project", ShowProject(project_id=project_id))
    except (BrokerUnreachableError, NoAnswerError, NotFoundError):
        return True
    return shown["status"]["phase"] in ENDED


def _entries_in(topic: str, payload: bytes) -> list[Entry]:
    """The entry of a message, or none: anybody may publish there."""
    try:
        return [InboxEntry.model_validate(decode_envelope(topic, payload).data).model_dump()]
    except (UndecodableMessageError, ValidationError):
        return []


def watch(session: Session, project_id: str, show: Callable[[Entry], None], *, after: int = 0) -> int:
    """Show a project until it has ended; Ctrl-C detaches. Returns the exit code."""
    last = ""
    try:
        for entry in follow(session, project_id, after=after):
            show(entry)
            last = entry["event_type"]
        return LAST_WORDS[last]
    except KeyboardInterrupt:
        say(f"\nDetached; the project goes on. Come back with: flops project inbox {project_id} -f")
    return EXIT_INTERRUPTED


def show_entry(entry: Entry) -> None:
    """One entry as a line, with its details and its next step below."""
    severity = str(entry["severity"])
    time = datetime.fromisoformat(entry["time"]).astimezone().strftime("%H:%M:%S")
    line = f"{time} {SIGNS[severity]} {visible(entry['text'])}"
    click.echo(click.style(line, fg=COLOURS[severity]) if COLOURS[severity] else line)
    for detail in _shortened(visible(entry["details"].rstrip()).splitlines()):
        click.echo(click.style(f"{MARGIN}| {detail}", dim=True))
    if entry["next_step"]:
        click.echo(click.style(f"{MARGIN}→ {visible(entry['next_step'])}", dim=True))


def _shortened(details: list[str]) -> list[str]:
    """A long traceback begins in the user's code and ends with the error; between them are libraries."""
    skipped = len(details) - FIRST_DETAILS - LAST_DETAILS
    if skipped <= 1:
        return details
    return [*details[:FIRST_DETAILS], f"… {skipped} lines more (--json shows all) …", *details[-LAST_DETAILS:]]
