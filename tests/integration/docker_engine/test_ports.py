"""Where services in containers are reached: from the host and from other containers, the same after every restart."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.brokers import wait_until
from tests.integration.docker_engine.test_containers import (
    DEADLINE_S,
    deploy,
    instance_of,
    log_of_completed,
    wait_for,
    wait_for_ups,
)
from tests.servers.docker_engine import EngineProcess, own_docker_engine
from tests.servers.docker_installation import container_name, containers

from flops.endpoint import Endpoint
from flops.project.deployment import InstanceState, Role

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flops.adapters.docker_engine.orchestrator import DockerOrchestrator

# Answers at the port that it was told, from whatever address it is asked.
SERVER = """
port=$(sed -n 's/.*"port": \\([0-9]*\\).*/\\1/p' $FLOPS_SERVICE_FILE)
echo up; exec nc -ll -p $port -e echo served
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    with own_docker_engine() as started:
        yield started


@pytest.fixture
def orchestrator(tmp_path: Path, engine: EngineProcess) -> Iterator[DockerOrchestrator]:
    with containers(tmp_path / "home", engine) as started:
        yield started


def port_of(orchestrator: DockerOrchestrator, name: str) -> int:
    spec = orchestrator._state.spec(f"{name}.0")
    assert spec is not None
    return spec.port


def is_served_on_the_host(engine: EngineProcess, port: int) -> bool:
    return b"served" in engine.output_of(["busybox", "nc", "-w", "3", "127.0.0.1", str(port)])


def test_who_is_called_is_reached_from_the_host_and_from_containers(
    orchestrator: DockerOrchestrator, engine: EngineProcess
) -> None:
    name = deploy(orchestrator, SERVER, role=Role.TRACKING)
    wait_for_ups(orchestrator, name, 1)
    port = port_of(orchestrator, name)
    assert is_served_on_the_host(engine, port)
    assert "served" in log_of_completed(orchestrator, f"nc -w 3 host.docker.internal {port} </dev/null")
    with engine.client() as api:
        command = ["sh", "-c", "cat $FLOPS_SERVICE_FILE"]
        told = json.loads(api.exec_start(api.exec_create(container_name(orchestrator, f"{name}.0"), command)["Id"]))
    assert Endpoint(**told["endpoint"]) == Endpoint("0.0.0.0", port, "localhost")  # noqa: S104  the container's own


def test_who_is_not_called_has_no_port(orchestrator: DockerOrchestrator, engine: EngineProcess) -> None:
    name = deploy(orchestrator, "sleep 60")
    wait_for(orchestrator, name, InstanceState.RUNNING)
    assert published(orchestrator, engine, name) == {}


@pytest.mark.parametrize("how", ["crash", "engine"])
def test_a_port_stays_the_same(orchestrator: DockerOrchestrator, engine: EngineProcess, how: str) -> None:
    name = deploy(orchestrator, SERVER, role=Role.INFERENCE, max_restarts=1)
    wait_for_ups(orchestrator, name, 1)
    before = published(orchestrator, engine, name)
    if how == "crash":
        orchestrator.restart(f"{name}.0")
    else:
        engine.kill()
        engine.start()
    wait_for_ups(orchestrator, name, 2)
    assert published(orchestrator, engine, name) == before
    assert is_served_on_the_host(engine, port_of(orchestrator, name))


def test_a_port_that_somebody_else_has_is_changed(
    orchestrator: DockerOrchestrator, engine: EngineProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    squatter = engine.enter(["busybox", "nc", "-ll", "-p", "20007", "-e", "echo", "squatted"], None)
    try:
        wait_until(
            lambda: b"squatted" in engine.output_of(["busybox", "nc", "-w", "3", "127.0.0.1", "20007"]), DEADLINE_S
        )
        monkeypatch.setattr("flops.adapters.docker_engine.orchestrator.choose_port", lambda _: 20007)
        name = deploy(orchestrator, SERVER, role=Role.INFERENCE)
        wait_for_ups(orchestrator, name, 1)
    finally:
        squatter.kill()
        squatter.wait()
    assert port_of(orchestrator, name) != 20007
    assert instance_of(orchestrator, name).restarts == 0
    assert is_served_on_the_host(engine, port_of(orchestrator, name))


def published(orchestrator: DockerOrchestrator, engine: EngineProcess, name: str) -> Any:  # noqa: ANN401  the SDK has no types
    with engine.client() as api:
        found = api.inspect_container(container_name(orchestrator, f"{name}.0"))
    return {
        port: sorted(map(str, bindings)) for port, bindings in found["NetworkSettings"]["Ports"].items() if bindings
    }
