"""What the manager is told to have done, as data. Doing a command twice does nothing twice."""

from __future__ import annotations

from dataclasses import dataclass

from flops.project.deployment import App, ServiceSpec  # noqa: TC001  pydantic reads the annotations at run time
from flops.wire.events import Event  # noqa: TC001


@dataclass(frozen=True, slots=True)
class CreateApp:
    """Have the app exist."""

    app: App


@dataclass(frozen=True, slots=True)
class DeleteApp:
    """Have the app and all its services gone."""

    app: App


@dataclass(frozen=True, slots=True)
class Deploy:
    """Have the service run. Ends in ServiceDeployed or ServiceDeploymentFailed."""

    spec: ServiceSpec


@dataclass(frozen=True, slots=True)
class Redeploy:
    """Have the service run anew, whatever has become of it. Ends as Deploy does."""

    spec: ServiceSpec


@dataclass(frozen=True, slots=True)
class Undeploy:
    """Have the service gone. Ends in ServiceRemoved."""

    service: str


@dataclass(frozen=True, slots=True)
class Restart:
    """Have an instance that hangs killed, and started again as often as a crashed one is."""

    instance: str


@dataclass(frozen=True, slots=True)
class ResolveRepository:
    """Find the commit to use. Ends in RepositoryResolved or RepositoryUnavailable."""

    url: str
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class FindPlacement:
    """Choose a node with data for every learner. Ends in PlacementDecided or PlacementFailed."""

    data_tags: tuple[str, ...]
    learners: int
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class FindImages:
    """Ask the registry. Ends in ImagesFound or ImagesMissing."""

    images: tuple[str, ...]
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class SetDeadline:
    """Have DeadlinePassed happen after a while. Setting another deadline replaces it."""

    name: str
    after_s: float


@dataclass(frozen=True, slots=True)
class Announce:
    """Let everybody know of an event that the workflow itself decided."""

    event: Event


Question = ResolveRepository | FindPlacement | FindImages
Command = CreateApp | DeleteApp | Deploy | Redeploy | Undeploy | Restart | Question | SetDeadline | Announce
