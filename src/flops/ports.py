"""What the roles need from the outside world. Adapters fulfil it; their contract suites are in tests/contracts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import pyarrow as pa

    from flops.project.commands import Command
    from flops.project.deployment import App, Instance, Node, Service, ServiceSpec
    from flops.project.state import Project
    from flops.wire.envelope import Envelope
    from flops.wire.requests import ProjectStatus

MAX_DEAD_LETTERS: Final = 5_000
DEAD_LETTERS_AGE_S: Final = 30 * 24 * 3600.0


# --- Bus -------------------------------------------------------------------------------------------------------------


class Delivery(Protocol):
    """One received message. Until it is acknowledged the broker delivers it again to a persistent session.

    Then ``redelivered`` is true and ``number`` is the same as before, as far as the broker's session was not lost.
    """

    topic: str
    payload: bytes
    retained: bool
    redelivered: bool
    number: int
    response_topic: str
    correlation_data: bytes

    def acknowledge(self) -> None:
        """Tell the broker that what follows from the message is durable. Idempotent, any thread."""


class Subscription(Protocol):
    """A queue of the messages that match its filters, in the order of arrival."""

    def receive(self, timeout_s: float | None = None) -> Delivery | None:
        """The next message, or None when none came in time or the bus was closed. Blocks; any thread."""

    def close(self) -> None:
        """Unsubscribe. Waiting receivers get None."""


class Bus(Protocol):
    """At-least-once publish and subscribe. Reconnects by itself, and subscribes again when it does."""

    @property
    def connection_count(self) -> int:
        """How many times a connection was established; a change means that messages may have been missed."""

    @property
    def is_connected(self) -> bool:
        """Whether the broker can be heard right now."""

    def subscribe(self, *filters: str) -> Subscription:
        """Subscribe at QoS 1; returns when the broker has granted it (or, while disconnected, at once).

        Raises:
            AccessDeniedError: the broker refuses one of the filters.
            BrokerUnreachableError: the bus is closed, or the broker does not answer.
        """

    @property
    def max_payload_bytes(self) -> int:
        """The largest payload that may be published."""

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        response_topic: str = "",
        correlation_data: bytes = b"",
    ) -> None:
        """Send at QoS 1, in order, without waiting for the broker; kept in memory while disconnected.

        What waits for the broker's acknowledgement is bounded. At the bound a publisher waits while connected.
        A retained message on the topic of the last will is published again after every reconnect, since the will
        has overwritten it. ``response_topic`` and ``correlation_data`` travel only where MQTT 5 is spoken.

        Raises:
            PayloadTooLargeError: nothing was sent.
            BrokerUnreachableError: closed, or the bound is reached while disconnected; nothing was sent.
        """

    def flush(self, timeout_s: float) -> bool:
        """Wait until the broker has acknowledged everything published so far; False if it has not in time."""

    def close(self, farewell: tuple[str, bytes] | None = None) -> None:
        """Publish ``farewell`` (retained) if given, and disconnect so that the last will is not sent."""


# --- the producer's outbox --------------------------------------------------------------------------------------------


class Outbox(Protocol):
    """The events of one source that the manager has not confirmed yet, durable in the service's own directory."""

    @property
    def generation(self) -> str:
        """Made anew with every new outbox, and part of the source: whoever has lost its outbox is another source."""

    def append(self, project_id: str, encode: Callable[[int], bytes]) -> tuple[int, bytes]:
        """Number the next event (from 1, without gaps), store ``encode(sequence)``; both are returned."""

    def unconfirmed(self, project_id: str, limit: int) -> list[tuple[int, bytes]]:
        """The first of what was not confirmed yet, by ascending sequence."""

    def confirm(self, project_id: str, sequence: int) -> None:
        """Forget everything up to ``sequence``. Idempotent; the numbering goes on.

        A number that was never given out confirms nothing.
        """

    def close(self) -> None:
        """Release the file."""


# --- Store -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ProjectRecord:
    """A project as the store keeps it.

    ``revision`` counts the writes (0: not stored yet), ``own_sequence`` the manager's own events, ``watermarks`` holds
    per source the last sequence number up to which everything is durable, ``owner`` is the id of the manager that
    takes care of the project.
    """

    project: Project
    status: ProjectStatus
    revision: int = 0
    own_sequence: int = 0
    watermarks: Mapping[str, int] = field(default_factory=dict)
    owner: str = ""


