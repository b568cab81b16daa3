"""What a service of a swarm is made from."""

from __future__ import annotations

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

from flops.adapters.docker_engine.container import HOME, SERVICE_GRACE_S, USER_ID
from flops.adapters.docker_engine.swarm.members import PARKED

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


def task_template(  # noqa: PLR0913  all that a run consists of
    spec: ContainerSpec,
    files: Sequence[Any],
    node: SwarmNode,
    *,
    volume: str,
    labels: Mapping[str, str],
    network: str,
) -> dict[str, Any]:
    """One run of an instance on a node. The swarm starts nothing again by itself."""
    container = SwarmContainer(
        spec.image,
        args=list(spec.command) or None,
        env=dict(spec.environment),
        user=f"{USER_ID}:{USER_ID}",
        labels={**spec.all_labels(), **labels},
        mounts=[
            Mount(HOME, volume, type="volume", labels=dict(labels)),
            Mount("/tmp", None, type="tmpfs", tmpfs_mode=0o1777),  # noqa: S108  the container's own
        ],
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
        networks=[NetworkAttachmentConfig(network)],
    )
    return made


def parked(template: Mapping[str, Any]) -> dict[str, Any]:
    """The same run for no node at all."""
    return {**template, "Placement": Placement(constraints=[PARKED])}


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
