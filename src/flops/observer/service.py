"""The observer process: reads the events of one project until the project has ended."""

from __future__ import annotations

import logging
import time
import uuid
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from flops.delivery.publisher import OutboxKeeper, Unconfirmed
from flops.delivery.rates import Noise
from flops.errors import (
    BrokerUnreachableError,
    FlopsError,
    StoppingError,
    StoreUnavailableError,
    UndecodableMessageError,
)
from flops.observer.chapters import ends_a_chapter, is_last_word
from flops.observer.inbox import Inbox, InboxStore
from flops.observer.question import Question, page_of
from flops.wire.envelope import Envelope, decode_envelope
from flops.wire.events import Warned
from flops.wire.limits import EVENT
from flops.wire.requests import ReadEvents, ReadInbox

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flops.delivery.requests import RequestClient
    from flops.delivery.service import ServiceContext
    from flops.observer.question import Page
    from flops.ports import Delivery

log = logging.getLogger(__name__)

WAIT_S: Final = 1.0
BUSY_WAIT_S: Final = 0.05
STATUS_EVERY_S: Final = 0.1
CATCH_UP_TIMEOUT_S: Final = 5.0
LOOK_AGAIN_S: Final = 60.0
READ_AT_ONCE: Final = 200
READ_AT_ONCE_BYTES: Final = 1_000_000
PAGE: Final = 500
PATIENCE_S: Final = 60.0
BEHIND: Final = "Some of what happened is missing here for {:g} s by now. It follows as soon as the manager tells it."


class ObserverStore(InboxStore, Unconfirmed, Protocol):
    """What the observer keeps: its inbox, and which entries the manager has not confirmed."""


def run(context: ServiceContext, store: ObserverStore, requests: RequestClient) -> int:
    """Observe the project of ``context`` until it has ended or the process is asked to stop."""
    return 0 if Observer(context, store, requests).run() else StoppingError.exit_code