Place = tuple[str, str]
"""When a project was made, as in its status, and its id: projects are listed by it, the greatest first."""


@dataclass(frozen=True, slots=True)
class PendingItem:
    """Something that a saved step wants done: a command to perform, or an event to publish."""

    id: str
    project_id: str
    command: Command | None = None
    envelope: Envelope | None = None


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point in time (seconds since the epoch) at which a project wants to be told that it has passed."""

    project_id: str
    name: str
    due: float
    after_s: float


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that could not be understood, and why; ``time`` is in seconds since the epoch."""

    number: int
    topic: str
    payload: bytes
    reason: str
    time: float


class Store(Protocol):
    """The managers' memory. Several managers may share it, each with a Store of its own.

    Any call raises StoreUnavailableError when it cannot read or write. It then has done all of its work or nothing,
    and may be repeated: what was written is not lost, and what is written again is there once.
    """

    def load(self, project_id: str) -> ProjectRecord | None:
        """A project, or None if there is none."""

    def save(
        self,
        record: ProjectRecord,
        *,
        events: Sequence[Envelope] = (),
        entries: Sequence[Envelope] = (),
        pending: Sequence[PendingItem] = (),
    ) -> ProjectRecord:
        """Write everything or nothing: the project, its new events and inbox entries, and what is to be done.

        Returns the record with its new revision.

        Raises:
            StaleVersionError: ``record.revision`` is not the stored one; also where the same save was done before, and
                only its answer was lost.
            RecordTooLargeError: no store can hold that much of one project.
        """

    def together(self) -> AbstractContextManager[None]:
        """Let all that this thread writes within become durable at the end, at the latest.

        It may do so as a whole or not at all, or each by itself; either way the thread reads what it has written.

        Raises:
            StoreUnavailableError: at the end, where nothing of it was stored.
        """

    def has_event(self, project_id: str, event_id: str) -> bool:
        """Whether an event was saved before."""

    def pending(self, owner: str) -> list[PendingItem]:
        """What is still to be done for the projects of a manager, each project's in the order in which it was saved."""

    def clear(self, item: PendingItem) -> None:
        """Forget a pending item. Idempotent."""

    def projects(self, user: str = "", *, before: Place | None = None, limit: int = 0) -> list[ProjectRecord]:
        """All projects, or those of one user, newest first.

        ``before`` leaves out those up to a place in that order, and a ``limit`` those after so many.
        """

    def live(self, owner: str) -> list[ProjectRecord]:
        """The projects of a manager that have not ended."""

    def events(self, project_id: str, *, after: int, limit: int) -> list[tuple[int, Envelope]]:
        """Saved events with their positions (from 1, without gaps), after a position."""

    def entries(self, project_id: str, *, after: int, limit: int) -> list[Envelope]:
        """Saved inbox entries after a sequence number."""

    def set_deadline(self, deadline: Deadline) -> None:
        """Remember a deadline; it replaces the project's other ones."""

    def take_due(self, owner: str, now: float) -> list[Deadline]:
        """The deadlines that have passed, of the projects of a manager; they stay until ``drop_deadline``."""

    def drop_deadline(self, deadline: Deadline) -> None:
        """Forget a deadline. Idempotent."""

    def adopt(self, former: str, owner: str) -> list[str]:
        """Give all projects of one manager ("" for nobody) to another; returns their ids.

        The revision of each changes, so that what the former owner still saves is stale.
        """

    def beat(self, manager: str) -> None:
        """Count one sign of life of a manager."""

    def beats(self) -> dict[str, int]:
        """The signs of life of each manager. Whose number stands still for long is gone; no clocks are compared."""

    def retire(self, manager: str) -> None:
        """Forget a manager's signs of life. Idempotent."""

    def take_office(self, office: str, manager: str, former: str) -> bool:
        """Give an office to a manager if ``former`` ("" for nobody) holds it; whether the manager holds it now.

        Of several managers that try at the same time, one succeeds.
        """

    def holder(self, office: str) -> str:
        """The manager that holds an office; empty where nobody does."""

    def remember(self, key: str, value: str) -> None:
        """Keep a small fact over restarts."""

    def recall(self, key: str) -> str:
        """The fact, or an empty string."""

    def keep_dead_letter(self, topic: str, payload: bytes, reason: str, time: float) -> None:
        """Keep what could not be decoded: the newest ``MAX_DEAD_LETTERS``, none older than ``DEAD_LETTERS_AGE_S``."""

    def dead_letters(self, after: int, limit: int) -> list[DeadLetter]:
        """What was put aside, after a number, by ascending numbers."""

    def drop_dead_letters(self, numbers: Sequence[int] | None) -> int:
        """Forget some of them, or with None all; returns how many there were. Idempotent."""

    def ended_before(self, time: str, limit: int) -> list[str]:
        """Ended projects that were last heard of before a time (ISO 8601, UTC), and whose history is still there."""

    def forget_history(self, project_id: str) -> None:
        """Forget a project's events and inbox entries; the project and the numbering of both go on. Idempotent."""

    def compact(self) -> None:
        """Give unused space back where that is worth it, and remove what an interrupted call has left."""

    def delete(self, project_id: str) -> None:
        """Forget a project with everything of it. Idempotent."""

    def close(self) -> None:
        """Release the store."""


