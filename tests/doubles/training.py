"""A project's training without processes: aggregator and learners in threads, on a broker in memory or a real one."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa

from flops.adapters.memory_bus import MemoryBroker
from flops.adapters.mqtt import connect as connect_mqtt
from flops.adapters.sqlite_outbox import SqliteOutbox
from flops.aggregator.service import run as run_aggregator
from flops.delivery.presence import presence_payload
from flops.delivery.publisher import EventPublisher
from flops.delivery.service import ServiceContext, ServiceIdentity
from flops.errors import DataUnavailableError, FlopsError, ModelCodeError, TrackingUnavailableError
from flops.learner.service import run as run_learner
from flops.learning.literals import take_turns
from flops.ports import StoredPartition, TrackedRun
from flops.settings import MIB, Settings
from flops.wire.confirmation import encode_watermarks
from flops.wire.envelope import decode_envelope
from flops.wire.events import Event, RoundFinished, TrainingFailed, TrainingFinished
from flops.wire.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from flops.ports import Bus
    from flops.settings import BrokerAccess

PROJECT = "0123456789abcdef01234567"
AGGREGATOR = "aggr0123456789ab.0"
TRACKING = "tracking0123456789ab.0"
PATIENCE_S = 40.0
Kind = TypeVar("Kind", bound=Event)


def wait_for(condition: Callable[[], object], what: str = "condition", timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {timeout_s:g} s"
        pause.wait(0.005)


class FakeModel:
    """Moves its parameters half-way to ``target``; what it does can be held up or made to fail."""

    def __init__(self, target: float = 1.0, examples: int = 10, shape: tuple[int, ...] = (3, 2)) -> None:
        self.target, self.examples, self.shape = target, examples, shape
        self.failure: Exception | None = None
        self.go_on = threading.Event()
        self.go_on.set()
        self.is_fitting = threading.Event()
        self.fits = self.evaluations = self.loads = self.starts = 0
        self.is_closed = threading.Event()
        self.exported: list[NDArray[Any]] | None = None

    def start(self) -> None:
        self.starts += 1

    def load_data(self) -> dict[str, Any]:
        self.loads += 1
        return {"shape": [1, 4], "dtype": "float64"}

    def get_parameters(self) -> list[Any]:
        return [np.zeros(self.shape), np.zeros(2, dtype=np.float32)]

    def fit(self, parameters: list[Any]) -> tuple[list[Any], int]:
        self.is_fitting.set()
        assert self.go_on.wait(PATIENCE_S)
        if self.failure is not None:
            raise self.failure
        self.fits += 1
        return [array + (self.target - array) / 2 for array in parameters], self.examples

    def evaluate(self, parameters: list[Any]) -> tuple[float, float, int]:
        self.evaluations += 1
        loss = float(np.abs(parameters[0] - self.target).mean())
        return loss, 1 / (1 + loss), self.examples // 2

    def prepare_export(self) -> None:
        self.is_prepared = True

    def export(self, parameters: list[Any], into: Path, example: dict[str, Any]) -> list[str]:
        assert example == {"shape": [1, 4], "dtype": "float64"}
        into.mkdir(exist_ok=True)
        np.savez(into / "model.npz", *parameters)
        self.exported = parameters
        return ["it has no signature"]

    def close(self) -> None:
        self.is_closed.set()
        self.go_on.set()


def model_error(reason: str = "ValueError('bad labels')") -> ModelCodeError:
    return ModelCodeError("fit_model", reason, "Traceback (most recent call last):\n  line 7\n" + reason)


class FakeData:
    """A node's data: one row per example."""

    def __init__(self, rows: int = 10) -> None:
        self.rows = rows

    def fetch(self, tags: Sequence[str], *, share: int, shares: int) -> pa.Table:
        if not self.rows:
            message = f"There are no data with the tags {list(tags)}."
            raise DataUnavailableError(message)
        return pa.table({"x": list(range(self.rows))[share::shares]})

    def put(self, tag: str, name: str, table: pa.Table) -> StoredPartition:
        raise NotImplementedError

    def partitions(self, tags: Iterable[str] | None = None) -> list[StoredPartition]:
        raise NotImplementedError

    def delete(self, tag: str, name: str | None = None) -> int:
        raise NotImplementedError


