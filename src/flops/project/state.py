"""What is known of a project: a value that only the workflow makes anew."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

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


STAGES: Final = (Phase.CHECKING, Phase.BUILDING, Phase.TRAINING, Phase.PACKAGING, Phase.SERVING)
"""From these an ended project can go on; the actors are deployed as a part of the training."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long each phase may take, in seconds; 0 means for ever."""

    checking_s: float = 300.0
    building_s: float = 3600.0
    deploying_s: float = 300.0
    training_s: float = 0.0
    packaging_s: float = 3600.0
    serving_s: float = 300.0
    stopping_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Project:
    """One request and all that belongs to it.

    ``deployed`` names the services that may run and have to be removed in the end; ``outcome`` is the terminal phase
    that a stopping project is on its way to, ``failed_stage`` the phase in which it failed or was cancelled, and
    ``is_over`` whether its last word is said; ``crashes`` holds, per role, what its last crash said, and ``obstacle``
    what is being tried again. ``attempt`` counts the retries; ``former_aggregators`` have the checkpoints to go on
    from, the latest first.
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
    obstacle: str = ""
    is_over: bool = False
    attempt: int = 0
    former_aggregators: tuple[str, ...] = ()

    @property
    def app(self) -> App:
        """The project's own app."""
        return App(self.user, f"proj{self.id[:_SUFFIX_LENGTH]}")

    @property
    def observatory(self) -> App:
        """The app that the user's projects share."""
        return App(self.user, OBSERVATORY)

    def service_name(self, role: Role, *, purpose: str = "", attempt: int | None = None) -> str:
        """The name of the project's service in a role; ``purpose`` tells a second one of the same role apart.

        Each retry gives its services names of their own, so that none is taken for an earlier one. The observer alone
        stays what it is: it goes on with its inbox.
        """
        number = self.attempt if attempt is None else attempt
        suffix = f"r{number}" if number and role is not Role.OBSERVER else ""
        return NAME_PREFIX[role] + (self.id[-_SUFFIX_LENGTH:] if purpose else self.id[:_SUFFIX_LENGTH]) + suffix

    @property
    def service_names(self) -> tuple[str, ...]:
        """The names of all services that the project may ever have had."""
        roles = (Role.BUILDER, Role.AGGREGATOR, Role.LEARNER, Role.INFERENCE)
        names = [self.service_name(Role.OBSERVER)]
        for attempt in range(self.attempt + 1):
            names += [self.service_name(role, attempt=attempt) for role in roles]
            names.append(self.service_name(Role.BUILDER, purpose="trained-model", attempt=attempt))
        return tuple(names)

    @property
    def instance_names(self) -> list[str]:
        """The ids of all instances that the project may ever have had."""
        learners = {self.service_name(Role.LEARNER, attempt=attempt) for attempt in range(self.attempt + 1)}
        numbers = {name: len(self.nodes) if name in learners else 1 for name in self.service_names}
        return [f"{name}.{index}" for name, number in numbers.items() for index in range(number)]

    def is_outdated(self, source: str) -> bool:
        """Whether a source of events is a service that was deployed for an attempt before the current one."""
        service = source.rpartition("/")[2].rpartition(".")[0]
        earlier = replace(self, attempt=self.attempt - 1) if self.attempt else None
        return earlier is not None and service in set(earlier.service_names) - {self.service_name(Role.OBSERVER)}

    def limit_s(self, phase: Phase) -> float:
        """How long a phase may take, as the SLA says or else the installation; 0 means for ever."""
        asked = float((self.sla.get("deadlines") or {}).get(phase) or 0.0)
        return asked or float(getattr(self.deadlines, f"{phase}_s", 0.0))

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
