"""What a swarm says of its nodes and of its tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from flops.adapters.docker_engine.container import LABEL
from flops.settings import CAPABILITIES

if TYPE_CHECKING:
    from collections.abc import Mapping

DEPLOYMENT: Final = "deployment"  # a label
LEARNER: Final = "learner"  # a capability
NODE_NAME: Final = "flops.node"
PARKED: Final = "node.labels.flops.parking==nowhere"  # a constraint that no node fulfils
_CPU_NS: Final = 1_000_000_000
_NOT_YET: Final = frozenset({"new", "allocated", "pending"})
_AT_WORK: Final = frozenset({"assigned", "accepted", "preparing", "ready", "starting", "running"})
_STOPPED: Final = frozenset({"shutdown", "orphaned", "remove"})


@dataclass(frozen=True, slots=True)
class SwarmNode:
    """A machine of the swarm. ``name`` is its label ``flops.node``, or its host name.

    ``is_reached``: it answers the managers, or is still given time to, after another one has become their leader.
    ``is_usable``: new tasks may be given to it.
    """

    id: str
    name: str
    capabilities: frozenset[str]
    address: str
    vcpus: float
    is_reached: bool
    is_usable: bool


@dataclass(frozen=True, slots=True)
class Task:
    """One run of a service; ``deployment`` tells services apart that had the same name one after the other.

    ``is_wanted``: the swarm has it run. ``created`` and ``changed`` (when they last heard of it) are of the managers'
    clock.
    """

    id: str
    instance: str
    deployment: str
    node_id: str
    state: str
    reason: str
    exit_code: int | None
    created: float
    changed: float
    is_parked: bool
    is_wanted: bool

    @property
    def is_running(self) -> bool:
        """Whether its container runs, as far as its node has told."""
        return self.state == "running"

    @property
    def is_at_work(self) -> bool:
        """Whether a node has it and has not said that it ended."""
        return self.state in _AT_WORK

    @property
    def is_waiting(self) -> bool:
        """Whether no node has it yet."""
        return self.state in _NOT_YET

    @property
    def was_stopped(self) -> bool:
        """Whether the swarm has stopped it, or given it up."""
        return self.state in _STOPPED

    @property
    def has_container(self) -> bool:
        """Whether there is, or was, a container of it."""
        return self.exit_code is not None

    @property
    def has_ended(self) -> bool:
        """Whether it has begun and ended by itself."""
        return self.has_container and self.state in ("complete", "failed")

    @property
    def lasted_s(self) -> float:
        """How long the managers have known it."""
        return self.changed - self.created


@dataclass(frozen=True, slots=True)
class Seen:
    """What a swarm looks like at a moment; the tasks of each instance, the oldest first."""

    nodes: Mapping[str, SwarmNode]
    tasks: Mapping[str, tuple[Task, ...]] = field(default_factory=dict)

    def named(self, name: str) -> SwarmNode | None:
        """The node of that name; of several, for instance of one that has joined anew, one that can be used."""
        found = [node for node in self.nodes.values() if node.name == name]
        return max(found, key=lambda node: (node.is_usable, node.is_reached), default=None)

    def is_lost(self, task: Task) -> bool:
        """Whether a task's node does not answer, so that nobody knows how the task is doing."""
        node = self.nodes.get(task.node_id)
        return bool(task.node_id) and (node is None or not node.is_reached)

    def learners(self) -> frozenset[str]:
        """The nodes that hold data and can be used."""
        return frozenset(node.name for node in self.usable() if LEARNER in node.capabilities)

    def usable(self) -> list[SwarmNode]:
        """The nodes that new tasks may be given to, sorted, each name once."""
        by_name = {node.name: node for node in self.nodes.values() if node.is_usable}
        return [by_name[name] for name in sorted(by_name)]


def read_node(found: dict[str, Any]) -> SwarmNode:
    """A node as the swarm describes it."""
    labels = found["Spec"].get("Labels") or {}
    state = found["Status"]["State"]
    return SwarmNode(
        id=found["ID"],
        name=labels.get(NODE_NAME) or found["Description"]["Hostname"],
        capabilities=frozenset(name for name in CAPABILITIES if labels.get(f"flops.{name}") == "true"),
        address=found["Status"].get("Addr", ""),
        vcpus=found["Description"]["Resources"]["NanoCPUs"] / _CPU_NS,
        is_reached=state in ("ready", "unknown"),
        is_usable=state == "ready" and found["Spec"]["Availability"] == "active",
    )


def read_task(found: dict[str, Any]) -> Task:
    """A task as the swarm describes it."""
    status = found["Status"]
    container = status.get("ContainerStatus") or {}
    labels = found["Spec"]["ContainerSpec"]["Labels"]
    constraints = (found["Spec"].get("Placement") or {}).get("Constraints") or []
    return Task(
        id=found["ID"],
        instance=labels[f"{LABEL}instance"],
        deployment=labels[f"{LABEL}{DEPLOYMENT}"],
        node_id=found.get("NodeID", ""),
        state=status["State"],
        reason=str(status.get("Err") or "").strip().rstrip("."),
        exit_code=container.get("ExitCode") if container.get("ContainerID") else None,
        created=seconds(found["CreatedAt"]),
        changed=seconds(found["UpdatedAt"]),
        is_parked=PARKED in constraints,
        is_wanted=found["DesiredState"] not in _STOPPED,
    )


def read_all(nodes: list[dict[str, Any]], tasks: list[dict[str, Any]]) -> Seen:
    """Nodes and tasks as the swarm describes them."""
    by_instance: dict[str, list[Task]] = {}
    for task in sorted(map(read_task, tasks), key=lambda task: task.created):
        by_instance.setdefault(task.instance, []).append(task)
    read = map(read_node, nodes)
    return Seen({node.id: node for node in read}, {name: tuple(found) for name, found in by_instance.items()})


def seconds(told: str) -> float:
    """A time as the swarm writes it (RFC 3339, UTC, with or without a fraction), in seconds since the epoch."""
    whole, _, fraction = told.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction or 0}")
