"""What is known of a project: a value that only the workflow makes anew."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from flops.project.deployment import NAME_PREFIX, App, Resources, Role

OBSERVATORY = "observatory"
_SUFFIX_LENGTH = 12


class Phase(StrEnum):
    """Where a project is. The last three are terminal."""

    REQUESTED = "requested"
    CHECKING = "checking"
    BUILDING = "building"
    DEPLOYING = "deploying"
    TRAINING = "training"
    PACKAGING = "packaging"
    SERVING = "serving"
    STOPPING = "stopping"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Nothing happens any more."""
        return self in {Phase.COMPLETED, Phase.FAILED, Phase.CANCELLED}


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long each part may take, in seconds."""

    checking_s: float = 300.0
    building_s: float = 3600.0
    deploying_s: float = 300.0
    serving_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Project:
    """One request and all that belongs to it.

    ``deployed`` names the services that may run and have to be removed in the end; ``outcome`` is the terminal phase
    that a stopping project is on its way to; ``crashes`` holds, per role, what its last crash said.
    """

    id: str
    phase: Phase = Phase.REQUESTED
    user: str = ""
    sla: dict[str, Any] = field(default_factory=dict)
    deadlines: Deadlines = Deadlines()
    commit: str = ""
    nodes: tuple[str, ...] = ()
    deployed: tuple[str, ...] = ()
    failed_learners: tuple[str, ...] = ()
    model_uri: str = ""
    tracking_url: str = ""
    best_accuracy: float | None = None
    best_round: int | None = None
    inference_url: str = ""
    outcome: Phase | None = None
    failed_stage: str = ""
    reason: str = ""
    remedy: str = ""
    crashes: dict[str, str] = field(default_factory=dict)
    cancelled_by: str = ""

    @property
    def app(self) -> App:
        """The project's own app."""
        return App(self.user, f"proj{self.id[:_SUFFIX_LENGTH]}")

    @property
    def observatory(self) -> App:
        """The app that the user's projects share."""
        return App(self.user, OBSERVATORY)

    def service_name(self, role: Role, *, purpose: str = "") -> str:
        """The name of the project's service in a role; ``purpose`` tells a second one of the same role apart."""
        return NAME_PREFIX[role] + (self.id[-_SUFFIX_LENGTH:] if purpose else self.id[:_SUFFIX_LENGTH])

    @property
    def service_names(self) -> tuple[str, ...]:
        """The names of all services that the project may ever have had."""
        roles = (Role.OBSERVER, Role.BUILDER, Role.AGGREGATOR, Role.LEARNER, Role.INFERENCE)
        names = tuple(self.service_name(role) for role in roles)
        return (*names, self.service_name(Role.BUILDER, purpose="trained-model"))

    @property
    def learners(self) -> tuple[str, ...]:
        """The instance ids of the learners."""
        name = self.service_name(Role.LEARNER)
        return tuple(f"{name}.{index}" for index in range(len(self.nodes)))

    @property
    def ml_repo_url(self) -> str:
        """The ML repository as the SLA names it."""
        return str(self.sla["ml_repo_url"])

    @property
    def post_training_steps(self) -> frozenset[str]:
        """What the SLA asks for after the training."""
        return frozenset(self.sla.get("post_training_steps", ()))

    @property
    def resources(self) -> Resources:
        """The bounds that the SLA sets for each service of the project."""
        bounds = self.sla.get("resource_constraints") or {}
        return Resources(
            memory_mb=int(bounds.get("memory") or 0),
            vcpus=float(bounds.get("vcpus") or 0),
            storage_mb=int(bounds.get("storage") or 0),
        )


def tracking_service_name(user: str) -> str:
    """The name of a user's one tracking service: FNV-1a over the user's name, since names must be short and plain."""
    digest = 0xCBF29CE484222325
    for byte in user.encode():
        digest = ((digest ^ byte) * 0x100000001B3) % 2**64
    return f"{NAME_PREFIX[Role.TRACKING]}{digest:016x}"[: len(NAME_PREFIX[Role.TRACKING]) + _SUFFIX_LENGTH]