@dataclass
class FakeTracking:
    """Remembers what it was told; can be out of order."""

    is_down: bool = False
    parameters: dict[str, str] = field(default_factory=dict)
    rounds: dict[int, dict[str, float]] = field(default_factory=dict)
    models: list[tuple[Path, int]] = field(default_factory=list)
    succeeded: bool | None = None

    def start_run(self, project_id: str, parameters: Mapping[str, str]) -> TrackedRun:
        self._refuse_if_down()
        self.parameters = dict(parameters)
        return TrackedRun("1", f"run-{project_id[:4]}", "http://tracking/#/run")

    def log_round(self, run: TrackedRun, round_number: int, metrics: Mapping[str, float]) -> None:
        assert run.run_id
        self._refuse_if_down()
        self.rounds[round_number] = dict(metrics)

    def log_model(self, run: TrackedRun, model: Path, *, round_number: int) -> str:
        assert run.run_id
        self._refuse_if_down()
        self.models.append((model, round_number))
        return "models:/m-1"

    def finish_run(self, run: TrackedRun, *, succeeded: bool) -> None:
        assert run.run_id
        self._refuse_if_down()
        self.succeeded = succeeded

    def download_model(self, model_uri: str, into: Path) -> Path:
        raise NotImplementedError

    def _refuse_if_down(self) -> None:
        if self.is_down:
            message = "The tracking server refuses."
            raise TrackingUnavailableError(message)


class Manager:
    """Confirms every event and remembers it."""

    def __init__(self, bus: Bus, topics: Topics) -> None:
        self.events: list[Event] = []
        self._ids: set[str] = set()
        self._bus, self._topics = bus, topics
        self._watermarks: dict[str, int] = {}
        self._subscription = bus.subscribe(topics.project_events(PROJECT))
        threading.Thread(target=self._confirm, daemon=True).start()

    def _confirm(self) -> None:
        while (delivery := self._subscription.receive()) is not None:
            envelope = decode_envelope(delivery.topic, delivery.payload)
            event = envelope.event()
            if envelope.id not in self._ids and event is not None:
                self._ids.add(envelope.id)
                self.events.append(event)
            self._watermarks[envelope.source] = max(self._watermarks.get(envelope.source, 0), envelope.sequence)
            self._bus.publish(self._topics.project_confirmed(PROJECT), encode_watermarks(self._watermarks), retain=True)


class Running:
    """A service in a thread of its own."""

    def __init__(self, context: ServiceContext, target: Callable[[], int]) -> None:
        self.context = context
        self.exit_codes: list[int] = []
        self._is_killed = False
        self._thread = threading.Thread(target=self._run, args=(target,), daemon=True)
        self._thread.start()

    def _run(self, target: Callable[[], int]) -> None:
        try:
            self.exit_codes.append(target())
        except FlopsError:
            if not self._is_killed:
                raise

    def join(self, exit_code: int = 0) -> None:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), f"{self.context.identity.instance} did not end"
        assert self.exit_codes == [exit_code]
        self.context.events.close()
        self.context.bus.close((self.topic, presence_payload(self.context.identity, online=False)))

    @property
    def topic(self) -> str:
        return self.context.topics.presence(self.context.identity.instance)

    def stop(self, exit_code: int) -> None:
        self.context.stopping.set()
        self.join(exit_code)

    def kill(self) -> None:
        """What the others see of kill -9: the last will, and then nothing any more."""
        self._is_killed = True
        self.context.bus.close((self.topic, presence_payload(self.context.identity, online=False)))
        self.context.stopping.set()
        self.context.events.close()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


