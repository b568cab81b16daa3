"""One project with the manager's real loop, and actors that play their parts; what happens when, others choose.

Every actor has said all of its lines from the moment it runs: they lie in its outbox. A line reaches the manager when
it is delivered, in any order and as often as one likes; what the manager does not confirm can be delivered again, which
is what losing and sending again comes to.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from tests.doubles.memory_store import MemoryStore
from tests.doubles.outside import FakeOrchestrator, FakeRegistry, FakeRepositories

from flops.adapters.memory_bus import MemoryBroker
from flops.manager.performer import Performer
from flops.manager.placement import Placements
from flops.manager.projects import Projects
from flops.manager.removal import Removal
from flops.project import commands as c
from flops.project.deployment import Role, ServiceSpec
from flops.project.state import Deadlines, Phase, Project
from flops.retries import RetryPolicy
from flops.wire import events as e
from flops.wire.envelope import Envelope
from flops.wire.requests import Presence
from flops.wire.sla import parse_project_sla
from flops.wire.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flops.ports import Bus, PendingItem, Store

ID = "0123456789abcdef01234567"
NODE = "n1"
LAST_WORDS = {"project.completed": "completed", "project.failed": "failed", "project.cancelled": "cancelled"}
SLA = parse_project_sla(
    {
        "customerID": "Ada",
        "ml_repo_url": "https://github.com/ada/digits",
        "ml_model_flavor": "sklearn",
        "training_configuration": {"data_tags": ["digits"], "min_available_clients": 2},
        "post_training_steps": ["build_image_for_trained_model", "deploy_trained_model_image"],
        "deadlines": {"training": 600},
    }
).to_document()


@dataclass
class Actor:
    """An instance with everything that it says."""

    instance: str
    service: str
    role: str
    lines: Sequence[e.Event]
    is_alive: bool = True

    def envelope(self, number: int) -> Envelope:
        event = self.lines[number]
        return Envelope(
            id=f"{self.instance}:{number}",
            source=f"/{self.role}/{self.instance}",
            type=event.type,
            subject=ID,
            time=datetime.now(UTC),
            data=event.model_dump(mode="json"),
            sequence=number + 1,
        )


@dataclass
class Playhouse:
    """``failing`` are the parts that fail in the first attempt: actors, training, model, serving."""

    failing: frozenset[str] = frozenset()
    actors: dict[str, Actor] = field(default_factory=dict)
    served: list[str] = field(default_factory=list)
    happenings: int = 0

    def __post_init__(self) -> None:
        self.store, self.orchestrator = MemoryStore(), FakeOrchestrator()
        self.lanes: dict[str, deque[PendingItem]] = {}
        bus, topics, placements = cast("Bus", MemoryBroker().connect("m")), Topics(), Placements(grace_s=0)
        placements.hear(Presence(instance="d", role="data", online=True, node=NODE, data_tags={"digits": 9}))
        store = cast("Store", self.store)
        self._performer = Performer(
            bus=bus,
            topics=topics,
            store=store,
            orchestrator=self.orchestrator,
            registry=FakeRegistry(),
            repositories=FakeRepositories(),
            placements=placements,
            removal=Removal(bus, topics, self.orchestrator, placements),
            retries=RetryPolicy(),
            now=lambda: 0.0,
        )
        self.projects = Projects(store, Deadlines(), self._queue, owner="m")
        self.projects.begin(ID, e.ProjectAccepted(user="Ada", sla=SLA))

    @property
    def project(self) -> Project:
        return self.store.records[ID].project

    @property
    def ends(self) -> list[str]:
        """How the project has ended, each time."""
        return [LAST_WORDS[told.type] for told in self.store.told if told.type in LAST_WORDS]

    # --- what may happen

    def perform(self, lane: str) -> None:
        """Let the manager do what is next in a lane."""
        self._performer.perform(self.lanes[lane][0], 1, self.projects)
        self.lanes[lane].popleft()
        self._look_around()

    def perform_and_die(self, lane: str) -> None:
        """The same, killed before it is noted that it was done: it is done again."""
        item = self.lanes[lane][0]
        self._performer.perform(item, 1, self.projects)
        self.store.pending_items[item.id] = item
        self._look_around()

    def deliver(self, actor: Actor, number: int) -> None:
        """Let one line of an actor reach the manager."""
        envelope = actor.envelope(number)
        before = self.store.has_event(ID, envelope.id), self.waiting()
        self.projects.received(ID, envelope, envelope.event())
        assert not before[0] or self.waiting() == before[1], "the same event twice yields no second command"

    def crash(self, actor: Actor) -> None:
        """Let an actor crash for good."""
        actor.is_alive = False
        failed = e.InstanceFailed(service=actor.service, role=actor.role, instance=actor.instance, reason="killed")
        self.happen(failed, f"{actor.instance}:crash")

    def happen(self, event: e.Event, event_id: str = "") -> None:
        """Let something happen that the manager tells."""
        self.happenings += 1
        self.projects.happened(ID, event, event_id=event_id or f"happening:{self.happenings}")

    def pass_deadline(self) -> None:
        """Let the deadline pass that was set last."""
        deadline = self.store.deadlines.pop(ID, None)
        if deadline is not None:
            passed = e.DeadlinePassed(deadline=deadline.name, after_s=deadline.after_s)
            phase = deadline.name.partition(":")[0]
            self.happenings += 1
            self.projects.happened(ID, passed, event_id=f"deadline:{self.happenings}", phase=phase)

    # --- the orderly course of things

    def play_out(self) -> None:
        """Let everything that has to happen happen, in order, until nothing is left to do."""
        for _ in range(1000):
            lane = next((name for name, items in self.lanes.items() if items), None)
            actor = next((actor for actor in self.actors.values() if actor.is_alive and self._untold(actor)), None)
            observer = self.project.service_name(Role.OBSERVER)
            if lane is not None:
                self.perform(lane)
            elif actor is not None:
                self.deliver(actor, self._confirmed(actor))
            elif self.project.phase.is_terminal and observer in self.orchestrator.deployed:
                ended = e.InstanceCompleted(service=observer, role=Role.OBSERVER, instance=f"{observer}.0")
                self.happen(ended)
            else:
                return
        message = "it goes on for ever"
        raise AssertionError(message)

    def waiting(self) -> int:
        """How many commands wait."""
        return sum(map(len, self.lanes.values()))

    def _untold(self, actor: Actor) -> bool:
        return self._confirmed(actor) < len(actor.lines)

    def _confirmed(self, actor: Actor) -> int:
        return self.store.records[ID].watermarks.get(f"/{actor.role}/{actor.instance}", 0)

    def _queue(self, items: Sequence[PendingItem]) -> None:
        for item in items:
            if item.command is None:
                self.store.clear(item)
            else:
                self.lanes.setdefault(_kind(item.command), deque()).append(item)

    def _look_around(self) -> None:
        """Actors enter when they are deployed, and are gone when they are removed."""
        for name, spec in self.orchestrator.deployed.items():
            for index in range(len(spec.placements)):
                instance = f"{name}.{index}"
                if instance not in self.actors:
                    lines = () if spec.role in {Role.OBSERVER, Role.TRACKING} else self._lines(spec)
                    self.actors[instance] = Actor(instance, name, spec.role, lines)
        for actor in self.actors.values():
            if actor.service not in self.orchestrator.deployed:
                actor.is_alive = False

    def _lines(self, spec: ServiceSpec) -> Sequence[e.Event]:
        fails = self.failing if self.project.attempt == 0 else frozenset[str]()
        match spec.role, spec.config.get("purpose"):
            case Role.BUILDER, "actors":
                built = e.BuildFinished(purpose="actors", images=[], duration_s=1)
                failed = e.BuildFailed(purpose="actors", step="resolve", reason="no")
                return e.BuildStarted(images=[], steps=[]), failed if "actors" in fails else built
            case Role.BUILDER, _:
                packaged = e.BuildFinished(purpose="trained-model", images=[], duration_s=1)
                failed = e.BuildFailed(purpose="trained-model", step="store", reason="no")
                return e.BuildStarted(images=[], steps=[]), failed if "model" in fails else packaged
            case Role.AGGREGATOR, _:
                begun = e.TrainingStarted(rounds=1, strategy="FedAvg", learners=["a", "b"])
                found = e.TrackingAvailable(url="http://t", experiment_id="1", run_id="1")
                trained = e.TrainingFinished(
                    rounds=1, best_round=1, best_accuracy=0.5, duration_s=1, model_uri="runs:/1/model"
                )
                failed_training = e.TrainingFailed(reason="no")
                return found, begun, failed_training if "training" in fails else trained
            case Role.LEARNER, _:
                return (e.LearnerJoined(learner=spec.name, node=NODE),)
            case _:
                ready = e.InferenceReady(url="http://i")
                return (e.InferenceFailed(reason="no") if "serving" in fails else ready,)

    @property
    def is_over(self) -> bool:
        """Whether the project has ended and nothing is left to do."""
        return self.project.phase.is_terminal and not self.waiting()

    @property
    def left(self) -> set[str]:
        """What is deployed and should not be: a user's tracking server, and a completed project's model, stay."""
        kept = {self.project.service_name(Role.INFERENCE)} if self.project.phase is Phase.COMPLETED else set()
        running = {name for name, spec in self.orchestrator.deployed.items() if spec.role is not Role.TRACKING}
        return running - kept


def _kind(command: c.Command) -> str:
    match command:
        case c.Announce() | c.SetDeadline():
            return "decisions"
        case c.ResolveRepository() | c.FindPlacement() | c.FindImages():
            return "questions"
        case _:
            return "services"
