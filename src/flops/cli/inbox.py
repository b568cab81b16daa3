"""A project's inbox in the terminal: what was, and what comes."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import click
from pydantic import ValidationError

from flops.cli.output import say, styled, visible
from flops.errors import (
    EXIT_CANCELLED,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    BrokerUnreachableError,
    FlopsError,
    NoAnswerError,
    NotFoundError,
    OrchestratorUnavailableError,
    OverloadedError,
    RequestRefusedError,
    StoreUnavailableError,
    UndecodableMessageError,
)
from flops.project.deployment import InstanceState, Role
from flops.wire.envelope import decode_envelope
from flops.wire.requests import InboxEntry, ReadInbox, ShowProject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flops.cli.session import Session

COLOURS: Final = {"info": None, "success": "green", "warning": "yellow", "error": "red"}
SIGNS: Final = {"info": " ", "success": "✓", "warning": "!", "error": "✗"}
SEVERITIES: Final = ("info", "success", "warning", "error")
LAST_WORDS: Final = {"project.completed": 0, "project.failed": EXIT_FAILED, "project.cancelled": EXIT_CANCELLED}
ENDED: Final = {"completed", "failed", "cancelled"}
PASSING: Final = frozenset({StoreUnavailableError.code, OrchestratorUnavailableError.code, OverloadedError.code})
POLL_S: Final = 1.0
SILENCE_S: Final = 15.0
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
        told = int(session.ask("project", ShowProject(project_id=project_id))["status"].get("entries", 0))
        first = next(history(session, project_id), None) if told else None  # the first may have come just now
    return int(first["sequence"]) - 1 if first else told


def follow(session: Session, project_id: str, *, after: int = 0) -> Iterator[Entry]:
    """All entries, then those that come, each once and in order, until the project has ended.

    One that was retried has more than one last word.

    What a broken connection or a restarted broker has lost is asked for, as often as it takes. If the project has ended
    and nobody tells it, since its observer is gone for good, this ends without a last word.
    """
    subscription = session.bus.subscribe(session.topics.project_inbox(project_id))
    connection, shown, heard = 0, after, after
    silent_since, is_over = time.monotonic(), False
    while True:
        entries: list[Entry] = []
        if is_over or heard > shown or connection != session.bus.connection_count:
            entries, connection = _missed(session, project_id, shown, connection)
        if is_over and not entries:
            return
        if not entries and (delivery := subscription.receive(POLL_S)):
            delivery.acknowledge()
            entries = _entries_in(delivery.topic, delivery.payload)
        for entry in entries:
            heard = max(heard, int(entry["sequence"]))
            if entry["sequence"] == shown + 1:
                shown, silent_since = shown + 1, time.monotonic()
                yield entry
                is_last = entry["event_type"] in LAST_WORDS and entry is entries[-1]
                if is_last and has_ended(session, project_id):
                    return
        is_over = False
        if time.monotonic() - silent_since > SILENCE_S:
            silent_since, is_over = time.monotonic(), _is_told_no_more(session, project_id)


def _missed(session: Session, project_id: str, shown: int, connection: int) -> tuple[list[Entry], int]:
    """The entries after one, and the connection that they were asked for over; only the first time has to succeed."""
    current = session.bus.connection_count
    try:
        return list(history(session, project_id, after=shown)), current
    except (BrokerUnreachableError, NoAnswerError, RequestRefusedError) as error:
        if not connection or not _may_pass(error):
            raise
        return [], connection


def has_ended(session: Session, project_id: str) -> bool:
    """Whether a project has ended, as far as anybody knows."""
    try:
        shown = session.ask("project", ShowProject(project_id=project_id))
    except (BrokerUnreachableError, NoAnswerError, NotFoundError):
        return True
    except RequestRefusedError as error:
        if not _may_pass(error):
            raise
        return True
    return shown["status"]["phase"] in ENDED


def _is_told_no_more(session: Session, project_id: str) -> bool:
    """Whether a project has ended and its observer is gone; one that only hangs is started again, and goes on."""
    shown = _shown(session, project_id)
    states = {
        instance["state"]
        for service in shown.get("services", ())
        if service["role"] == Role.OBSERVER
        for instance in service["instances"]
    }
    return bool(_end_of(shown)) and not states & {InstanceState.RUNNING, InstanceState.SCHEDULED}


def code_of_end(session: Session, project_id: str) -> int:
    """The exit code that says how a project has ended."""
    return LAST_WORDS.get(f"project.{_end_of(_shown(session, project_id))}", EXIT_FAILED)


def _end_of(shown: dict[str, Any]) -> str:
    """The phase that a project has ended in; nothing if it goes on."""
    phase = str(shown.get("status", {}).get("phase", ""))
    return phase if phase in ENDED else ""


def _shown(session: Session, project_id: str) -> dict[str, Any]:
    """What the manager knows of a project; nothing if nobody answers."""
    try:
        return session.ask("project", ShowProject(project_id=project_id))
    except (BrokerUnreachableError, NoAnswerError, RequestRefusedError) as error:
        if not _may_pass(error):
            raise
        return {}


def _may_pass(error: FlopsError) -> bool:
    """Whether it may be answered later what is not answered now, as while the managers' store is away."""
    return not isinstance(error, RequestRefusedError) or error.refusal_code in PASSING


