"""What is deployed: apps, services and their instances, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Role(StrEnum):
    """What a service does."""

    OBSERVER = "observer"
    BUILDER = "builder"
    AGGREGATOR = "aggregator"
    LEARNER = "learner"
    TRACKING = "tracking"
    INFERENCE = "inference"
    MOCK_DATA = "mock-data"
    DATA = "data"


NAME_PREFIX = {
    Role.OBSERVER: "observ",
    Role.BUILDER: "builder",
    Role.AGGREGATOR: "aggr",
    Role.LEARNER: "flearner",
    Role.TRACKING: "tracking",
    Role.INFERENCE: "trmodel",
    Role.MOCK_DATA: "mockdata",
}


class InstanceState(StrEnum):
    """SCHEDULED → RUNNING → COMPLETED | FAILED; REMOVED on request from any of them."""

    SCHEDULED = "SCHEDULED"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    REMOVED = "REMOVED"


@dataclass(frozen=True, slots=True)
class App:
    """A group of services of one user. ``(user, name)`` identifies it."""

    user: str
    name: str


@dataclass(frozen=True, slots=True)
class Resources:
    """Upper bounds for one instance; 0 means no bound."""

    memory_mb: int = 0
    vcpus: float = 0
    storage_mb: int = 0


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one instance runs, and what only this instance is told. An empty node lets the orchestrator choose."""

    node: str = ""
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """A service to be deployed. ``name`` identifies it: deploying the same name twice deploys it once.

    Instance ``i`` is called ``<name>.<i>``. ``config`` is JSON, holds no secret, and reaches every instance.
    ``image`` is empty for the services that are part of FLOps itself.
    """

    name: str
    app: App
    role: Role
    config: dict[str, Any] = field(default_factory=dict)
    image: str = ""
    placements: tuple[Placement, ...] = (Placement(),)
    resources: Resources = Resources()
    max_restarts: int = 3
    project_id: str = ""

    def description(self, index: int, node: str) -> dict[str, Any]:
        """What the instance with this index is told of itself on a node: a JSON object."""
        return {
            "service": self.name,
            "instance": f"{self.name}.{index}",
            "role": str(self.role),
            "app": self.app.name,
            "user": self.app.user,
            "node": node,
            "project_id": self.project_id,
            "image": self.image,
            "config": {**self.config, **self.placements[index].config},
        }


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance as the orchestrator sees it. ``reason`` says why it failed."""

    id: str
    node: str
    state: InstanceState
    restarts: int = 0
    reason: str = ""
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """A deployed service and its instances."""

    name: str
    app: App
    role: Role
    project_id: str
    instances: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """A machine, or a named part of one, that runs instances."""

    name: str
    capabilities: frozenset[str]
