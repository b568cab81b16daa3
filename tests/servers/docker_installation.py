"""An installation of FLOps on a Docker Engine whose services run the shell script in ``config["script"]``."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from docker.errors import APIError
from tests.servers.docker_engine import IMAGE

from flops.adapters.docker_engine.orchestrator import DockerOrchestrator
from flops.adapters.docker_engine.provisions import Provisions
from flops.settings import CAPABILITIES, LocalNode, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.docker_engine import GivenEngine


def orchestrator_at(
    home: Path,
    engine: GivenEngine,
    *,
    local_nodes: tuple[LocalNode, ...] = (LocalNode("local", frozenset(CAPABILITIES)),),
    **provisions: Any,  # noqa: ANN401  what ``Provisions`` takes
) -> DockerOrchestrator:
    return DockerOrchestrator(
        Settings(home=home, docker_url=engine.url, local_nodes=local_nodes),
        provisions=Provisions(**provisions),
        image=lambda spec: spec.image or IMAGE,
        command=lambda spec: ("sh", "-c", str(spec.config["script"])),
    )


@contextmanager
def containers(home: Path, engine: GivenEngine, **options: Any) -> Iterator[DockerOrchestrator]:  # noqa: ANN401  those of ``orchestrator_at``
    """An orchestrator that removes in the end what is left of it."""
    orchestrator = orchestrator_at(home, engine, **options)
    try:
        yield orchestrator
    finally:
        for app in orchestrator.apps():
            orchestrator.delete_app(app)
        orchestrator.close()
        orchestrator._engine.remove_network()


def container_name(orchestrator: DockerOrchestrator, instance: str) -> str:
    return orchestrator._engine.name_of(instance)


def count_processes(api: Any, orchestrator: DockerOrchestrator, instance: str) -> int:  # noqa: ANN401  the SDK has no types
    """How many processes an instance has, without the init process that the engine adds."""
    with suppress(APIError):
        commands = [row[-1] for row in api.top(container_name(orchestrator, instance))["Processes"]]
        return len([command for command in commands if "docker-init" not in command])
    return 0