def _entries_in(topic: str, payload: bytes) -> list[Entry]:
    """The entry of a message, or none: anybody may publish there."""
    try:
        return [InboxEntry.model_validate(decode_envelope(topic, payload).data).model_dump()]
    except (UndecodableMessageError, ValidationError):
        return []


def only(
    show: Callable[[Entry], None], *, severity: str = "", since: datetime | None = None
) -> Callable[[Entry], None]:
    """Show only entries that are at least so severe and not older."""
    wanted = SEVERITIES[SEVERITIES.index(severity) :] if severity else SEVERITIES

    def show_some(entry: Entry) -> None:
        is_late = since is None or datetime.fromisoformat(entry["time"]) >= since
        if is_late and entry["severity"] in wanted:
            show(entry)

    return show_some


def watch(
    session: Session,
    project_id: str,
    show: Callable[[Entry], None],
    *,
    after: int = 0,
    at_the_end: Callable[[], object] = lambda: None,
) -> int:
    """Show a project until it has ended; Ctrl-C detaches. Returns the exit code.

    ``at_the_end`` is called before anything is said that is no entry.
    """
    last, seen = "", after
    try:
        for entry in follow(session, project_id, after=after):
            show(entry)
            last, seen = entry["event_type"], int(entry["sequence"])
        at_the_end()
        if last in LAST_WORDS:
            return LAST_WORDS[last]
        say(f"The project has ended, but its observer has not told how. See: flops project show {project_id}")
        return code_of_end(session, project_id)
    except KeyboardInterrupt:
        at_the_end()
        say(f"\nDetached; the project goes on. Come back with: flops project inbox {project_id} -f --after {seen}")
    return EXIT_INTERRUPTED


def show_entry(entry: Entry) -> None:
    """One entry as a line, with its details and its next step below."""
    severity = str(entry["severity"])
    clock = datetime.fromisoformat(entry["time"]).astimezone().strftime("%H:%M:%S")
    line = f"{clock} {SIGNS[severity]} {visible(entry['text'])}"
    click.echo(styled(line, fg=COLOURS[severity]))
    for detail in _shortened(visible(entry["details"].rstrip()).splitlines()):
        click.echo(styled(f"{MARGIN}| {detail}", dim=True))
    if entry["next_step"]:
        click.echo(styled(f"{MARGIN}→ {visible(entry['next_step'])}", dim=True))


def _shortened(details: list[str]) -> list[str]:
    """A long traceback begins in the user's code and ends with the error; between them are libraries."""
    skipped = len(details) - FIRST_DETAILS - LAST_DETAILS
    if skipped <= 1:
        return details
    return [*details[:FIRST_DETAILS], f"… {skipped} lines more (--json shows all) …", *details[-LAST_DETAILS:]]