class Training:
    """One project with its broker, manager and tracking server.

    Args:
        connect: makes a bus of this client id, with this last will.
    """

    def __init__(
        self,
        home: Path,
        learners: int = 2,
        connect: Callable[[str, tuple[str, bytes] | None], Bus] | None = None,
        topics: Topics | None = None,
        **settings: object,
    ) -> None:
        take_turns()  # all actors are threads of this process
        self.home, self.topics = home, topics or Topics()
        self.broker = MemoryBroker()
        self._connect = connect or (lambda name, will: self.broker.connect(name, will=will))
        defaults: dict[str, Any] = {
            "chunk_bytes": 16,
            "learner_return_s": 0.3,
            "deploy_deadline_s": 5.0,
            "round_deadline_s": 10.0,
        }
        self.settings = Settings(home=home, **{**defaults, **settings})
        self.learners = [f"flearner0123456789ab.{index}" for index in range(learners)]
        self.manager = Manager(self._connect("manager", None), self.topics)
        self.tracking = FakeTracking()
        self.config: dict[str, Any] = {
            "rounds": 3,
            "learners": self.learners,
            "tracking_service": TRACKING,
            "commit": "c0ffee",
            "sla": {"training_configuration": {"mode": "classic"}},
        }
        self.start_tracking_server()

    def start_tracking_server(self) -> None:
        identity = ServiceIdentity("tracking", TRACKING, "tracking", "observatory", "Admin", "local", "")
        bus = self._connect("tracking", None)
        payload = presence_payload(identity, online=True, url="http://tracking")
        bus.publish(self.topics.presence(TRACKING), payload, retain=True)

    def learner(self, index: int, model: FakeModel, rows: int = 10) -> Running:
        context = self._context(self.learners[index], "learner", {"data_tags": ["digits"]})
        return Running(context, lambda: run_learner(context, model, lambda: FakeData(rows), write_nothing))

    def aggregator(self, model: FakeModel | None = None, **config: object) -> Running:
        context = self._context(AGGREGATOR, "aggregator", {**self.config, **config})
        used = model or FakeModel()
        return Running(context, lambda: run_aggregator(context, used, lambda _: self.tracking))

    def events(self, kind: type[Kind]) -> list[Kind]:
        return [event for event in self.manager.events if isinstance(event, kind)]

    def event(self, kind: type[Kind]) -> Kind:
        wait_for(lambda: self.events(kind) or (kind is not TrainingFailed and self.events(TrainingFailed)), kind.type)
        assert self.events(kind), self.events(TrainingFailed)
        return self.events(kind)[0]

    def rounds(self) -> list[RoundFinished]:
        return self.events(RoundFinished)

    def finished(self) -> TrainingFinished:
        return self.event(TrainingFinished)

    def failed(self) -> TrainingFailed:
        return self.event(TrainingFailed)

    def _context(self, instance: str, role: str, config: dict[str, Any]) -> ServiceContext:
        return make_context(self.home, self.settings, self.topics, self._connect, instance, role, config)


def make_context(  # noqa: PLR0913, PLR0917  what bootstrap makes of a service's description
    home: Path,
    settings: Settings,
    topics: Topics,
    connect: Callable[[str, tuple[str, bytes] | None], Bus],
    instance: str,
    role: str,
    config: dict[str, Any],
) -> ServiceContext:
    service = instance.partition(".")[0]
    identity = ServiceIdentity(service, instance, role, "proj", "Admin", f"node-{role}", PROJECT)
    topic = topics.presence(instance)
    bus = connect(instance, (topic, presence_payload(identity, online=False)))
    bus.publish(topic, presence_payload(identity, online=True), retain=True)
    directory = home / instance
    directory.mkdir(exist_ok=True)
    outbox = SqliteOutbox(directory / "outbox.sqlite")
    events = EventPublisher(bus, outbox, topics, source=identity.source, project_id=PROJECT)
    return ServiceContext(identity, config, directory, settings, topics, bus, events)


def write_nothing(_: pa.Table, path: Path) -> None:
    path.write_bytes(b"arrow")


def serve_learner(  # noqa: PLR0913, PLR0917  all that a process is given
    home: Path, settings: Settings, topics: Topics, access: BrokerAccess, instance: str, model: dict[str, Any]
) -> None:
    """A learner as a process of its own."""

    def connected(name: str, will: tuple[str, bytes] | None) -> Bus:
        return connect_to(access, topics, name, will)

    context = make_context(home, settings, topics, connected, instance, "learner", {"data_tags": ["digits"]})
    run_learner(context, FakeModel(**model), FakeData, write_nothing)
    context.events.close()
    context.bus.close((topics.presence(instance), presence_payload(context.identity, online=False)))


def connect_to(access: BrokerAccess, topics: Topics, name: str, will: tuple[str, bytes] | None) -> Bus:
    return connect_mqtt(
        access, f"{topics.prefix}-{name}", persistent=True, will=will, max_payload_bytes=8 * MIB, timeout_s=10.0
    )
