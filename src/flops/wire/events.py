"""Every event: a fact about one project, named in the past. The class docstring is what the AsyncAPI document says.

Schemas evolve by addition: readers ignore fields they do not know, new fields have defaults.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_TEXT: Final = 16_384
Text = Annotated[str, Field(max_length=MAX_TEXT)]
JsonObject = dict[str, Any]


class Event(BaseModel):
    """The base of all events."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    type: ClassVar[str]


class Failure(Event):
    """The base of events that say that something went wrong: what, where, why and what to do next."""

    reason: Text
    where: Text = ""
    remedy: Text = ""
    details: Text = ""


# --- the manager ---------------------------------------------------------------------------------------------------


class ProjectAccepted(Event):
    """The SLA is valid and the project exists."""

    type = "project.accepted"
    user: str
    sla: JsonObject


class ProjectRejected(Failure):
    """The SLA was refused; ``errors`` lists every fault with its path. Nothing was created."""

    type = "project.rejected"
    errors: list[JsonObject] = []


class PhaseEntered(Event):
    """The project has gone on to its next phase."""

    type = "phase.entered"
    phase: str


class RepositoryResolved(Event):
    """The ML repository was reached; this commit is used for the whole project."""

    type = "repository.resolved"
    url: str
    commit: str


class RepositoryUnavailable(Failure):
    """The ML repository cannot be used."""

    type = "repository.unavailable"
    url: str


class ImagesFound(Event):
    """The registry already has every actor image of this commit, so nothing is built."""

    type = "images.found"
    images: list[str]


class ImagesMissing(Event):
    """At least one actor image of this commit has to be built."""

    type = "images.missing"
    images: list[str]


class PlacementDecided(Event):
    """Which learner nodes hold data with the requested tags, one entry per learner instance."""

    type = "placement.decided"
    nodes: list[str]


class PlacementFailed(Failure):
    """No learner node holds data with the requested tags."""

    type = "placement.failed"


class ServiceDeployed(Event):
    """The orchestrator has taken a service on."""

    type = "service.deployed"
    service: str
    role: str
    app: str
    nodes: list[str] = []


class ServiceDeploymentFailed(Failure):
    """The orchestrator refused a service."""

    type = "service.deployment-failed"
    service: str
    role: str


class ServiceRemoved(Event):
    """A service is no longer deployed."""

    type = "service.removed"
    service: str


class InstanceRestarted(Failure):
    """An instance crashed and was started again."""

    type = "instance.restarted"
    service: str
    role: str
    instance: str
    restarts: int


class InstanceFailed(Failure):
    """An instance crashed and will not be started again."""

    type = "instance.failed"
    service: str
    role: str
    instance: str


class InstanceCompleted(Event):
    """An instance has ended by itself, successfully."""

    type = "instance.completed"
    service: str
    role: str
    instance: str


class CommandFailed(Failure):
    """The manager could not have something done that the project needs."""

    type = "command.failed"
    command: str


class DeadlinePassed(Event):
    """A deadline that was set for a stage has passed."""

    type = "deadline.passed"
    deadline: str
    after_s: float


class CancellationRequested(Event):
    """Somebody asked for the project to be stopped."""

    type = "cancellation.requested"
    by: str = ""


class RetryRequested(Event):
    """Somebody asked for an ended project to go on from a stage, with what it already has."""

    type = "retry.requested"
    stage: str
    by: str = ""


class CommandRetried(Failure):
    """The manager could not have something done and tries again after ``wait_s`` seconds; ``where`` names to what.

    With ``attempts`` 0 it is tried until it succeeds.
    """

    type = "command.retried"
    command: str
    attempt: int
    attempts: int = 0
    wait_s: float


class LeaseEnded(Failure):
    """An instance should run, but has not been online for ``after_s`` seconds; it is started again."""

    type = "lease.ended"
    service: str
    role: str
    instance: str
    after_s: float


class ServiceMissing(Failure):
    """A service that the project needs is not known to the orchestrator any more."""

    type = "service.missing"
    service: str
    role: str


class LeftoverFound(Event):
    """A service of the project runs although nothing needs it any more; it is removed."""

    type = "leftover.found"
    service: str


class ServicesLeft(Event):
    """The project ends although these services could not be removed in time; their removal goes on."""

    type = "services.left"
    services: list[str]
    after_s: float


class ProjectCompleted(Event):
    """Everything that the SLA asks for is done."""

    type = "project.completed"
    best_accuracy: float | None = None
    best_round: int | None = None
    model_uri: str = ""
    inference_url: str = ""


class ProjectFailed(Failure):
    """The project has ended without its result."""

    type = "project.failed"
    stage: str


class ProjectCancelled(Event):
    """The project was stopped on request and nothing of it runs any more, unless ``left`` names what does."""

    type = "project.cancelled"
    by: str = ""
    left: list[str] = []


class EventsMissing(Event):
    """What a source has told as numbers ``first`` to ``last`` did not arrive in time; the project goes on without it.

    If it arrives after all it is taken then.
    """

    type = "events.missing"
    source: str
    first: int
    last: int


# --- any service ---------------------------------------------------------------------------------------------------


class Warned(Event):
    """Something the user should know that does not stop the project."""

    type = "service.warned"
    message: Text
    remedy: Text = ""


