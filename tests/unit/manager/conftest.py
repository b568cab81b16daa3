"""A whole manager on a broker in memory, with doubles for everything else."""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from tests.brokers import wait_until
from tests.doubles.outside import FakeOrchestrator, FakeRegistry, FakeRepositories

from flops.adapters.sqlite_store import SqliteStore
from flops.delivery.presence import presence_payload
from flops.delivery.requests import RequestClient
from flops.delivery.service import ServiceIdentity
from flops.manager.service import ManagerPorts, Tenure, run
from flops.project.state import Deadlines
from flops.wire.envelope import Envelope, decode_envelope
from flops.wire.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flops.adapters.memory_bus import MemoryBroker, MemoryBus
    from flops.wire.events import Event


@dataclass
class Office:
    """A manager that can be stopped and started, and what surrounds it."""

    broker: MemoryBroker
    path: Path
    orchestrator: FakeOrchestrator = field(default_factory=FakeOrchestrator)
    registry: FakeRegistry = field(default_factory=FakeRegistry)
    repositories: FakeRepositories = field(default_factory=FakeRepositories)
    deadlines: Deadlines = field(default_factory=Deadlines)
    topics: Topics = field(default_factory=Topics)
    tenure: Tenure = field(default_factory=Tenure)

    def __post_init__(self) -> None:
        client = f"client-of-{self.tenure.manager}"
        self.bus: MemoryBus = self.broker.connect(client)
        self.client = RequestClient(self.bus, self.topics, client)
        self.heard = self.bus.subscribe(self.topics.project_events())
        self.confirmations = self.bus.subscribe(self.topics.project_confirmed())
        self.events: list[Envelope] = []
        self.watermarks: dict[str, int] = {}

    def start(self) -> None:
        """Start the manager, and wait until it listens."""
        self._stopping, ready = threading.Event(), threading.Event()
        self.store = SqliteStore(self.path)
        self._bus = self.broker.connect(self.tenure.manager, persistent=True)
        ports = ManagerPorts(self._bus, self.topics, self.store, self.orchestrator, self.registry, self.repositories)
        arguments = (ports, self.deadlines, "linux/amd64", self._stopping, ready.set)
        self._thread = threading.Thread(target=run, args=arguments, kwargs={"tenure": self.tenure})
        self._thread.start()
        assert ready.wait(10)

    def stop(self) -> None:
        """Stop the manager as SIGTERM does."""
        self._stopping.set()
        self._thread.join(20)
        assert not self._thread.is_alive()
        self._bus.close()
        self.store.close()

    def request(self, sla: dict[str, Any], *, request_id: str = "") -> str:
        """Request a project; returns its id."""
        answer = self.client.ask_on(self.topics.project_start(), sla, 10, kind="project.request", request_id=request_id)
        return str(answer["project_id"])

    def say_data(self, **data_tags: int) -> None:
        """Let the data server of node n1 say what it has."""
        identity = ServiceIdentity("data-n1", "data-n1", "data", "flops", "", "n1", "")
        payload = presence_payload(identity, online=True, data_tags=data_tags)
        self.bus.publish(self.topics.presence("data-n1"), payload, retain=True)

    def tell(self, project_id: str, source: str, sequence: int, event: Event, *, event_id: str = "") -> str:
        """Let a service of a project tell an event; returns the event's id."""
        envelope = Envelope(
            id=event_id or str(uuid.uuid4()),
            source=source,
            type=event.type,
            subject=project_id,
            time=datetime.now(UTC),
            data=event.model_dump(mode="json"),
            sequence=sequence,
        )
        self.bus.publish(self.topics.project_events(project_id), envelope.encode())
        return envelope.id

    def await_event(self, event_type: str, project_id: str = "") -> Envelope:
        """The first event of a type, waited for."""
        found: list[Envelope] = []

        def look() -> bool:
            while (delivery := self.heard.receive(0.01)) is not None:
                self.events.append(decode_envelope(delivery.topic, delivery.payload))
            found[:] = [e for e in self.events if e.type == event_type and project_id in {"", e.subject}]
            return bool(found)

        wait_until(look)
        return found[0]

    def await_phase(self, project_id: str, phase: str) -> None:
        """Wait until a project is in a phase."""
        wait_until(lambda: (record := self.store.load(project_id)) is not None and record.project.phase == phase)

    def await_deployed(self, prefix: str) -> str:
        """Wait until a service whose name begins like that is deployed; returns its name."""
        wait_until(lambda: any(name.startswith(prefix) for name in list(self.orchestrator.deployed)))
        return next(name for name in self.orchestrator.deployed if name.startswith(prefix))


@pytest.fixture
def office(memory_broker: MemoryBroker, tmp_path: Path) -> Iterator[Office]:
    """A running manager."""
    made = Office(memory_broker, tmp_path / "flops.db")
    made.start()
    yield made
    made.stop()
