"""What the contract of orchestrators does not say: machines that die, are cut off and return, on a real swarm."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from tests.brokers import wait_until
from tests.servers.swarm import Swarm, swarm
from tests.servers.swarm_installation import containers_of, orchestrator_at, services

from flops.errors import DeploymentRefusedError, OrchestratorUnavailableError
from flops.project.deployment import App, Instance, InstanceState, Placement, Resources, Role, ServiceSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.swarm import SwarmNode

    from flops.adapters.docker_engine.swarm.orchestrator import SwarmOrchestrator
    from flops.ports import Orchestrator

pytestmark = [pytest.mark.containers, pytest.mark.timeout(300)]

DEADLINE_S = 60.0
# Ends as every service of FLOps in a container does when it is asked to end.
OBEDIENT = "trap 'exit 143' TERM; echo up; while true; do sleep 0.05; done"
COUNT_RUNS = f"echo run >> /flops/runs; wc -l < /flops/runs; {OBEDIENT}"
BOTH = {"flops.learner": "true", "flops.image-builder": "true"}


@pytest.fixture(scope="module")
def started() -> Iterator[Swarm]:
    with swarm([{}, BOTH, {**BOTH, "flops.node": "south"}]) as machines:
        yield machines


@pytest.fixture
def machines(started: Swarm) -> Iterator[Swarm]:
    """All machines as they were at first, whatever a test does to them."""
    yield started
    started.restore()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def orchestrator(home: Path, machines: Swarm) -> Iterator[SwarmOrchestrator]:
    with services(home, machines) as made:
        yield made


def deploy(orchestrator: Orchestrator, script: str, **fields: Any) -> str:  # noqa: ANN401  any field of the specification
    """Deploy one instance, of a builder unless told otherwise: it can be on either labelled node; returns its name."""
    app = App("Ada", f"proj{uuid.uuid4().hex[:12]}")
    orchestrator.create_app(app)
    spec = {"role": Role.BUILDER, "max_restarts": 0, "config": {"script": script}, **fields}
    name = f"builder{uuid.uuid4().hex[:12]}"
    orchestrator.deploy(ServiceSpec(name, app, **spec))
    return name


def instance_of(orchestrator: SwarmOrchestrator, name: str) -> Instance:
    service = next(service for service in orchestrator._state.services() if service.name == name)
    return service.instances[0]


def wait_for(orchestrator: SwarmOrchestrator, name: str, state: InstanceState, *, node: str = "") -> Instance:
    def holds() -> bool:
        instance = instance_of(orchestrator, name)
        return instance.state is state and node in ("", instance.node)

    orchestrator._supervisor.begin()
    wait_until(holds, DEADLINE_S, lambda: instance_of(orchestrator, name))
    return instance_of(orchestrator, name)


def wait_for_log(orchestrator: Orchestrator, name: str, text: str) -> None:
    wait_until(lambda: text in orchestrator.logs(name, tail_lines=100), DEADLINE_S)


def reasons(orchestrator: Orchestrator, name: str) -> list[str]:
    changes = orchestrator.changes(0, 0)
    while changes and (more := orchestrator.changes(changes[-1].cursor, 0)):
        changes += more
    return [change.instance.reason for change in changes if change.service.name == name]


def machine(machines: Swarm, instance: Instance) -> SwarmNode:
    return machines.nodes[2] if instance.node == "south" else machines.nodes[1]


def count_containers(machines: Swarm, name: str) -> int:
    return len(list(containers_of(machines, f"{name}.0")))


def test_nodes_are_what_their_labels_say(orchestrator: SwarmOrchestrator) -> None:
    found = {node.name: node.capabilities for node in orchestrator.nodes()}
    assert found == {"node1": set(), "node2": {"learner", "image-builder"}, "south": {"learner", "image-builder"}}


def test_what_is_not_bound_moves_when_its_node_dies(orchestrator: SwarmOrchestrator, machines: Swarm) -> None:
    name = deploy(orchestrator, OBEDIENT)
    before = wait_for(orchestrator, name, InstanceState.RUNNING)
    machine(machines, before).power_off()
    other = {"node2": "south", "south": "node2"}[before.node]
    after = wait_for(orchestrator, name, InstanceState.RUNNING, node=other)
    assert (after.id, after.restarts) == (before.id, 0)
    assert f"its node {before.node!r} does not answer" in reasons(orchestrator, name)
    machine(machines, before).power_on()
    machines.wait_until_ready()
    wait_until(lambda: count_containers(machines, name) == 1, DEADLINE_S)
    assert instance_of(orchestrator, name).node == other


def test_what_is_bound_to_its_data_is_lost_and_returns_with_its_node(
    orchestrator: SwarmOrchestrator, machines: Swarm
) -> None:
    name = deploy(orchestrator, COUNT_RUNS, role=Role.OBSERVER, placements=(Placement("node2"),))
    wait_for(orchestrator, name, InstanceState.RUNNING)
    machines.nodes[1].power_off()
    lost = wait_for(orchestrator, name, InstanceState.SCHEDULED)
    assert "its node 'node2'" in lost.reason
    machines.nodes[1].power_on()
    again = wait_for(orchestrator, name, InstanceState.RUNNING)
    assert (again.node, again.restarts) == ("node2", 0)
    wait_for_log(orchestrator, name, "2\nup\n")


def test_a_twin_on_a_node_that_was_cut_off_ends_when_it_returns(
    orchestrator: SwarmOrchestrator, machines: Swarm
) -> None:
    name = deploy(orchestrator, OBEDIENT)
    before = wait_for(orchestrator, name, InstanceState.RUNNING)
    machine(machines, before).cut_off()
    other = {"node2": "south", "south": "node2"}[before.node]
    wait_for(orchestrator, name, InstanceState.RUNNING, node=other)
    assert count_containers(machines, name) == 2
    machine(machines, before).reconnect()
    wait_until(lambda: count_containers(machines, name) == 1, DEADLINE_S)
    after = instance_of(orchestrator, name)
    assert (after.state, after.node, after.restarts) == (InstanceState.RUNNING, other, 0)


def test_what_is_bound_runs_once_when_its_node_was_cut_off_and_returns(
    orchestrator: SwarmOrchestrator, machines: Swarm
) -> None:
    name = deploy(orchestrator, COUNT_RUNS, role=Role.OBSERVER, placements=(Placement("south"),))
    wait_for(orchestrator, name, InstanceState.RUNNING)
    machines.nodes[2].cut_off()
    wait_for(orchestrator, name, InstanceState.SCHEDULED)
    machines.nodes[2].reconnect()
    again = wait_for(orchestrator, name, InstanceState.RUNNING)
    assert (again.node, again.restarts) == ("south", 0)
    wait_for_log(orchestrator, name, "2\nup\n")
    assert count_containers(machines, name) == 1


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_what_ran_when_an_engine_ended_runs_again_and_has_not_crashed(
    orchestrator: SwarmOrchestrator, machines: Swarm, how: str
) -> None:
    name = deploy(orchestrator, COUNT_RUNS, placements=(Placement("node2"),))
    wait_for(orchestrator, name, InstanceState.RUNNING)
    getattr(machines.nodes[1], how)()
    machines.nodes[1].start()
    wait_for_log(orchestrator, name, "2\nup\n")
    again = wait_for(orchestrator, name, InstanceState.RUNNING)
    assert (again.node, again.restarts) == ("node2", 0)


def test_a_drained_node_gives_away_what_is_not_bound(orchestrator: SwarmOrchestrator, machines: Swarm) -> None:
    name = deploy(orchestrator, OBEDIENT)
    before = wait_for(orchestrator, name, InstanceState.RUNNING)
    machines.set_availability(machine(machines, before).name, "drain")
    other = {"node2": "south", "south": "node2"}[before.node]
    after = wait_for(orchestrator, name, InstanceState.RUNNING, node=other)
    assert after.restarts == 0
    assert before.node not in {node.name for node in orchestrator.nodes()}


def test_services_run_on_while_the_manager_of_the_swarm_is_away(
    orchestrator: SwarmOrchestrator, machines: Swarm
) -> None:
    name = deploy(orchestrator, COUNT_RUNS)
    wait_for(orchestrator, name, InstanceState.RUNNING)
    machines.manager.kill()
    with pytest.raises(OrchestratorUnavailableError, match="Docker Engine at unix://"):
        orchestrator.services()
    assert count_containers(machines, name) == 1
    machines.manager.start()
    machines.wait_until_ready()
    second = deploy(orchestrator, OBEDIENT)
    wait_for(orchestrator, second, InstanceState.RUNNING)
    assert instance_of(orchestrator, name).restarts == 0
    wait_for(orchestrator, name, InstanceState.RUNNING)


def test_what_ended_while_no_manager_of_flops_lived_is_told_by_the_next(home: Path, machines: Swarm) -> None:
    wait_for_end = "while [ ! -e /flops/end ]; do sleep 0.05; done; exit $(cat /flops/end)"
    before = orchestrator_at(home, machines)
    well, badly = deploy(before, wait_for_end), deploy(before, wait_for_end)
    for name in (well, badly):
        wait_for(before, name, InstanceState.RUNNING)
    before.close()
    for name, code in ((well, 0), (badly, 7)):
        for api, container in containers_of(machines, f"{name}.0"):
            command = ["sh", "-c", f"echo {code} > /flops/end"]
            assert api.exec_start(api.exec_create(container, command)["Id"]) == b""
            api.wait(container, timeout=DEADLINE_S)
    with services(home, machines) as after:
        wait_for(after, well, InstanceState.COMPLETED)
        assert wait_for(after, badly, InstanceState.FAILED).exit_code == 7


def test_what_was_halted_runs_again_under_the_next_manager(home: Path, machines: Swarm) -> None:
    before = orchestrator_at(home, machines)
    name = deploy(before, COUNT_RUNS, placements=(Placement("node2"),))
    wait_for(before, name, InstanceState.RUNNING)
    before.close()
    with services(home, machines) as after:
        assert after.halt()
        assert count_containers(machines, name) == 0
        after.changes(0, 0)
        wait_for_log(after, name, "2\nup\n")
        assert wait_for(after, name, InstanceState.RUNNING).restarts == 0


def test_a_service_that_is_removed_while_its_node_is_away_does_not_return(
    orchestrator: SwarmOrchestrator, machines: Swarm
) -> None:
    name = deploy(orchestrator, OBEDIENT, placements=(Placement("node2"),))
    wait_for(orchestrator, name, InstanceState.RUNNING)
    machines.nodes[1].cut_off()
    wait_for(orchestrator, name, InstanceState.SCHEDULED)
    orchestrator.undeploy(name)
    assert count_containers(machines, name) == 1
    machines.nodes[1].reconnect()
    wait_until(lambda: count_containers(machines, name) == 0, DEADLINE_S)


def test_credentials_are_secrets_for_the_service_alone(home: Path, machines: Swarm, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("tell-nobody")
    script = 'cat "$FLOPS_BROKER_PASSWORD_FILE"; stat -c " %a %u" "$FLOPS_BROKER_PASSWORD_FILE"; df -T /run/secrets/*'
    with services(home, machines, credentials={"FLOPS_BROKER_PASSWORD_FILE": str(password)}) as orchestrator:
        name = deploy(orchestrator, script)
        wait_for(orchestrator, name, InstanceState.COMPLETED)
        log = orchestrator.logs(name, tail_lines=9)
        assert log.startswith("tell-nobody 400 10001\n")
        assert log.count(" tmpfs ") == 2
        with machines.manager.client() as api:
            label = f"fl.flops.installation={orchestrator._state.installation}"
            assert "tell-nobody" not in str(api.services(filters={"label": label}))
            assert len(api.secrets(filters={"label": label})) == 2
            orchestrator.undeploy(name)
            assert api.secrets(filters={"label": label}) == []


def test_a_service_has_few_rights(orchestrator: SwarmOrchestrator) -> None:
    script = "id -u; grep CapEff /proc/self/status; touch /root-is-mine; ls /var/run/docker.sock"
    name = deploy(orchestrator, f"{{ {script}; true; }} 2>&1")
    wait_for(orchestrator, name, InstanceState.COMPLETED)
    log = orchestrator.logs(name, tail_lines=20)
    assert "10001\n" in log
    assert "CapEff:\t0000000000000000" in log
    assert "/root-is-mine: Read-only file system" in log
    assert "docker.sock: No such file" in log


def test_limits_are_kept(orchestrator: SwarmOrchestrator) -> None:
    hog = "dd if=/dev/zero of=/dev/null bs=100M count=1"
    name = deploy(orchestrator, f"{hog} || kill -9 $$", resources=Resources(memory_mb=16, vcpus=0.5))
    failed = wait_for(orchestrator, name, InstanceState.FAILED)
    assert failed.reason == "killed by SIGKILL, as is what uses more than 16 MB of memory"


def test_services_find_each_other_over_the_network_of_the_swarm(orchestrator: SwarmOrchestrator) -> None:
    listener = deploy(orchestrator, "echo up; exec nc -ll -p 9000 -e echo across", placements=(Placement("node2"),))
    wait_for_log(orchestrator, listener, "up")
    host = orchestrator._cluster.name_of(f"{listener}.0")
    asking = deploy(orchestrator, f"nc -w 5 {host} 9000 </dev/null", placements=(Placement("south"),))
    wait_for(orchestrator, asking, InstanceState.COMPLETED)
    assert orchestrator.logs(asking, tail_lines=9) == "across\n"


def test_an_image_that_no_node_has_is_refused(orchestrator: SwarmOrchestrator) -> None:
    with pytest.raises(DeploymentRefusedError, match="no image 'nobody/nothing:1'"):
        deploy(orchestrator, "true", image="nobody/nothing:1")


def test_services_that_nobody_knows_are_removed(home: Path, machines: Swarm) -> None:
    before = orchestrator_at(home, machines)
    name = deploy(before, OBEDIENT)
    wait_for(before, name, InstanceState.RUNNING)
    before.close()
    with services(home, machines) as after:
        after._state.leave(name)
        after._state.forget_service(name)
        after.changes(0, 0)
        wait_until(lambda: count_containers(machines, name) == 0, DEADLINE_S)
