"""Scripted actors over a real broker: builders, aggregators, learners and servers that only say their lines."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from flops.delivery.presence import presence_payload
from flops.delivery.service import ServiceIdentity
from flops.errors import UndecodableMessageError
from flops.wire import events as e
from flops.wire.confirmation import decode_watermarks
from flops.wire.envelope import Envelope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flops.ports import Bus
    from flops.wire.topics import Topics

TICK_S: Final = 0.05
LOOK_EVERY_S: Final = 0.5
SEND_AGAIN_AFTER_S, SEND_AGAIN_LAST_S = 2.0, 60.0


@dataclass
class Part:
    """One instance that is played: what it has said and the manager has not confirmed yet."""

    identity: ServiceIdentity
    lines_left: int = 0
    said: int = 0
    unconfirmed: dict[int, bytes] = field(default_factory=dict)
    sent_at: float = 0.0
    send_again_after_s: float = SEND_AGAIN_AFTER_S
    presence: bytes = b""
    held: list[e.Event] = field(default_factory=list)


class Cast:
    """All played instances on one connection. ``ended`` hears of each that has said everything and was confirmed.

    With ``holds_training`` aggregators stop before their first round.
    """

    def __init__(
        self, bus: Bus, topics: Topics, ended: Callable[[str], None] = lambda _: None, *, pause_s: float = 0.0
    ) -> None:
        self.ended, self.pause_s = ended, pause_s
        self.holds_training = False
        self._bus, self._topics = bus, topics
        self._lock = threading.RLock()
        self._parts: dict[str, Part] = {}
        self._due: list[tuple[float, int, str, e.Event]] = []
        self._order = itertools.count()
        self._closing = threading.Event()
        self._confirmations = bus.subscribe(topics.project_confirmed())
        self._thread = threading.Thread(target=self._work, name="cast", daemon=True)
        self._thread.start()

    def play(self, role: str, service: dict[str, Any]) -> None:
        """Let an instance appear and say its lines, ``pause_s`` apart."""
        names = ("service", "instance", "app", "user", "node", "project_id")
        identity = ServiceIdentity(**{name: service[name] for name in names}, role=role)
        part = Part(identity)
        part.presence = _presence(identity)
        lines = list(lines_of(role, service))
        part.lines_left = len(lines)
        if role == "aggregator" and self.holds_training:
            begun = next(number for number, line in enumerate(lines) if isinstance(line, e.RoundFinished))
            lines, part.held = lines[:begun], lines[begun:]
        with self._lock:
            self._parts[identity.instance] = part
            self._bus.publish(self._topics.presence(identity.instance), part.presence, retain=True)
            for number, line in enumerate(lines, start=1):
                if self.pause_s:
                    due = time.monotonic() + number * self.pause_s
                    heapq.heappush(self._due, (due, next(self._order), identity.instance, line))
                else:
                    self._say(part, line)

    def say(self, instance: str, event: e.Event) -> str:
        """Let an instance say something that is not in its script; returns the event's id."""
        with self._lock:
            part = self._parts[instance]
            part.lines_left += 1
            return self._say(part, event)

    def resume_training(self, instance: str) -> None:
        """Let an aggregator that has been held before its first round say the rest."""
        with self._lock:
            part = self._parts[instance]
            for line in part.held:
                self._say(part, line)
            part.held = []

    def leave(self, instance: str) -> None:
        """Let an instance go; what it has not said stays unsaid."""
        with self._lock:
            part = self._parts.pop(instance, None)
            if part is not None:
                farewell = presence_payload(part.identity, online=False)
                self._bus.publish(self._topics.presence(instance), farewell, retain=True)

    def close(self) -> None:
        """Stop."""
        self._closing.set()
        self._thread.join(5)
        self._bus.close()

    def _say(self, part: Part, event: e.Event) -> str:
        part.said, part.lines_left = part.said + 1, part.lines_left - 1
        envelope = Envelope(
            id=str(uuid.uuid4()),
            source=part.identity.source,
            type=event.type,
            subject=part.identity.project_id,
            time=datetime.now(UTC),
            data=event.model_dump(mode="json"),
            sequence=part.said,
        )
        payload = envelope.encode()
        part.unconfirmed[part.said] = payload
        part.sent_at = time.monotonic()
        self._bus.publish(self._topics.project_events(part.identity.project_id), payload)
        return envelope.id

    def _work(self) -> None:
        connection, looked_at = self._bus.connection_count, 0.0
        while not self._closing.is_set():
            delivery = self._confirmations.receive(TICK_S)
            if delivery is not None:
                if delivery.payload:
                    self._confirm(delivery.topic, delivery.payload)
                delivery.acknowledge()
            self._say_due()
            is_reconnected, connection = connection != self._bus.connection_count, self._bus.connection_count
            if is_reconnected or time.monotonic() - looked_at > LOOK_EVERY_S:
                looked_at = time.monotonic()
                self._send_again(is_reconnected=is_reconnected)

    def _confirm(self, topic: str, payload: bytes) -> None:
        try:
            watermarks = decode_watermarks(topic, payload)
        except UndecodableMessageError:
            return
        ended = []
        with self._lock:
            for source, watermark in watermarks.items():
                instance = source.rpartition("/")[2]
                part = self._parts.get(instance)
                if part is None or part.identity.source != source or not part.unconfirmed:
                    continue
                for sequence in [sequence for sequence in part.unconfirmed if sequence <= watermark]:
                    del part.unconfirmed[sequence]
                    part.send_again_after_s = SEND_AGAIN_AFTER_S
                if not part.unconfirmed and not part.lines_left and part.identity.role in {"builder", "aggregator"}:
                    ended.append(instance)
        for instance in ended:
            self.ended(instance)

    def _say_due(self) -> None:
        with self._lock:
            while self._due and self._due[0][0] <= time.monotonic():
                _, _, instance, event = heapq.heappop(self._due)
                if instance in self._parts:
                    self._say(self._parts[instance], event)

    def _send_again(self, *, is_reconnected: bool) -> None:
        with self._lock:
            for part in self._parts.values():
                if is_reconnected:
                    self._bus.publish(self._topics.presence(part.identity.instance), part.presence, retain=True)
                if is_reconnected or time.monotonic() - part.sent_at > part.send_again_after_s:
                    part.sent_at = time.monotonic()
                    doubled = min(2 * part.send_again_after_s, SEND_AGAIN_LAST_S)
                    part.send_again_after_s = SEND_AGAIN_AFTER_S if is_reconnected else doubled
                    for payload in list(part.unconfirmed.values()):
                        self._bus.publish(self._topics.project_events(part.identity.project_id), payload)


