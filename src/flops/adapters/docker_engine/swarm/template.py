"""What a service of a swarm is made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from docker.types import (
    ContainerSpec as SwarmContainer,
)
from docker.types import (
    Mount,
    NetworkAttachmentConfig,
    Placement,
    SecretReference,
    ServiceMode,
    TaskTemplate,
    UpdateConfig,
)

from flops.adapters.docker_engine.container import BUILD_DIRECTORY, HOME, SERVICE_GRACE_S, USER_ID
from flops.adapters.docker_engine.swarm.members import PARKED
from flops.project.deployment import Role

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flops.adapters.docker_engine.container import ContainerSpec
    from flops.adapters.docker_engine.swarm.members import SwarmNode

FILES: Final = "/run/secrets"  # where the files of an instance are
MAX_PROCESSES: Final = 512
_MIB: Final = 1024 * 1024
_LEAST_MEMORY_MB: Final = 6  # an engine refuses less
_SECOND_NS: Final = 1_000_000_000
_CPU_NS: Final = 1_000_000_000
_LEAST_CPU_NS: Final = 10_000_000
_READ_ONLY: Final = 0o400
# Whether a run may begin is decided before: a swarm shall neither wait in between nor go back.
UPDATES: Final = UpdateConfig(parallelism=0, monitor=_SECOND_NS // 2, failure_action="continue", order="stop-first")


@dataclass(frozen=True, slots=True)
class Belonging:
    """What ties a run to its installation: the name of its volume, the network, the labels."""

    volume: str
    network: str
    labels: Mapping[str, str]

    def mounts(self, spec: ContainerSpec) -> list[Any]:
        """What a run can write to; builders on a node share what they have downloaded and installed."""
        volumes = {HOME: self.volume}
        if spec.is_builder:
            volumes[BUILD_DIRECTORY] = f"{self.network}-build"
        kept = [Mount(place, name, type="volume", labels=dict(self.labels)) for place, name in volumes.items()]
        return [*kept, Mount("/tmp", None, type="tmpfs", tmpfs_mode=0o1777)]  # noqa: S108  the container's own


def task_template(
    spec: ContainerSpec, files: Sequence[Any], node: SwarmNode, *, installation: Belonging
) -> dict[str, Any]:
    """One run of an instance on a node. The swarm starts nothing again by itself."""
    container = SwarmContainer(
        spec.image,
        args=list(spec.command) or None,
        env=dict(spec.environment),
        user=f"{USER_ID}:{USER_ID}",
        labels={**spec.all_labels(), **installation.labels},
        mounts=installation.mounts(spec),
        stop_grace_period=SERVICE_GRACE_S * _SECOND_NS,
        secrets=list(files),
        read_only=True,
        init=True,
        cap_drop=["ALL"],
    )
    made: dict[str, Any] = TaskTemplate(
        container,
        resources={"Limits": _limits(spec, node)},
        restart_policy={"Condition": "none"},
        placement=Placement(constraints=[f"node.id=={node.id}"]),
        log_driver={"Name": "json-file", "Options": {"max-size": "5m", "max-file": "2"}},
        networks=[NetworkAttachmentConfig(installation.network)],
    )
    return made


def parked(template: Mapping[str, Any]) -> dict[str, Any]:
    """The same run for no node at all."""
    return {**template, "Placement": Placement(constraints=[PARKED])}


def endpoint(spec: ContainerSpec) -> dict[str, Any]:
    """How an instance is reached: by its name within the network, and what users call at its node, too."""
    if not spec.port or spec.labels["role"] == Role.DATA:
        return {"Mode": "dnsrr"}
    port = {"Protocol": "tcp", "TargetPort": spec.port, "PublishedPort": spec.port, "PublishMode": "host"}
    return {"Mode": "dnsrr", "Ports": [port]}


def replicated() -> Any:  # noqa: ANN401  the SDK has no types
    """One task at a time."""
    return ServiceMode("replicated", 1)


def secret_file(secret_id: str, name: str, file: str) -> Any:  # noqa: ANN401  as above
    """A file of the service's user alone; a bare name is one in ``FILES``."""
    return SecretReference(secret_id, name, file, uid=str(USER_ID), gid=str(USER_ID), mode=_READ_ONLY)


def _limits(spec: ContainerSpec, node: SwarmNode) -> dict[str, int]:
    limits = {"Pids": MAX_PROCESSES}
    if spec.limits.memory_mb:
        limits["MemoryBytes"] = max(spec.limits.memory_mb, _LEAST_MEMORY_MB) * _MIB
    if 0 < spec.limits.vcpus < node.vcpus:
        limits["NanoCPUs"] = max(int(spec.limits.vcpus * _CPU_NS), _LEAST_CPU_NS)
    return limits
