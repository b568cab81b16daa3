"""A manager and observers for the terminal user interface: what they keep, and what they tell."""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from tests.doubles.answers import ID, status

from flops.delivery.answers import answer
from flops.delivery.requests import RequestClient
from flops.wire.envelope import Envelope, decode_envelope
from flops.wire.topics import Topics

if TYPE_CHECKING:
    from tests.brokers import BrokerProcess

    from flops.adapters.memory_bus import MemoryBroker
    from flops.ports import Bus
    from flops.wire.requests import Message

__all__ = ["ID", "Desk", "entry", "status"]
BEGIN: Final = datetime(2030, 1, 1, 10, tzinfo=UTC)


def entry(sequence: int, **changes: Any) -> dict[str, Any]:  # noqa: ANN401  any field
    """An entry that happened so many seconds after the begin."""
    fields: dict[str, Any] = {
        "project_id": ID,
        "sequence": sequence,
        "time": (BEGIN + timedelta(seconds=sequence)).isoformat(),
        "severity": "info",
        "text": f"entry {sequence}",
        "event_type": "log",
        "event_id": f"event-{sequence}",
        "source": "/builder/b",
        "stage": "building",
        "details": "",
        "next_step": "",
        "data": {},
    }
    return fields | changes


class MemoryLink:
    """A connection as the command line's."""

    def __init__(self, bus: Bus, topics: Topics) -> None:
        self.bus, self.topics = bus, topics
        self._requests = RequestClient(bus, topics, f"tui-{uuid.uuid4().hex}")

    def ask(self, name: str, message: Message, *, timeout_s: float = 5.0) -> dict[str, Any]:
        return self._requests.ask(name, message, timeout_s)


@dataclass
class Desk:
    """Answers as the manager does, and publishes as an observer does."""

    broker: MemoryBroker | BrokerProcess
    topics: Topics = field(default_factory=Topics)
    kept: list[dict[str, Any]] = field(default_factory=list)
    listed: list[dict[str, Any]] = field(default_factory=list)
    replies: dict[str, dict[str, Any]] = field(default_factory=dict)
    heard: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.bus = self.broker.connect("desk", persistent=True)

    def link(self) -> MemoryLink:
        return MemoryLink(self.broker.connect(f"tui-{uuid.uuid4().hex}"), self.topics)

    def run(self) -> None:
        requests = self.bus.subscribe(self.topics.request(), self.topics.project_start())
        while not self.stopping.is_set():
            if (delivery := requests.receive(0.05)) is not None:
                question = decode_envelope(delivery.topic, delivery.payload)
                delivery.acknowledge()
                name = delivery.topic.rpartition("/")[2]
                self.heard.append((name, question.data))
                answer(self.bus, delivery, question, self._reply(name, question.data))

    def tell(self, told: dict[str, Any]) -> None:
        self._publish(self.topics.project_inbox(ID), told, retain=False)

    def tell_status(self, told: dict[str, Any]) -> None:
        self.listed = [told]
        self._publish(self.topics.project_status(ID), told, retain=True)

    def delete(self, project_id: str) -> None:
        self.listed = []
        self.bus.publish(self.topics.project_status(project_id), b"", retain=True)

    def _reply(self, name: str, data: dict[str, Any]) -> dict[str, Any]:
        if name == "projects":
            return {"projects": self.listed, "next": ""}
        if name == "inbox":
            found = [kept for kept in self.kept if kept["sequence"] > data["after"]]
            return {"entries": found[: data["limit"]], "more": len(found) > data["limit"]}
        return self.replies.get(name, {})

    def _publish(self, topic: str, data: dict[str, Any], *, retain: bool) -> None:
        envelope = Envelope(id=str(uuid.uuid4()), source="/observer/o", type="entry", time=datetime.now(UTC), data=data)
        self.bus.publish(topic, envelope.encode(), retain=retain)
