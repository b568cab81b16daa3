"""What the contract of orchestrators does not say: engines that end, limits, rights, secrets, several on one engine."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from tests.brokers import wait_until
from tests.servers.docker_engine import EngineProcess, GivenEngine, own_docker_engine
from tests.servers.docker_installation import container_name, containers, orchestrator_at

from flops.adapters.docker_engine.connection import EngineRefusedError
from flops.errors import DeploymentRefusedError, OrchestratorUnavailableError
from flops.project.deployment import App, Instance, InstanceState, Resources, Role, ServiceSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from flops.adapters.docker_engine.container import Container, ContainerSpec
    from flops.adapters.docker_engine.orchestrator import DockerOrchestrator
    from flops.ports import Orchestrator

DEADLINE_S = 30.0
# Ends well when it is asked to end, as every service of FLOps does.
OBEDIENT = "trap 'exit 0' TERM; echo up; while true; do sleep 0.05; done"


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    with own_docker_engine() as started:
        yield started


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def orchestrator(home: Path, engine: EngineProcess) -> Iterator[DockerOrchestrator]:
    with containers(home, engine) as started:
        yield started


def deploy(orchestrator: Orchestrator, script: str, **fields: Any) -> str:  # noqa: ANN401  any field of the specification
    """Deploy one instance; returns its service's name."""
    app = App("Ada", f"proj{uuid.uuid4().hex[:12]}")
    orchestrator.create_app(app)
    spec = {"role": Role.OBSERVER, "max_restarts": 0, "config": {"script": script}, **fields}
    name = f"observ{uuid.uuid4().hex[:12]}"
    orchestrator.deploy(ServiceSpec(name, app, **spec))
    return name


def instance_of(orchestrator: DockerOrchestrator, name: str) -> Instance:
    service = next(service for service in orchestrator._state.services() if service.name == name)
    return service.instances[0]


def wait_for(orchestrator: DockerOrchestrator, name: str, state: InstanceState, *, restarts: int = 0) -> Instance:
    def holds() -> bool:
        instance = instance_of(orchestrator, name)
        return (instance.state, instance.restarts) == (state, restarts)

    orchestrator._supervisor.begin()
    wait_until(holds, DEADLINE_S)
    return instance_of(orchestrator, name)


def wait_for_ups(orchestrator: Orchestrator, name: str, count: int) -> None:
    wait_until(lambda: orchestrator.logs(name, tail_lines=100).count("up") == count, DEADLINE_S)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_what_ran_when_the_engine_ended_runs_again_and_has_not_crashed(
    orchestrator: DockerOrchestrator, engine: EngineProcess, how: str
) -> None:
    name = deploy(orchestrator, OBEDIENT)
    wait_for_ups(orchestrator, name, 1)
    getattr(engine, how)()
    with pytest.raises(OrchestratorUnavailableError, match="Docker Engine at unix://"):
        orchestrator.services()
    engine.start()
    wait_for_ups(orchestrator, name, 2)
    wait_for(orchestrator, name, InstanceState.RUNNING)


def test_what_ran_when_engine_and_manager_ended_runs_again(home: Path, engine: EngineProcess) -> None:
    before = orchestrator_at(home, engine)
    name = deploy(before, OBEDIENT)
    wait_for_ups(before, name, 1)
    before.close()
    engine.stop()
    engine.start()
    with containers(home, engine) as after:
        after.changes(0, 0)
        wait_for_ups(after, name, 2)
        wait_for(after, name, InstanceState.RUNNING)


def test_what_was_halted_runs_again_under_the_next_manager(home: Path, engine: EngineProcess) -> None:
    before = orchestrator_at(home, engine)
    name = deploy(before, OBEDIENT)
    wait_for_ups(before, name, 1)
    before.close()
    with containers(home, engine) as after:
        assert after.halt()
        assert not count_running(after, engine)
        after.changes(0, 0)
        wait_for_ups(after, name, 2)
        wait_for(after, name, InstanceState.RUNNING)


def test_what_ended_while_no_manager_lived_is_told_by_the_next(home: Path, engine: EngineProcess) -> None:
    wait_for_end = 'cd "${FLOPS_SERVICE_FILE%/*}"; while [ ! -e end ]; do sleep 0.05; done; exit $(cat end)'
    before = orchestrator_at(home, engine)
    well, badly = deploy(before, wait_for_end), deploy(before, wait_for_end, max_restarts=1)
    for name in (well, badly):
        wait_for(before, name, InstanceState.RUNNING)
    before.close()
    with engine.client() as api:
        for name, code in ((well, 0), (badly, 7)):
            container = container_name(before, f"{name}.0")
            command = ["sh", "-c", f"echo {code} > /flops/services/{name}.0/end"]
            assert api.exec_start(api.exec_create(container, command)["Id"]) == b""
            api.wait(container, timeout=DEADLINE_S)
    with containers(home, engine) as after:
        wait_for(after, well, InstanceState.COMPLETED)
        failed = wait_for(after, badly, InstanceState.FAILED, restarts=1)
        assert failed.exit_code == 7


