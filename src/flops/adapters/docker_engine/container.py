"""What a container is made from, and what the engine says of one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from flops.project.deployment import Resources

if TYPE_CHECKING:
    from collections.abc import Mapping

BUILD_DIRECTORY: Final = "/build/flops"  # the volume that all builders share
HOME: Final = "/flops"  # where the instance's volume is, and what FLOPS_HOME says in a container
USER_ID: Final = 10001
SERVICE_GRACE_S: Final = 5
LABEL: Final = "fl.flops."
NEVER: Final = ""
_NEVER_BEGAN: Final = "0001-01-01"
_GOING: Final = frozenset({"removing", "dead"})


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """One instance of a service as a container. It holds no secret; ``command`` is empty for the image's own.

    ``port`` is where others call it (0: nobody does), the same in the container and on the host. ``data_nodes`` are the
    nodes whose data it may use. ``image_may_change``: its tag may have got another content meanwhile.
    """

    instance: str
    service: str
    node: str
    image: str
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    description: str = "{}"
    labels: Mapping[str, str] = field(default_factory=dict)
    limits: Resources = field(default_factory=Resources)
    max_restarts: int = 0
    port: int = 0
    data_nodes: tuple[str, ...] = ()
    is_builder: bool = False
    image_may_change: bool = False

    @property
    def directory(self) -> str:
        """The instance's own directory in the container."""
        return f"{HOME}/services/{self.instance}"

    def to_json(self) -> dict[str, Any]:
        """The specification as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> ContainerSpec:
        """What ``to_json`` made."""
        tuples = {name: tuple(document.get(name, ())) for name in ("command", "data_nodes")}
        return cls(**{**document, **tuples, "limits": Resources(**document["limits"])})

    def all_labels(self) -> dict[str, str]:
        """The labels of the container, a digest of the specification among them."""
        digest = hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:16]
        own = {**self.labels, "service": self.service, "instance": self.instance, "node": self.node, "spec": digest}
        return {f"{LABEL}{name}": value for name, value in own.items()}


@dataclass(frozen=True, slots=True)
class Container:
    """A container as the engine sees it.

    ``run`` tells its runs apart: when the last one began, or ``NEVER``. One that ``is_going`` is being removed, or was
    to be and could not: it never starts again.
    """

    id: str
    run: str
    is_running: bool
    exit_code: int
    is_out_of_memory: bool
    ended: str
    is_going: bool = False


@dataclass(frozen=True, slots=True)
class ContainerEvent:
    """Something that happened to a container: what the engine calls ``start``, ``kill``, ``die``, ``destroy``."""

    action: str
    container_id: str
    instance: str
    signal: str


def read_container(found: dict[str, Any]) -> Container:
    """A container as the engine describes it."""
    state = found["State"]
    began = str(state["StartedAt"])
    return Container(
        id=found["Id"],
        run=NEVER if began.startswith(_NEVER_BEGAN) else began,
        is_running=bool(state["Running"]),
        exit_code=int(state["ExitCode"]),
        is_out_of_memory=bool(state["OOMKilled"]),
        ended=str(state["FinishedAt"]),
        is_going=state["Status"] in _GOING,
    )


def read_event(told: dict[str, Any]) -> ContainerEvent:
    """An event as the engine tells it."""
    attributes = told["Actor"]["Attributes"]
    return ContainerEvent(
        action=told["Action"],
        container_id=told["Actor"]["ID"],
        instance=attributes.get(f"{LABEL}instance", ""),
        signal=attributes.get("signal", ""),
    )