class Observer:
    """Listens to the project's events, and asks the manager for those it cannot have heard."""

    def __init__(self, context: ServiceContext, store: ObserverStore, requests: RequestClient) -> None:
        identity, topics = context.identity, context.topics
        self._context, self._store, self._requests = context, store, requests
        self._project_id = identity.project_id
        source = f"{identity.source}/inbox"
        self._inbox = Inbox(
            store,
            project_id=self._project_id,
            app=str(context.config.get("project_app", "")),
            source=source,
            verbose=bool(context.config.get("verbose", False)),
        )
        self._topic = topics.project_inbox(self._project_id)
        self._events = context.bus.subscribe(topics.project_events(self._project_id))
        self._keeper = OutboxKeeper(
            context.bus, store, topics, source=source, project_id=self._project_id, topic=self._topic
        )
        self._noise = Noise(log, "event ignored")
        self._position = 0
        self._is_behind, self._times_behind = False, 0
        self._has_caught_up = False
        self._behind_since: float | None = None
        self._look_at, self._look_again_s = 0.0, WAIT_S
        self._question: Question | None = None
        self._is_answered = True
        self._is_status_told, self._status_at = True, 0.0

    def run(self) -> bool:
        """Read until the project has ended and the manager has every entry, however long it is away; False if stopped.

        What had ended when this observer ended before may have been retried since: that has to be asked first.
        What is not heard from the broker, for instance because the manager was killed while it told it, is asked for:
        again soon after a connection, since the manager may have more by then that was told before it.
        """
        connection = 0
        if self._inbox.is_new:
            self._insist(self._restore)
        while not self._context.stopping.is_set() and not self._is_done:
            if connection != self._context.bus.connection_count:
                connection = self._context.bus.connection_count
                self._look_again_s = WAIT_S
                self._insist(self._catch_up)
                self._publish_status()
                continue
            deliveries = self._receive()
            if self._insist(partial(self._hear_all, deliveries)):
                for delivery in deliveries:
                    delivery.acknowledge()
            self._insist(self._look)
            self._tell_status_if_due()
            self._insist(self._say_if_behind)
        self._publish_status()
        is_complete = False
        while not self._context.stopping.is_set() and not is_complete:
            is_complete = self._keeper.wait_confirmed(WAIT_S) and self._is_status_told
            if not self._is_status_told and not self._context.stopping.wait(STATUS_EVERY_S):
                self._publish_status()
        self._keeper.close()
        return is_complete

    def _receive(self) -> list[Delivery]:
        """What is there, after waiting for the first of it: together it costs one durable write."""
        deliveries: list[Delivery] = []
        size_bytes = 0
        while len(deliveries) < READ_AT_ONCE and size_bytes < READ_AT_ONCE_BYTES:
            is_idle = self._question is None and self._is_status_told
            wait_s = WAIT_S if is_idle else BUSY_WAIT_S
            delivery = self._events.receive(0 if deliveries else wait_s)
            if delivery is None:
                break
            deliveries.append(delivery)
            size_bytes += len(delivery.payload)
        return deliveries

    def _insist(self, read: Callable[[], None]) -> bool:
        """Read, as often as it takes until the disk has room for it; False if stopped before.

        What was read before makes no second entry.
        """
        while not self._context.stopping.is_set():
            try:
                read()
            except StoreUnavailableError as error:
                log.error("entries wait", extra={"reason": str(error)})  # noqa: TRY400  the reason says it all
                self._context.stopping.wait(WAIT_S)
            else:
                return True
        return False

    @property
    def _is_done(self) -> bool:
        return self._has_caught_up and self._inbox.has_ended

    def _hear_all(self, deliveries: Sequence[Delivery]) -> None:
        envelopes = [*filter(None, map(self._decoded, deliveries))]
        self._inbox.expect([envelope.id for envelope in envelopes])
        for envelope in envelopes:
            if not self._is_done:
                self._hear(envelope)
        self._save()

    def _decoded(self, delivery: Delivery) -> Envelope | None:
        try:
            return decode_envelope(delivery.topic, delivery.payload, EVENT)
        except UndecodableMessageError as error:
            self._noise.hear(error.topic, error.reason)
            return None

    def _hear(self, envelope: Envelope) -> None:
        if ends_a_chapter(envelope) and self._is_answered:
            self._catch_up()
        if self._inbox.is_early(envelope) or (ends_a_chapter(envelope) and not self._is_answered):
            self._put_aside()
        elif not (self._is_behind and is_last_word(envelope)):
            self._read(envelope)

    def _put_aside(self) -> None:
        """Leave an event to the manager, which has it and all that led to it, or will have soon."""
        self._is_behind, self._look_at, self._look_again_s = True, 0.0, WAIT_S
        self._times_behind += 1

    def _restore(self) -> None:
        """Take over what an inbox before this one has told, if there was one: its disk may have been lost."""
        entries: list[dict[str, Any]] = []
        more = True
        try:
            while more and not self._context.stopping.is_set():
                question = ReadInbox(project_id=self._project_id, after=len(entries), limit=PAGE)
                answer = self._requests.ask("inbox", question, CATCH_UP_TIMEOUT_S)
                entries, more = [*entries, *answer["entries"]], bool(answer["more"])
            self._inbox.restore(entries)
        except StoreUnavailableError:
            raise
        except FlopsError as error:
            log.warning("nothing is restored", extra={"reason": str(error)})

    def _catch_up(self) -> None:
        """Read what the manager has of this project, from where the last catching up ended; waits for its answers."""
        self._save()
        while not self._context.stopping.is_set() and self._take_in(self._ask(), self._times_behind):
            continue

    def _look(self) -> None:
        """Catch up without waiting: while the manager is away, what is heard from the broker is told at once."""
        question = self._question
        if question is None:
            if time.monotonic() >= self._look_at:
                self._look_again_s = min(2 * self._look_again_s, LOOK_AGAIN_S)
                self._question = Question(self._ask, self._times_behind)
        elif question.is_over:
            self._question = None
            if self._take_in(question.answer, question.times_behind):
                self._look_at = 0.0

    def _ask(self) -> Page | None:
        question = ReadEvents(project_id=self._project_id, after=self._position, limit=PAGE)
        try:
            return page_of(self._requests.ask("events", question, CATCH_UP_TIMEOUT_S))
        except FlopsError as error:
            log.warning("cannot catch up", extra={"reason": str(error)})
            return None

    def _take_in(self, page: Page | None, times_behind: int) -> bool:
        """Read what the manager has answered, if it has; returns whether there is more to ask for.

        There is, too, if an event was put aside since it was asked: the answer may be older.
        """
        self._is_answered = page is not None
        if page is None:
            self._is_behind, self._look_at = True, time.monotonic() + WAIT_S
            return False
        self._inbox.expect([envelope.id for _, envelope in page.events])
        for _, envelope in page.events:
            self._read(envelope)
        self._save()
        self._position = max([self._position, *(position for position, _ in page.events)])
        if page.more or times_behind != self._times_behind:
            return True
        self._is_behind, self._has_caught_up = False, True
        self._look_at = time.monotonic() + self._look_again_s
        return False

    def _say_if_behind(self) -> None:
        """Say in the inbox that something is missing there, once it has been so for long; the manager has it."""
        now = time.monotonic()
        if not self._is_behind:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = now
        elif now - self._behind_since >= PATIENCE_S:
            self._behind_since = float("inf")
            said = Warned(message=BEHIND.format(PATIENCE_S), remedy="'flops doctor' tells whether the manager runs.")
            self._read(
                Envelope(
                    id=str(uuid.uuid4()),
                    source=self._context.identity.source,
                    type=said.type,
                    subject=self._project_id,
                    time=datetime.now(UTC),
                    data=said.model_dump(mode="json"),
                )
            )
            self._save()

    def _read(self, envelope: Envelope) -> None:
        try:
            event = envelope.event()
        except UndecodableMessageError as error:
            log.warning("event without an entry", extra={"topic": error.topic, "reason": error.reason})
            event = None
        self._inbox.read(envelope, event)

    def _save(self) -> None:
        """Make durable what was read, and tell it; the status is told once, however much that is."""
        if not self._inbox.has_news:
            return
        with self._keeper.sending:
            for entry in self._inbox.save():
                self._tell(self._topic, entry)
        self._is_status_told = False
        self._tell_status_if_due()

    def _tell_status_if_due(self) -> None:
        """Tell a new status, at once if nothing was told for a moment: of a flood only the newest counts."""
        if not self._is_status_told and time.monotonic() >= self._status_at:
            self._publish_status()

    def _publish_status(self) -> None:
        self._is_status_told, self._status_at = True, time.monotonic() + STATUS_EVERY_S
        status = self._inbox.status_envelope(datetime.now(UTC))
        if status is not None:
            topic = self._context.topics.project_status(self._project_id)
            self._is_status_told = self._tell(topic, status.encode(), retain=True)

    def _tell(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Publish, if the broker can take it; else an entry is told by its keeper, and the status soon."""
        try:
            self._context.bus.publish(topic, payload, retain=retain)
        except BrokerUnreachableError as error:
            log.warning("what was to be told waits for the broker", extra={"reason": error.reason})
            self._status_at = time.monotonic() + WAIT_S
            return False
        return True
