"""An installation of FLOps on a swarm whose services run the shell script in ``config["script"]``."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from docker.errors import APIError
from tests.brokers import wait_until
from tests.servers.docker_engine import IMAGE

from flops.adapters.docker_engine.container import LABEL
from flops.adapters.docker_engine.provisions import Provisions
from flops.adapters.docker_engine.swarm.orchestrator import SwarmOrchestrator
from flops.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.servers.swarm import Swarm


def orchestrator_at(home: Path, swarm: Swarm, *, credentials: Mapping[str, str] | None = None) -> SwarmOrchestrator:
    return SwarmOrchestrator(
        Settings(home=home, docker_url=swarm.manager.url),
        image=lambda spec: spec.image or IMAGE,
        command=lambda spec: ("sh", "-c", str(spec.config["script"])),
        provisions=Provisions(credentials=credentials or {}),
    )


@contextmanager
def services(home: Path, swarm: Swarm, **options: Any) -> Iterator[SwarmOrchestrator]:  # noqa: ANN401  those of ``orchestrator_at``
    """An orchestrator that removes in the end what is left of it."""
    orchestrator = orchestrator_at(home, swarm, **options)
    try:
        yield orchestrator
    finally:
        for app in orchestrator.apps():
            orchestrator.delete_app(app)
        orchestrator.close()


def containers_of(swarm: Swarm, instance: str) -> Iterator[tuple[Any, str]]:
    """The running containers of an instance, each with a client of its engine."""
    for node in filter(lambda node: node.is_on, swarm.nodes):
        with node.client() as api:
            for found in api.containers(filters={"label": f"{LABEL}instance={instance}"}):
                yield api, found["Id"]


def count_processes(swarm: Swarm, instance: str) -> int:
    """How many processes an instance has, without the init process that the engine adds."""
    count = 0
    for api, container in containers_of(swarm, instance):
        with suppress(APIError):
            commands = [row[-1] for row in api.top(container)["Processes"]]
            count += len([command for command in commands if "docker-init" not in command])
    return count


def kill(swarm: Swarm, instance: str) -> None:
    """Kill the container of an instance; it may have written something before its engine calls it running."""
    wait_until(lambda: any(containers_of(swarm, instance)))
    for api, container in containers_of(swarm, instance):
        api.kill(container)