class ServiceCrashed(Failure):
    """A service met an error that it did not expect."""

    type = "service.crashed"
    role: str


# --- the builder ---------------------------------------------------------------------------------------------------


class BuildStarted(Event):
    """The builder has begun."""

    type = "build.started"
    images: list[str]
    steps: list[str]


class BuildStepStarted(Event):
    """A build step has begun: the ``number``-th of ``steps`` (0: unknown)."""

    type = "build.step-started"
    step: str
    number: int = 0
    steps: int = 0


class BuildStepFinished(Event):
    """A build step is done."""

    type = "build.step-finished"
    step: str
    duration_s: float
    size_bytes: int | None = None
    detail: Text = ""
    number: int = 0
    steps: int = 0


class ImageBuilt(Event):
    """One image is in the registry."""

    type = "image.built"
    image: str
    size_bytes: int
    duration_s: float


class BuildFinished(Event):
    """All images that were asked for are in the registry."""

    type = "build.finished"
    purpose: Literal["actors", "trained-model"]
    images: list[str]
    duration_s: float


class BuildFailed(Failure):
    """The builder could not make an image; ``where`` names the line or package."""

    type = "build.failed"
    purpose: Literal["actors", "trained-model"]
    step: str


# --- aggregator and learners ---------------------------------------------------------------------------------------


class LearnerJoined(Event):
    """A learner has loaded its data and takes part."""

    type = "learner.joined"
    learner: str
    node: str
    examples: int | None = None


class LearnerLost(Event):
    """A learner is gone; the round goes on without it if enough are left."""

    type = "learner.lost"
    learner: str
    reason: Text


class LearnerFailed(Failure):
    """The ML repository's code raised in a learner; ``details`` holds the traceback."""

    type = "learner.failed"
    learner: str
    call: str = ""


class TrainingStarted(Event):
    """Enough learners are there and the first round begins (or, after a restart, the round after ``resumed_after``)."""

    type = "training.started"
    rounds: int
    strategy: str
    learners: list[str]
    resumed_after: int = 0


class Participant(BaseModel):
    """What one learner contributed to a round."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    learner: str
    train_examples: int = 0
    evaluate_examples: int = 0
    accuracy: float | None = None
    loss: float | None = None
    duration_s: float = 0.0


class RoundFinished(Event):
    """One round of training and evaluation is done. ``accuracy`` and ``loss`` are means weighted by examples."""

    type = "round.finished"
    cycle: int = 1
    round: int
    rounds: int
    accuracy: float | None
    loss: float | None
    duration_s: float
    participants: list[Participant]
    failed_learners: list[str] = []
    is_best: bool


class TrackingAvailable(Event):
    """The tracking server answers; ``url`` shows this project's run."""

    type = "tracking.available"
    url: str
    experiment_id: str
    run_id: str


class ModelLogged(Event):
    """The best model is in the tracking server, in MLflow's own format."""

    type = "model.logged"
    model_uri: str
    run_id: str
    round: int
    accuracy: float | None


class TrainingFinished(Event):
    """All rounds are done and the best model is kept."""

    type = "training.finished"
    rounds: int
    best_round: int
    best_accuracy: float | None
    duration_s: float
    model_uri: str


class TrainingFailed(Failure):
    """The training cannot go on."""

    type = "training.failed"
    round: int = 0


# --- the inference server ------------------------------------------------------------------------------------------


class InferenceReady(Event):
    """The trained model answers at ``url``: ``GET /ping``, ``POST /invocations``."""

    type = "inference.ready"
    url: str


class InferenceFailed(Failure):
    """The trained model cannot be served."""

    type = "inference.failed"


# --- the mock data provider (its "project" is the request that started it) -----------------------------------------


class MockDataProvided(Event):
    """Partitions of a dataset are on the learner nodes."""

    type = "mock-data.provided"
    dataset: str
    data_tag: str
    partitions: dict[str, list[str]]
    examples: int


class MockDataFailed(Failure):
    """The dataset could not be fetched or stored."""

    type = "mock-data.failed"
    dataset: str


def _leaves(kind: type[Event]) -> list[type[Event]]:
    below = [leaf for child in kind.__subclasses__() for leaf in _leaves(child)]
    return ([kind] if "type" in kind.__dict__ else []) + below


EVENT_TYPES: Final[dict[str, type[Event]]] = {kind.type: kind for kind in _leaves(Event)}

MANAGER: Final = "/manager"

TOLD_BY_MANAGER_ALONE: Final = frozenset(
    kind.type
    for kind in (
        ProjectAccepted,
        ProjectRejected,
        PhaseEntered,
        RepositoryResolved,
        RepositoryUnavailable,
        ImagesFound,
        ImagesMissing,
        PlacementDecided,
        PlacementFailed,
        ServiceDeployed,
        ServiceDeploymentFailed,
        ServiceRemoved,
        InstanceRestarted,
        InstanceFailed,
        InstanceCompleted,
        CommandFailed,
        CommandRetried,
        RetryRequested,
        LeaseEnded,
        ServiceMissing,
        LeftoverFound,
        ServicesLeft,
        DeadlinePassed,
        EventsMissing,
        ProjectCompleted,
        ProjectFailed,
        ProjectCancelled,
    )
)