def test_a_container_removed_by_somebody_else_is_made_anew_with_its_files(
    orchestrator: DockerOrchestrator, engine: EngineProcess
) -> None:
    script = 'cd "${FLOPS_SERVICE_FILE%/*}"; echo run >> runs; wc -l < runs; exec sleep 60'
    name = deploy(orchestrator, script, max_restarts=1)
    wait_for(orchestrator, name, InstanceState.RUNNING)
    with engine.client() as api:
        api.remove_container(container_name(orchestrator, f"{name}.0"), force=True)
    wait_for(orchestrator, name, InstanceState.RUNNING, restarts=1)
    wait_until(lambda: orchestrator.logs(name, tail_lines=9) == "2\n", DEADLINE_S)


def test_a_start_that_meets_a_removal_is_no_failure(
    orchestrator: DockerOrchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between an end and its clean-up an engine refuses to start: here it removes the container in that very moment."""
    start = orchestrator._engine.start
    refusals = iter([EngineRefusedError("container is marked for removal and cannot be started")])

    def start_or_remove(spec: ContainerSpec, files: Mapping[str, str]) -> Container:
        for refusal in refusals:
            orchestrator._engine.remove(spec.instance)
            raise refusal
        return start(spec, files)

    monkeypatch.setattr(orchestrator._engine, "start", start_or_remove)
    name = deploy(orchestrator, OBEDIENT)
    wait_for(orchestrator, name, InstanceState.RUNNING)
    assert list(refusals) == []


def test_installations_on_one_engine_do_not_see_each_other(home: Path, engine: EngineProcess) -> None:
    with containers(home / "one", engine) as one, containers(home / "other", engine) as other:
        name = deploy(one, OBEDIENT)
        wait_for(one, name, InstanceState.RUNNING)
        assert other.services() == []
        other.undeploy(name)
        other.restart(f"{name}.0")
        assert other.changes(0, 1.0) == []
        assert instance_of(one, name).state is InstanceState.RUNNING
        assert other._engine.instances() == set()
        assert one._engine.instances() == {f"{name}.0"}


def test_several_managers_share_the_work_and_one_takes_over(home: Path, engine: EngineProcess) -> None:
    first = orchestrator_at(home, engine)
    first.changes(0, 0)
    with containers(home, engine) as second:
        name = deploy(second, OBEDIENT, max_restarts=1)
        changes = second.changes(0, DEADLINE_S)
        assert [change.service.name for change in changes][:1] == [name]
        wait_for(second, name, InstanceState.RUNNING)
        first.close()
        second.restart(f"{name}.0")
        wait_for(second, name, InstanceState.RUNNING, restarts=1)


def test_who_takes_more_memory_than_it_may_is_not_started_again(orchestrator: DockerOrchestrator) -> None:
    hog = "dd if=/dev/zero of=/dev/null bs=100M count=1"
    name = deploy(orchestrator, f"{hog} || kill -9 $$", max_restarts=3, resources=Resources(memory_mb=16))
    failed = wait_for(orchestrator, name, InstanceState.FAILED)
    assert failed.reason == "used more than 16 MB of memory"


def test_storage_that_the_engine_cannot_limit_is_told(
    orchestrator: DockerOrchestrator, caplog: pytest.LogCaptureFixture
) -> None:
    name = deploy(orchestrator, OBEDIENT, resources=Resources(storage_mb=10))
    wait_for(orchestrator, name, InstanceState.RUNNING)
    assert f"the storage of {name}.0 is not limited to 10 MB" in caplog.text


def test_what_cannot_be_started_fails_with_the_reason(home: Path, engine: EngineProcess) -> None:
    with containers(home, engine, credentials={"FLOPS_BROKER_CA_FILE": "/no/such/certificate"}) as orchestrator:
        name = deploy(orchestrator, "true", max_restarts=3)
        failed = wait_for(orchestrator, name, InstanceState.FAILED)
        assert failed.reason == "it cannot be started: /no/such/certificate: no such file or directory"


def test_an_image_that_is_not_there_is_refused(orchestrator: DockerOrchestrator) -> None:
    with pytest.raises(DeploymentRefusedError, match="no image 'nobody/nothing:1'"):
        deploy(orchestrator, "true", image="nobody/nothing:1")


def test_a_service_has_few_rights(orchestrator: DockerOrchestrator) -> None:
    script = "id -u; grep -E 'CapEff|NoNewPrivs' /proc/self/status; touch /root-is-mine; ls /var/run/docker.sock"
    log = log_of_completed(orchestrator, f"{script}; true")
    assert "10001\n" in log
    assert "CapEff:\t0000000000000000" in log
    assert "NoNewPrivs:\t1" in log
    assert "/root-is-mine: Read-only file system" in log
    assert "docker.sock: No such file" in log


def test_credentials_are_files_of_the_service_alone(home: Path, engine: EngineProcess, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("tell-nobody")
    with containers(home, engine, credentials={"FLOPS_BROKER_PASSWORD_FILE": str(password)}) as orchestrator:
        script = 'cat "$FLOPS_BROKER_PASSWORD_FILE"; stat -c " %a %u" "$FLOPS_BROKER_PASSWORD_FILE"'
        name = deploy(orchestrator, script)
        wait_for(orchestrator, name, InstanceState.COMPLETED)
        assert orchestrator.logs(name, tail_lines=9) == "tell-nobody 400 10001\n"
        with engine.client() as api:
            assert "tell-nobody" not in str(api.inspect_container(container_name(orchestrator, f"{name}.0")))


def test_services_reach_the_host_but_not_each_other(orchestrator: DockerOrchestrator, engine: EngineProcess) -> None:
    listener = deploy(orchestrator, "echo up; exec nc -ll -p 9000 -e echo private")
    wait_for_ups(orchestrator, listener, 1)
    with engine.client() as api:
        details = api.inspect_container(container_name(orchestrator, f"{listener}.0"))
    (network,) = details["NetworkSettings"]["Networks"].values()
    server = engine.enter(["busybox", "nc", "-ll", "-p", "9001", "-e", "echo", "broker"], None)
    try:
        asked = f"nc -w 3 host.docker.internal 9001 </dev/null; nc -w 3 {network['IPAddress']} 9000 </dev/null; true"
        log = log_of_completed(orchestrator, asked)
    finally:
        server.kill()
        server.wait()
    assert "broker" in log
    assert "private" not in log


def test_containers_that_nobody_knows_are_removed(home: Path, engine: EngineProcess) -> None:
    before = orchestrator_at(home, engine)
    name = deploy(before, OBEDIENT)
    wait_for(before, name, InstanceState.RUNNING)
    before.close()
    with containers(home, engine) as after:
        after._state.leave(name)
        after._state.forget_service(name)
        after.changes(0, 0)
        wait_until(lambda: after._engine.instances() == set(), DEADLINE_S)


def test_volumes_go_with_the_app(orchestrator: DockerOrchestrator, engine: EngineProcess) -> None:
    name = deploy(orchestrator, "true")
    wait_for(orchestrator, name, InstanceState.COMPLETED)
    orchestrator.undeploy(name)
    with engine.client() as api:
        assert volumes(api, orchestrator) == [container_name(orchestrator, f"{name}.0")]
        for app in orchestrator.apps():
            orchestrator.delete_app(app)
        assert volumes(api, orchestrator) == []


def test_an_engine_that_is_not_there_is_named(tmp_path: Path) -> None:
    orchestrator = orchestrator_at(tmp_path, GivenEngine(f"unix://{tmp_path}/docker.sock"))
    started = time.monotonic()
    with pytest.raises(OrchestratorUnavailableError, match=r"docker\.sock cannot be reached: no such file"):
        orchestrator.services()
    assert time.monotonic() - started < DEADLINE_S
    orchestrator.close()


def count_running(orchestrator: DockerOrchestrator, engine: EngineProcess) -> int:
    label = f"fl.flops.installation={orchestrator._state.installation}"
    with engine.client() as api:
        return len(api.containers(filters={"label": label}))


def log_of_completed(orchestrator: DockerOrchestrator, script: str) -> str:
    name = deploy(orchestrator, f"{{ {script}; }} 2>&1")
    wait_for(orchestrator, name, InstanceState.COMPLETED)
    return orchestrator.logs(name, tail_lines=100)


def volumes(api: Any, orchestrator: DockerOrchestrator) -> list[str]:  # noqa: ANN401  the SDK has no types
    label = f"fl.flops.installation={orchestrator._state.installation}"
    found = api.volumes(filters={"label": label})["Volumes"] or []
    return [volume["Name"] for volume in found]
