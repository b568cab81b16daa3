"""What every orchestrator has to do. Another adapter joins by adding a stage to STAGES."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.servers import swarm_installation
from tests.servers.docker_engine import docker_engine
from tests.servers.docker_installation import container_name, containers, count_processes
from tests.servers.swarm import swarm

from flops.adapters.local_processes.client import ensure_daemon
from flops.adapters.local_processes.members import Members
from flops.adapters.local_processes.orchestrator import LocalProcessOrchestrator
from flops.adapters.local_processes.process_table import kill
from flops.errors import DeploymentRefusedError, NotFoundError
from flops.project.deployment import App, Instance, InstanceState, Placement, Role, Service, ServiceSpec
from flops.settings import CAPABILITIES, LocalNode, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flops.ports import InstanceChange, Orchestrator

DEADLINE_S = 20.0
ENDED = {InstanceState.COMPLETED, InstanceState.FAILED}


@dataclass(frozen=True)
class Stage:
    """An orchestrator whose services run the shell script in ``config["script"]``, seen from outside as well."""

    orchestrator: Orchestrator
    count_processes: Callable[[str], int]
    kill_processes: Callable[[str], None]


@contextmanager
def local_processes() -> Iterator[Stage]:
    home = Path(tempfile.mkdtemp(prefix="flops-contract-"))
    nodes = (LocalNode("node1", frozenset({"learner"})), LocalNode("node2", frozenset({"image-builder"})))
    settings = Settings(home=home, local_nodes=nodes)
    client = ensure_daemon(settings, os.environ)
    try:
        yield Stage(
            LocalProcessOrchestrator(client, settings, command=lambda spec: ("sh", "-c", str(spec.config["script"]))),
            count_processes=lambda instance: len(Members(home).of(instance)),
            kill_processes=lambda instance: kill(Members(home).of(instance)),
        )
    finally:
        client.shutdown()
        shutil.rmtree(home)


@contextmanager
def docker_containers() -> Iterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="flops-contract-") as home, docker_engine() as engine:
        nodes = (LocalNode("node1", frozenset({"learner"})), LocalNode("node2", frozenset({"image-builder"})))
        with containers(Path(home), engine, local_nodes=nodes) as orchestrator, engine.client() as api:
            yield Stage(
                orchestrator,
                count_processes=lambda instance: count_processes(api, orchestrator, instance),
                kill_processes=lambda instance: api.kill(container_name(orchestrator, instance)),
            )


@contextmanager
def swarm_services() -> Iterator[Stage]:
    labels: list[dict[str, str]] = [{}, {"flops.learner": "true"}, {"flops.image-builder": "true"}]
    with (
        tempfile.TemporaryDirectory(prefix="flops-contract-") as home,
        swarm(labels) as machines,
        swarm_installation.services(Path(home), machines) as orchestrator,
    ):
        yield Stage(
            orchestrator,
            count_processes=lambda instance: swarm_installation.count_processes(machines, instance),
            kill_processes=lambda instance: swarm_installation.kill(machines, instance),
        )


STAGES = {"docker-containers": docker_containers, "local-processes": local_processes, "swarm-services": swarm_services}
MARKS = {"swarm-services": (pytest.mark.containers,)}


@pytest.fixture(scope="module", params=[pytest.param(name, marks=MARKS.get(name, ())) for name in sorted(STAGES)])
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    with STAGES[request.param]() as prepared:
        yield prepared


@pytest.fixture
def orchestrator(stage: Stage) -> Orchestrator:
    return stage.orchestrator


@pytest.fixture
def app(orchestrator: Orchestrator) -> Iterator[App]:
    made = App("Ada", f"proj{uuid.uuid4().hex[:12]}")
    orchestrator.create_app(made)
    yield made
    orchestrator.delete_app(made)


def service(app: App, script: str, **fields: Any) -> ServiceSpec:  # noqa: ANN401  any field of the specification
    name = f"observ{uuid.uuid4().hex[:12]}"
    defaults: dict[str, Any] = {"role": Role.OBSERVER, "max_restarts": 0}
    return ServiceSpec(name, app, config={"script": script}, **{**defaults, **fields})


def find(orchestrator: Orchestrator, name: str) -> Service:
    return next(found for found in orchestrator.services() if found.name == name)


def changes_until(
    orchestrator: Orchestrator, name: str, is_last: Callable[[InstanceChange], bool]
) -> list[InstanceChange]:
    deadline, cursor, seen = time.monotonic() + DEADLINE_S, 0, []
    while time.monotonic() < deadline:
        for change in orchestrator.changes(cursor, 1.0):
            assert change.cursor > cursor
            cursor = change.cursor
            if change.service.name == name:
                seen.append(change)
                if is_last(change):
                    return seen
    pytest.fail(f"not seen in time; seen: {seen}")


def wait_for_state(orchestrator: Orchestrator, name: str, *states: InstanceState) -> Instance:
    return changes_until(orchestrator, name, lambda change: change.instance.state in states)[-1].instance


def wait_for_log(orchestrator: Orchestrator, name: str, text: str) -> str:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        log = orchestrator.logs(name, tail_lines=1000)
        if text in log:
            return log
        time.sleep(0.01)
    pytest.fail(f"{text!r} is not in the log")


def test_nodes_have_names_and_known_capabilities(orchestrator: Orchestrator) -> None:
    nodes = orchestrator.nodes()
    assert nodes
    assert all(node.name and node.capabilities <= set(CAPABILITIES) for node in nodes)


def test_an_app_that_is_created_twice_is_there_once(orchestrator: Orchestrator, app: App) -> None:
    orchestrator.create_app(app)
    assert orchestrator.apps().count(app) == 1


def test_a_service_runs_and_its_states_are_told_in_order(orchestrator: Orchestrator, app: App) -> None:
    spec = service(app, "exec sleep 60", project_id="a" * 24)
    orchestrator.deploy(spec)
    changes = changes_until(orchestrator, spec.name, lambda change: change.instance.state is InstanceState.RUNNING)
    assert [change.instance.state for change in changes] == [InstanceState.SCHEDULED, InstanceState.RUNNING]
    found = find(orchestrator, spec.name)
    assert (found.app, found.role, found.project_id) == (app, Role.OBSERVER, "a" * 24)
    (instance,) = found.instances
    assert instance.id == f"{spec.name}.0"
    assert instance.state is InstanceState.RUNNING
    assert instance.node in {node.name for node in orchestrator.nodes()}


def test_a_service_that_ends_well_is_completed_and_not_started_again(orchestrator: Orchestrator, app: App) -> None:
    spec = service(app, "echo once", max_restarts=3)
    orchestrator.deploy(spec)
    instance = wait_for_state(orchestrator, spec.name, *ENDED)
    assert (instance.state, instance.restarts, instance.exit_code) == (InstanceState.COMPLETED, 0, 0)
    assert orchestrator.logs(spec.name, tail_lines=10) == "once\n"


def test_a_service_that_crashes_is_restarted_a_bounded_number_of_times(orchestrator: Orchestrator, app: App) -> None:
    spec = service(app, "echo attempt; exit 3", max_restarts=2)
    orchestrator.deploy(spec)
    changes = changes_until(orchestrator, spec.name, lambda change: change.instance.state in ENDED)
    last = changes[-1]
    assert (last.instance.state, last.instance.restarts, last.instance.exit_code) == (InstanceState.FAILED, 2, 3)
    assert "3" in last.instance.reason
    assert "attempt" in last.log_tail
    assert orchestrator.logs(spec.name, tail_lines=10).count("attempt") == 3
    crashes = [change for change in changes if change.instance.state is InstanceState.SCHEDULED][1:]
    assert [change.instance.restarts for change in crashes] == [1, 2]
    assert all("attempt" in change.log_tail and change.instance.reason for change in crashes)


def test_a_service_that_is_killed_is_restarted(stage: Stage, app: App) -> None:
    spec = service(app, "echo up; exec sleep 60", max_restarts=1)
    stage.orchestrator.deploy(spec)
    wait_for_log(stage.orchestrator, spec.name, "up\n")
    stage.kill_processes(f"{spec.name}.0")
    wait_for_log(stage.orchestrator, spec.name, "up\nup\n")
    stage.kill_processes(f"{spec.name}.0")
    instance = wait_for_state(stage.orchestrator, spec.name, InstanceState.FAILED)
    assert instance.restarts == 1
    assert "SIGKILL" in instance.reason


def test_an_instance_that_hangs_can_be_started_again(stage: Stage, app: App) -> None:
    spec = service(app, "kill -STOP $$; sleep 1000", max_restarts=1, placements=(Placement(), Placement()))
    stage.orchestrator.deploy(spec)
    changes_until(
        stage.orchestrator,
        spec.name,
        lambda change: all(instance.state is InstanceState.RUNNING for instance in change.service.instances),
    )

    stage.orchestrator.restart(f"{spec.name}.0")
    again = changes_until(stage.orchestrator, spec.name, lambda change: change.instance.restarts == 1)[-1]
    assert again.instance.id == f"{spec.name}.0"
    assert again.instance.reason

    changes_until(
        stage.orchestrator,
        spec.name,
        lambda change: change.instance.restarts == 1 and change.instance.state is InstanceState.RUNNING,
    )
    stage.orchestrator.restart(f"{spec.name}.0")
    failed = wait_for_state(stage.orchestrator, spec.name, InstanceState.FAILED)
    assert failed.id == f"{spec.name}.0"
    assert find(stage.orchestrator, spec.name).instances[1].restarts == 0


def test_starting_again_what_does_not_run_changes_nothing(stage: Stage, app: App) -> None:
    spec = service(app, "exit 0")
    stage.orchestrator.deploy(spec)
    wait_for_state(stage.orchestrator, spec.name, InstanceState.COMPLETED)

    stage.orchestrator.restart(f"{spec.name}.0")
    stage.orchestrator.restart("nobody.0")

    assert find(stage.orchestrator, spec.name).instances[0].state is InstanceState.COMPLETED


def test_each_instance_gets_its_own_part_of_the_configuration(orchestrator: Orchestrator, app: App) -> None:
    placements = (Placement(config={"share": 1}), Placement(config={"share": 2}))
    spec = service(app, 'cat "$FLOPS_SERVICE_FILE"', placements=placements)
    orchestrator.deploy(spec)
    for index, share in enumerate((1, 2)):
        log = wait_for_log(orchestrator, f"{spec.name}.{index}", f'"share": {share}')
        assert f'"instance": "{spec.name}.{index}"' in log
    assert [instance.id for instance in find(orchestrator, spec.name).instances] == [f"{spec.name}.0", f"{spec.name}.1"]


def test_a_placement_decides_the_node(orchestrator: Orchestrator, app: App) -> None:
    nodes = [node.name for node in orchestrator.nodes()]
    spec = service(app, "exec sleep 60", placements=tuple(Placement(node) for node in nodes))
    orchestrator.deploy(spec)
    assert [instance.node for instance in find(orchestrator, spec.name).instances] == nodes


def test_a_role_is_placed_where_it_can_run(orchestrator: Orchestrator, app: App) -> None:
    spec = service(app, "exec sleep 60", role=Role.BUILDER)
    orchestrator.deploy(spec)
    able = {node.name for node in orchestrator.nodes() if "image-builder" in node.capabilities}
    assert {instance.node for instance in find(orchestrator, spec.name).instances} <= able


def test_a_service_of_no_app_is_refused(orchestrator: Orchestrator) -> None:
    with pytest.raises(DeploymentRefusedError, match="no app"):
        orchestrator.deploy(service(App("Ada", "nowhere"), "true"))


def test_a_service_for_an_unknown_node_is_refused(orchestrator: Orchestrator, app: App) -> None:
    with pytest.raises(DeploymentRefusedError, match="no node 'mars'"):
        orchestrator.deploy(service(app, "true", placements=(Placement("mars"),)))


def test_a_second_service_of_the_same_name_changes_nothing(orchestrator: Orchestrator, app: App) -> None:
    spec = service(app, "echo first; exec sleep 60")
    orchestrator.deploy(spec)
    wait_for_log(orchestrator, spec.name, "first")
    orchestrator.deploy(replace(spec, config={"script": "echo second"}))
    assert [found.name for found in orchestrator.services(app)] == [spec.name]
    assert "second" not in orchestrator.logs(spec.name, tail_lines=10)


def test_the_services_of_one_project_are_found_alone(orchestrator: Orchestrator, app: App) -> None:
    mine, other = (replace(service(app, "exec sleep 60"), project_id=project) for project in ("a" * 24, "b" * 24))
    for spec in (mine, other):
        orchestrator.deploy(spec)
    assert [found.name for found in orchestrator.services(project_id="a" * 24)] == [mine.name]
    assert {found.name for found in orchestrator.services(app)} == {mine.name, other.name}
    assert orchestrator.services(project_id="c" * 24) == []


def test_undeploying_leaves_nothing_running(stage: Stage, app: App) -> None:
    spec = service(app, "sleep 61 & (setsid sleep 62 &) ; echo up; wait")
    stage.orchestrator.deploy(spec)
    wait_for_log(stage.orchestrator, spec.name, "up")
    assert stage.count_processes(f"{spec.name}.0") >= 3
    stage.orchestrator.undeploy(spec.name)
    assert stage.count_processes(f"{spec.name}.0") == 0
    assert stage.orchestrator.services(app) == []
    last = changes_until(stage.orchestrator, spec.name, lambda change: change.instance.state is InstanceState.REMOVED)
    assert last[-1].service.instances[0].state is InstanceState.REMOVED


@pytest.mark.slow
def test_a_service_that_will_not_end_is_killed(stage: Stage, app: App) -> None:
    spec = service(app, "trap '' TERM; echo up; while true; do sleep 1; done")
    stage.orchestrator.deploy(spec)
    wait_for_log(stage.orchestrator, spec.name, "up")
    stage.orchestrator.undeploy(spec.name)
    assert stage.count_processes(f"{spec.name}.0") == 0


def test_a_service_is_asked_to_end_before_it_is_killed(orchestrator: Orchestrator, app: App) -> None:
    spec = service(app, "trap 'echo farewell; exit 0' TERM; echo up; while true; do sleep 0.05; done")
    orchestrator.deploy(spec)
    wait_for_log(orchestrator, spec.name, "up")
    orchestrator.undeploy(spec.name)
    assert "farewell" in orchestrator.logs(spec.name, tail_lines=10)


def test_what_a_crashed_service_started_is_cleaned_up(stage: Stage, app: App) -> None:
    spec = service(app, "sleep 61 & (setsid sleep 62 &) ; exit 1")
    stage.orchestrator.deploy(spec)
    wait_for_state(stage.orchestrator, spec.name, InstanceState.FAILED)
    assert stage.count_processes(f"{spec.name}.0") == 0


def test_undeploying_is_idempotent(orchestrator: Orchestrator, app: App) -> None:
    spec = service(app, "exec sleep 60")
    orchestrator.deploy(spec)
    orchestrator.undeploy(spec.name)
    orchestrator.undeploy(spec.name)
    orchestrator.undeploy("never-there")
    assert orchestrator.services(app) == []


def test_a_name_can_be_used_again_after_its_service_was_removed(orchestrator: Orchestrator, app: App) -> None:
    spec = service(app, "echo first")
    orchestrator.deploy(spec)
    wait_for_log(orchestrator, spec.name, "first")
    orchestrator.undeploy(spec.name)
    orchestrator.deploy(replace(spec, config={"script": "echo second"}))
    wait_for_log(orchestrator, spec.name, "second")


def test_logs_stay_readable_until_the_service_is_forgotten(orchestrator: Orchestrator, app: App) -> None:
    spec = service(app, "seq 1 50")
    orchestrator.deploy(spec)
    wait_for_state(orchestrator, spec.name, InstanceState.COMPLETED)
    orchestrator.undeploy(spec.name)
    assert orchestrator.logs(spec.name, tail_lines=3) == "48\n49\n50\n"
    assert orchestrator.logs(f"{spec.name}.0", tail_lines=1) == "50\n"
    orchestrator.delete_app(app)
    assert orchestrator.logs(spec.name, tail_lines=1) == "50\n"
    orchestrator.forget(spec.name)
    orchestrator.forget(spec.name)
    with pytest.raises(NotFoundError):
        orchestrator.logs(spec.name, tail_lines=3)


def test_forgetting_a_service_stops_it_and_no_other(stage: Stage, app: App) -> None:
    own, other = service(app, "exec sleep 60"), service(app, "exec sleep 60")
    for spec in (own, other):
        stage.orchestrator.deploy(spec)
        wait_for_state(stage.orchestrator, spec.name, InstanceState.RUNNING)
    stage.orchestrator.forget(own.name)
    stage.orchestrator.forget("never-there")
    assert stage.count_processes(f"{own.name}.0") == 0
    assert [found.name for found in stage.orchestrator.services(app)] == [other.name]


def test_logs_of_what_never_ran_are_not_found(orchestrator: Orchestrator) -> None:
    with pytest.raises(NotFoundError, match="never-there"):
        orchestrator.logs("never-there", tail_lines=1)


def test_deleting_an_app_removes_its_services_and_no_others(stage: Stage, app: App) -> None:
    other = App("Grace", app.name)
    stage.orchestrator.create_app(other)
    own, foreign = service(app, "exec sleep 60"), service(other, "exec sleep 60")
    stage.orchestrator.deploy(own)
    stage.orchestrator.deploy(foreign)
    wait_for_state(stage.orchestrator, foreign.name, InstanceState.RUNNING)
    stage.orchestrator.delete_app(app)
    stage.orchestrator.delete_app(app)
    assert app not in stage.orchestrator.apps()
    assert stage.count_processes(f"{own.name}.0") == 0
    assert [found.name for found in stage.orchestrator.services(other)] == [foreign.name]
    assert stage.count_processes(f"{foreign.name}.0") == 1
    stage.orchestrator.delete_app(other)


def last_cursor(orchestrator: Orchestrator) -> int:
    cursor = 0
    while changes := orchestrator.changes(cursor, 0):
        cursor = changes[-1].cursor
    return cursor


def test_changes_are_awaited_no_longer_than_asked(orchestrator: Orchestrator) -> None:
    cursor = last_cursor(orchestrator)
    started = time.monotonic()
    assert orchestrator.changes(cursor, 0.2) == []
    assert 0.2 <= time.monotonic() - started < 5


def test_a_change_wakes_whoever_waits_for_it(orchestrator: Orchestrator, app: App) -> None:
    cursor = last_cursor(orchestrator)
    spec = service(app, "exec sleep 60")
    deploying = threading.Timer(0.1, orchestrator.deploy, [spec])
    deploying.start()
    changes = orchestrator.changes(cursor, DEADLINE_S)
    deploying.join()
    assert [change.service.name for change in changes][:1] == [spec.name]