def _presence(identity: ServiceIdentity) -> bytes:
    url = f"http://{identity.instance}.invalid" if identity.role in {"tracking", "inference"} else ""
    data_tags = {"chaos": 10} if identity.role == "data" else None
    return presence_payload(identity, online=True, url=url, data_tags=data_tags)


def lines_of(role: str, service: dict[str, Any]) -> Iterator[e.Event]:
    """What an instance has to say."""
    config = service["config"]
    match role:
        case "builder":
            yield from _build(config)
        case "aggregator":
            yield from _training(config)
        case "inference":
            yield e.InferenceReady(url=f"http://{service['instance']}.invalid")
        case _:
            pass


def _build(config: dict[str, Any]) -> Iterator[e.Event]:
    images = sorted(config["images"].values()) if config["purpose"] == "actors" else [config["image"]]
    yield e.BuildStarted(images=images, steps=["clone"])
    yield e.BuildStepStarted(step="clone")
    yield e.BuildStepFinished(step="clone", duration_s=1.0, size_bytes=1000)
    for image in images:
        yield e.ImageBuilt(image=image, size_bytes=1000, duration_s=1.0)
    yield e.BuildFinished(purpose=config["purpose"], images=images, duration_s=2.0)


def _training(config: dict[str, Any]) -> Iterator[e.Event]:
    learners, rounds = config["learners"], config["rounds"]
    for learner in learners:
        yield e.LearnerJoined(learner=learner, node="local", examples=10)
    yield e.TrainingStarted(rounds=rounds, strategy="FedAvg", learners=learners)
    yield e.TrackingAvailable(url="http://tracking.invalid", experiment_id="1", run_id="r")
    for number in range(1, rounds + 1):
        yield e.RoundFinished(
            round=number,
            rounds=rounds,
            accuracy=1 - 1 / (1 + number),
            loss=1 / number,
            duration_s=1.0,
            participants=[e.Participant(learner=learner) for learner in learners],
            is_best=True,
        )
    yield e.ModelLogged(model_uri="models:/m-1", run_id="r", round=rounds, accuracy=1 - 1 / (1 + rounds))
    yield e.TrainingFinished(
        rounds=rounds, best_round=rounds, best_accuracy=1 - 1 / (1 + rounds), duration_s=3.0, model_uri="models:/m-1"
    )
