"""Whatever is killed in the middle of a project: the project goes on, or ends and says why."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.system.rehearsal import Rehearsal, Stage, kill_and_await, kill_instance, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.conftest import Tell
    from tests.system.installation import Installation, Outcome

    Start = Callable[[dict[str, Any]], Rehearsal]

MAX_RESTARTS = 3

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(600)]


def assert_completed(outcome: Outcome, rounds: int) -> None:
    assert outcome.exit_code == 0, outcome.entries[-3:]
    assert [entry["data"]["round"] for entry in outcome.of_type("round.finished")] == list(range(1, rounds + 1))


def assert_nothing_twice(outcome: Outcome) -> None:
    services = [entry["data"]["service"] for entry in outcome.of_type("service.deployed")]
    assert len(services) == len(set(services))


@pytest.mark.parametrize("killed", ["aggr", "observ", "manager", "broker"])
def test_a_training_goes_on_whoever_is_killed(
    house: Installation, start: Start, stage: Stage, tell: Tell, killed: str
) -> None:
    stage.set_up().hold(2)
    project = start(stage.sla(rounds=3))
    stage.await_fitting(2)
    died = time.monotonic()
    kill_and_await(house, killed if killed in {"manager", "broker"} else project.service(killed))
    stage.release(2)
    project.await_entry("round.finished", "Round 2/3")
    recovery_s = time.monotonic() - died

    outcome = project.end()

    tell(f"{killed} killed in a round", times=1, lost=0, recoveries=[recovery_s])
    assert_completed(outcome, rounds=3)
    assert_nothing_twice(outcome)


@pytest.mark.parametrize("killed", ["builder", "manager", "broker"])
def test_a_build_goes_on_whoever_is_killed(
    house: Installation, start: Start, stage: Stage, tell: Tell, killed: str
) -> None:
    stage.set_up().hold("clone")
    project = start(stage.sla(rounds=1, ml_repo_url=stage.slow_url))
    stage.await_cloning()
    project.await_entry("phase.entered", "Building")  # whoever follows it is connected
    died = time.monotonic()
    kill_and_await(house, project.service(killed) if killed == "builder" else killed)
    if killed == "builder":
        stage.await_cloning(2)
    stage.release("clone")
    project.await_entry("build.step-finished", "Cloned")
    recovery_s = time.monotonic() - died

    outcome = project.end()

    tell(f"{killed} killed in a build", times=1, lost=0, recoveries=[recovery_s])
    assert_completed(outcome, rounds=1)
    assert_nothing_twice(outcome)
    assert len(outcome.of_type("image.built")) == 2


def test_all_learners_killed_again_and_again(house: Installation, start: Start, stage: Stage, tell: Tell) -> None:
    stage.set_up().hold(1)
    project = start(stage.sla())
    stage.await_fitting(1)
    name = project.service("flearner").removesuffix(".0")
    begun, kills = time.monotonic(), 0

    def is_over_after_another_kill() -> bool:
        nonlocal kills
        for instance in (f"{name}.0", f"{name}.1"):
            for process in house.instances(instance):
                process.kill()
                kills += 1
        return project.follower.poll() is not None

    until(is_over_after_another_kill, "the project ends")

    outcome = project.end()

    more = f"failed after {time.monotonic() - begun:.1f} s, naming them"
    tell("all learners killed, and again whenever they were back", times=kills, lost=0, more=more)
    assert outcome.last["event_type"] == "project.failed"
    assert "learner" in outcome.last["text"]
    assert outcome.last["next_step"]


def test_one_learner_too_few_for_good(house: Installation, start: Start, stage: Stage, tell: Tell) -> None:
    stage.set_up().hold(1)
    project = start(stage.sla(minimum=2))
    stage.await_fitting(1)
    instance = project.service("flearner")
    for restarts in range(1, MAX_RESTARTS + 1):
        kill_and_await(house, instance)
        project.await_entry("instance.restarted", f"({restarts})")
    kill_instance(house, instance)
    died = time.monotonic()
    project.await_entry("instance.failed")
    stage.release(1)

    outcome = project.end()

    more = f"failed after {time.monotonic() - died:.1f} s, naming it"
    tell("learner that the project needs killed for good", times=MAX_RESTARTS + 1, lost=0, more=more)
    assert outcome.last["event_type"] == "project.failed"
    assert instance in outcome.last["text"]