# --- Orchestrator -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InstanceChange:
    """An instance has changed its state or was restarted. ``cursor`` orders all changes."""

    cursor: int
    service: Service
    instance: Instance
    log_tail: str = ""


class Orchestrator(Protocol):
    """Runs services. Every call is idempotent; each raises OrchestratorUnavailableError when nothing answers."""

    def nodes(self) -> list[Node]:
        """The nodes and what they can do."""

    def create_app(self, app: App) -> None:
        """Create an app unless it exists."""

    def delete_app(self, app: App) -> None:
        """Remove an app with all its services and the files of their instances; their logs stay."""

    def deploy(self, spec: ServiceSpec) -> None:
        """Take a service on; returns once it is recorded durably, not once it runs.

        Raises:
            DeploymentRefusedError: no such app or node, or the image cannot run here.
        """

    def undeploy(self, service_name: str) -> None:
        """Stop all instances with all their children (politely, then by force) and forget the service.

        Returns when nothing of it runs any more.
        """

    def restart(self, instance_id: str) -> None:
        """Kill an instance that hangs: it is started again, or fails, as if it had crashed. Others go on."""

    def forget(self, service_name: str) -> None:
        """Undeploy a service and remove all that it has left behind, its logs included."""

    def apps(self) -> list[App]:
        """All apps."""

    def services(self, app: App | None = None, *, project_id: str = "") -> list[Service]:
        """All services, or those of one app or of one project, with their instances."""

    def logs(self, name: str, *, tail_lines: int) -> str:
        """The end of the output of an instance, or of a service's first instance, also after its removal.

        Raises:
            NotFoundError: nothing of that name ever ran.
        """

    def changes(self, after: int, timeout_s: float) -> list[InstanceChange]:
        """The changes after cursor ``after``; waits up to ``timeout_s`` for the first. The last one is always kept."""


# --- ML repositories and images --------------------------------------------------------------------------------------


class Repositories(Protocol):
    """Where ML repositories come from."""

    def resolve(self, url: str) -> str:
        """The full commit hash that ``url`` (optionally ``url@ref``) stands for now.

        Raises:
            RepositoryUnavailableError: with the reason and what to try.
        """

    def clone(self, url: str, commit: str, into: Path) -> None:
        """Check the commit out into an empty directory.

        Raises:
            RepositoryUnavailableError: with the reason and what to try.
        """


class Registry(Protocol):
    """Images by reference ``<owner>/<repository>/<actor>:<tag>``."""

    def exists(self, image: str) -> bool:
        """Whether the image is complete and can be run.

        Raises:
            RegistryUnavailableError: the registry cannot be asked.
        """

    def delete(self, image: str) -> None:
        """Remove the image. Idempotent."""

    def images(self) -> list[str]:
        """Every image, sorted."""


