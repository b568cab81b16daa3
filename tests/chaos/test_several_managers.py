"""Two managers: one is killed or hangs, the other one takes over, and nothing is lost or done twice."""

from __future__ import annotations

import json
import time
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from tests.mongodb import new_database, start_server
from tests.system.installation import Installation
from tests.system.rehearsal import Rehearsal, Stage, put_rows, slow_git, until

from flops.bootstrap import adapters
from flops.manager.succession import INTAKE
from flops.settings import Settings
from flops.wire.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.chaos.conftest import Tell
    from tests.system.installation import Outcome

    from flops.ports import Store

    Rehearsing = Callable[[Installation, dict[str, Any]], Rehearsal]

MANAGERS = {"manager", "manager-2"}
LEASE_S = 4.0
TAKES_OVER_WITHIN_S = LEASE_S + 6.0

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(600)]


@contextmanager
def two_managers(directory: Path, **settings: str) -> Iterator[Installation]:
    """An installation with two managers; in the end down, and nothing survives."""
    leases = {"FLOPS_MANAGER_LEASE_S": str(LEASE_S), "FLOPS_SERVICE_LEASE_S": "5"}
    made = Installation(directory / "home", {"FLOPS_MANAGERS": "2", **leases, **slow_git(directory), **settings})
    try:
        made.ok("up")
        put_rows(made, directory)
        yield made
    finally:
        made.ok("down")
        assert made.processes() == []


@pytest.fixture(scope="module")
def firm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Two managers on SQLite."""
    with two_managers(tmp_path_factory.mktemp("firm")) as made:
        yield made


@pytest.fixture
def firm_on_mongodb(tmp_path: Path) -> Iterator[Installation]:
    """Two managers on a server that speaks MongoDB's protocol."""
    server = start_server(tmp_path / "server")
    try:
        with two_managers(tmp_path, FLOPS_STORE_URL=new_database(server)) as made:
            yield made
    finally:
        server.kill()


def assert_whole(outcome: Outcome, rounds: int) -> None:
    """Completed, with every round and nothing deployed twice; the inbox's numbers were checked at its end."""
    assert outcome.exit_code == 0, outcome.entries[-3:]
    assert [entry["data"]["round"] for entry in outcome.of_type("round.finished")] == list(range(1, rounds + 1))
    services = [entry["data"]["service"] for entry in outcome.of_type("service.deployed")]
    assert len(services) == len(set(services))


@contextmanager
def memory_of(firm: Installation) -> Iterator[Store]:
    """What the managers know."""
    with closing(adapters.store(Settings.from_environment(firm.environment))) as store:
        yield store


def owner_of(firm: Installation, project_id: str) -> str:
    """The manager that takes care of a project."""
    with memory_of(firm) as store:
        record = store.load(project_id)
        return record.owner if record else ""


def holder(firm: Installation) -> str:
    """The manager that takes new projects on."""
    with memory_of(firm) as store:
        return store.holder(INTAKE)


def await_both(firm: Installation) -> None:
    """Return once both managers give signs of life again."""
    with memory_of(firm) as store:
        until(lambda: store.beats().keys() == MANAGERS, "both managers live")


def keep_killed(firm: Installation, manager: str, is_over: Callable[[], bool]) -> float:
    """Kill -9 a manager, and again whenever it is started, until something holds; returns how long that took."""
    began = time.monotonic()

    def is_over_after_another_kill() -> bool:
        for process in firm.instances(manager):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        return is_over()

    until(is_over_after_another_kill, f"{manager} is replaced", TAKES_OVER_WITHIN_S)
    return time.monotonic() - began


@pytest.mark.parametrize("name", ["firm", "firm_on_mongodb"])
def test_a_training_goes_on_when_its_manager_is_killed_for_good(
    request: pytest.FixtureRequest, rehearsing: Rehearsing, stage: Stage, tell: Tell, name: str
) -> None:
    firm: Installation = request.getfixturevalue(name)
    stage.set_up().hold(2)
    project = rehearsing(firm, stage.sla(rounds=3))
    stage.await_fitting(2)
    former = owner_of(firm, project.project_id)

    took_s = keep_killed(firm, former, lambda: owner_of(firm, project.project_id) != former)
    stage.release(2)
    outcome = project.end()

    tell(f"one of two managers killed for good, lease {LEASE_S:g} s ({name})", times=1, lost=0, recoveries=[took_s])
    assert_whole(outcome, rounds=3)
    assert owner_of(firm, project.project_id) != former
    await_both(firm)


