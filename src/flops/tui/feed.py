"""What comes from the broker, gathered by threads until somebody takes it in one go."""

from __future__ import annotations

import queue
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from pydantic import ValidationError

from flops.errors import FlopsError, UndecodableMessageError
from flops.wire.envelope import decode_envelope
from flops.wire.requests import InboxEntry, ListProjects, Message, ProjectStatus, ReadInbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from flops.ports import Bus, Subscription
    from flops.wire.topics import Topics

LISTEN_S: Final = 0.2
ASK_S: Final = 8.0
PAGE: Final = 500
LATEST: Final = 300  # ten times a second; more at once would keep a key waiting that is pressed meanwhile


class Link(Protocol):
    """A connection to the broker and, through it, to the manager."""

    @property
    def bus(self) -> Bus:
        """Where topics are heard."""

    @property
    def topics(self) -> Topics:
        """Their names."""

    def ask(self, name: str, message: Message, *, timeout_s: float = ASK_S) -> dict[str, Any]:
        """Ask the manager; raises FlopsErrors."""


@dataclass(slots=True)
class News:
    """What has come since the last time. ``failed`` are questions that nobody answered."""

    statuses: list[dict[str, Any]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)
    answers: list[tuple[Callable[[Any], None], Any]] = field(default_factory=list)


class Feed:
    """Listens and asks. ``take`` is called by whoever shows it; nothing here waits for that."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._arrived: deque[tuple[str, bytes]] = deque()
        self._answered: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._questions: queue.SimpleQueue[tuple[Callable[[], Any], Callable[[Any], None]] | None]
        self._questions = queue.SimpleQueue()
        self._inbox: Subscription | None = None
        self._statuses: Subscription | None = None

    @property
    def is_connected(self) -> bool:
        """Whether the broker can be heard right now."""
        return self._link.bus.is_connected

    @property
    def connection_count(self) -> int:
        """A change means that something may have been missed."""
        return self._link.bus.connection_count

    def start(self) -> None:
        """Begin to listen."""
        self._statuses = self._link.bus.subscribe(self._link.topics.project_status())
        threading.Thread(target=self._listen, args=(self._statuses,), daemon=True).start()
        threading.Thread(target=self._answer, daemon=True).start()

    def select(self, project_id: str) -> None:
        """Listen to the inbox of this project, and no other."""
        if self._inbox is not None:
            self._inbox.close()
        self._inbox = self._link.bus.subscribe(self._link.topics.project_inbox(project_id))
        threading.Thread(target=self._listen, args=(self._inbox,), daemon=True).start()

    def ask(self, question: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Have a question answered; ``then`` is handed over by ``take`` with the answer or the error."""
        self._questions.put((question, then))

    def ask_aside(self, question: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """As ``ask``, for what may take long: nothing else waits for it."""
        threading.Thread(target=self._answer_one, args=(question, then), daemon=True).start()

    def request(self, name: str, message: Message, *, timeout_s: float = ASK_S) -> dict[str, Any]:
        """Ask the manager and wait for the answer."""
        return self._link.ask(name, message, timeout_s=timeout_s)

    def projects(self, user: str) -> list[dict[str, Any]]:
        """All projects, newest first."""
        found: list[dict[str, Any]] = []
        after, more = "", True
        while more:
            answer = self.request("projects", ListProjects(user=user, after=after))
            found += answer["projects"]
            after = str(answer.get("next", ""))
            more = bool(after)
        return found

    def history(self, project_id: str, after: int, before: int = 0) -> list[dict[str, Any]]:
        """Entries after a number, and before one if it is given, in as many pages as it takes."""
        found: list[dict[str, Any]] = []
        more = True
        while more:
            answer = self.request("inbox", ReadInbox(project_id=project_id, after=after, limit=PAGE))
            found += answer["entries"]
            after = max([after, *(int(entry["sequence"]) for entry in answer["entries"])])
            more = bool(answer["more"]) and bool(answer["entries"]) and (not before or after < before - 1)
        return found

    def take(self, limit: int = LATEST) -> News:
        """What has come, at most so many messages of it."""
        news = News()
        for _ in range(min(limit, len(self._arrived))):
            topic, payload = self._arrived.popleft()
            self._sort(news, topic, payload)
        while self._answered:
            news.answers.append(self._answered.popleft())
        return news

    def close(self) -> None:
        """Stop listening."""
        self._questions.put(None)
        for subscription in (self._inbox, self._statuses):
            if subscription is not None:
                subscription.close()

    def _sort(self, news: News, topic: str, payload: bytes) -> None:
        tail = self._link.topics.tail_of(topic)
        if not payload:
            if tail == ("status",) and (project_id := self._link.topics.project_of(topic)):
                news.deleted.append(project_id)
            return
        try:
            data = decode_envelope(topic, payload).data
            if tail == ("inbox",):
                news.entries.append(InboxEntry.model_validate(data).model_dump())
            else:
                news.statuses.append(ProjectStatus.model_validate(data).model_dump())
        except (UndecodableMessageError, ValidationError):  # anybody may publish there
            return

    def _listen(self, subscription: Subscription) -> None:
        while (delivery := subscription.receive()) is not None:
            self._arrived.append((delivery.topic, delivery.payload))
            delivery.acknowledge()

    def _answer(self) -> None:
        while (asked := self._questions.get()) is not None:
            self._answer_one(*asked)

    def _answer_one(self, question: Callable[[], Any], then: Callable[[Any], None]) -> None:
        try:
            answer = question()
        except FlopsError as error:
            answer = error
        self._answered.append((then, answer))