@dataclass(frozen=True, slots=True)
class BuildStep:
    """Progress of a build: begun when ``duration_s`` is None, else done."""

    name: str
    duration_s: float | None = None
    size_bytes: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image that is now in the registry."""

    image: str
    size_bytes: int
    duration_s: float


@dataclass(frozen=True, slots=True)
class ActorImages:
    """What to build for one ML repository at one commit: ``images`` maps actor (learner, aggregator) to reference."""

    url: str
    commit: str
    flavor: str
    images: Mapping[str, str]


class ImageBuilder(Protocol):
    """Makes images. ``report`` hears every step; ``warn`` every ``(message, remedy)`` for the user."""

    @property
    def actor_steps(self) -> Sequence[str]:
        """The steps of ``build_actors``, in their order."""

    @property
    def model_steps(self) -> Sequence[str]:
        """The steps of ``build_trained_model``, in their order."""

    def build_actors(
        self, order: ActorImages, report: Callable[[BuildStep], None], warn: Callable[[str, str], None]
    ) -> list[BuiltImage]:
        """Clone, check, resolve, install, store.

        Raises:
            BuildFailedError: names the step, the line or package, and what to try. Nothing half made is left.
        """

    def build_trained_model(
        self, image: str, base_image: str, model: Path, report: Callable[[BuildStep], None]
    ) -> BuiltImage:
        """Make an image that serves the MLflow model in directory ``model`` with the environment of ``base_image``.

        Raises:
            BuildFailedError: as above.
        """


# --- data plane -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StoredPartition:
    """One named partition under a tag on a node."""

    tag: str
    name: str
    examples: int
    size_bytes: int


class TrainingData(Protocol):
    """The training data of one node; it never leaves the node."""

    def put(self, tag: str, name: str, table: pa.Table) -> StoredPartition:
        """Store a partition atomically, replacing one of the same name.

        Raises:
            InvalidDataError: tag or name is refused, or the table is empty.
            DataUnavailableError: the node's data server does not answer.
        """

    def partitions(self, tags: Iterable[str] | None = None) -> list[StoredPartition]:
        """What is there under any of the tags (or at all), sorted by tag and name."""

    def fetch(self, tags: Sequence[str], *, share: int, shares: int) -> pa.Table:
        """The ``share``-th of ``shares`` disjoint parts that together are all data under the tags.

        Raises:
            DataUnavailableError: nothing is there, or the parts have different schemas.
        """

    def delete(self, tag: str, name: str | None = None) -> int:
        """Remove one partition or a whole tag; returns how many. Idempotent."""


# --- Tracking ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """A run of a project in the tracking server. ``url`` is for a browser."""

    experiment_id: str
    run_id: str
    url: str


class Tracking(Protocol):
    """Experiments, runs and models. Each call raises TrackingUnavailableError when the server does not answer."""

    def start_run(self, project_id: str, parameters: Mapping[str, str]) -> TrackedRun:
        """Create the project's experiment and its one run, or find them again. Idempotent."""

    def log_round(self, run: TrackedRun, round_number: int, metrics: Mapping[str, float]) -> None:
        """Log metrics with step = round. Logging the same round again changes nothing that matters."""

    def log_model(self, run: TrackedRun, model: Path, *, round_number: int) -> str:
        """Store a directory in MLflow's model format; returns the URI that ``mlflow.<flavor>.load_model`` takes."""

    def finish_run(self, run: TrackedRun, *, succeeded: bool) -> None:
        """Close the run."""

    def download_model(self, model_uri: str, into: Path) -> Path:
        """Fetch a model directory that ``log_model`` stored."""


# --- the ML repository's code ----------------------------------------------------------------------------------------


class Model(Protocol):
    """The ML repository's model, running in its own environment. Any call raises ModelCodeError if its code raises.

    Parameters are lists of arrays, as ``get_model_parameters`` of the repository gives them.
    """

    def start(self) -> None:
        """Begin to start the process without waiting for it; every other call does so too. Idempotent."""

    def load_data(self) -> dict[str, Any]:
        """Let the model load its training data, once; returns the shape and dtype of one input."""

    def get_parameters(self) -> list[Any]:
        """The model's parameters."""

    def fit(self, parameters: list[Any]) -> tuple[list[Any], int]:
        """Set the parameters and train; returns new parameters and the number of training examples."""

    def evaluate(self, parameters: list[Any]) -> tuple[float, float, int]:
        """Set the parameters and evaluate; returns loss, accuracy, number of evaluation examples."""

    def prepare_export(self) -> None:
        """Import what ``export`` needs, which takes seconds, while there is nothing else to do."""

    def export(self, parameters: list[Any], into: Path, example: dict[str, Any]) -> list[str]:
        """Set the parameters and save the model in MLflow's format, with its environment and signature.

        Returns what a user should know of the saved model, one sentence each.
        """

    def close(self) -> None:
        """End the process and all its children."""