@pytest.mark.parametrize("held", ["clone", 2])
def test_a_manager_that_hangs_and_wakes_does_nothing_twice(
    firm: Installation, rehearsing: Rehearsing, stage: Stage, tell: Tell, held: str | int
) -> None:
    stage.set_up().hold(held)
    url = stage.slow_url if held == "clone" else stage.repository
    project = rehearsing(firm, stage.sla(rounds=3, ml_repo_url=url))
    stage.await_cloning() if held == "clone" else stage.await_fitting(2)
    former = owner_of(firm, project.project_id)
    process = firm.instances(former)[0]

    began = time.monotonic()
    process.suspend()
    until(lambda: owner_of(firm, project.project_id) != former, "the other one takes over", TAKES_OVER_WITHIN_S)
    took_s = time.monotonic() - began
    stage.release(held)
    project.await_entry("round.finished")
    process.resume()
    outcome = project.end()

    assert_whole(outcome, rounds=3)
    assert process.is_running()
    tell(f"one of two managers stopped and woken at {held}, lease {LEASE_S:g} s", times=1, lost=0, recoveries=[took_s])
    assert owner_of(firm, project.project_id) != former
    await_both(firm)


def test_a_command_that_was_interrupted_is_done_by_the_other_manager_alone(
    firm: Installation, rehearsing: Rehearsing, stage: Stage, tell: Tell
) -> None:
    stage.set_up()
    (former,) = (name for name in MANAGERS if name == holder(firm))
    process = firm.instances(former)[0]
    project = rehearsing(firm, stage.sla(rounds=2))

    process.suspend()
    until(lambda: owner_of(firm, project.project_id) != former, "the other one takes over", TAKES_OVER_WITHIN_S)
    process.resume()
    outcome = project.end()

    tell("one of two managers stopped at a command and woken", times=1, lost=0)
    assert_whole(outcome, rounds=2)
    await_both(firm)


@pytest.mark.parametrize("hangs", [False, True])
def test_a_bare_request_that_comes_while_nobody_takes_any_makes_one_project(
    firm: Installation, stage: Stage, tell: Tell, *, hangs: bool
) -> None:
    sla = {**stage.set_up().sla(rounds=1), "customerID": f"bare-{hangs}"}
    former = holder(firm)
    process = firm.instances(former)[0]
    process.suspend() if hangs else process.kill()
    publish(firm, sla)

    if hangs:
        until(lambda: holder(firm) != former, "the other one takes over", TAKES_OVER_WITHIN_S)
        process.resume()
    else:
        keep_killed(firm, former, lambda: holder(firm) != former)
    await_both(firm)

    until(lambda: projects_of(firm, sla), "the project is there")
    (project,) = projects_of(firm, sla)
    until(lambda: projects_of(firm, sla)[0]["phase"] == "completed", f"{project['project_id']} completes")
    tell(f"bare request while the intake {'hangs' if hangs else 'is dead'}", times=1, lost=0)
    assert len(projects_of(firm, sla)) == 1


def test_a_request_is_answered_by_whoever_is_left(firm: Installation, rehearsing: Rehearsing, stage: Stage) -> None:
    stage.set_up()
    former = holder(firm)
    process = firm.instances(former)[0]
    process.suspend()

    project = rehearsing(firm, stage.sla(rounds=1))
    process.resume()

    assert_whole(project.end(), rounds=1)
    assert owner_of(firm, project.project_id) != former


def test_an_aggregator_that_hangs_is_started_again(firm: Installation, rehearsing: Rehearsing, stage: Stage) -> None:
    stage.set_up().hold(2)
    project = rehearsing(firm, stage.sla(rounds=3))
    stage.await_fitting(2)
    aggregator = project.service("aggr")
    firm.instances(aggregator)[0].suspend()

    project.await_entry("lease.ended", aggregator)
    project.await_entry("instance.restarted", aggregator)
    stage.release(2)

    outcome = project.end()

    assert_whole(outcome, rounds=3)


def publish(firm: Installation, sla: dict[str, Any]) -> None:
    """Publish a bare SLA, as 'mosquitto_pub' does."""
    settings = replace(Settings.from_environment(firm.environment), max_payload_bytes=1_000_000, chunk_bytes=1000)
    bus = adapters.connect(settings, f"bare-{time.monotonic_ns()}", persistent=False)
    bus.publish(Topics().project_start(), json.dumps(sla).encode())
    assert bus.flush(10)
    bus.close()


def projects_of(firm: Installation, sla: dict[str, Any]) -> list[dict[str, Any]]:
    """The projects of the user whom an SLA names."""
    listed = firm.ok("project", "list")
    return [project for project in listed if project["user"] == sla["customerID"]]
