"""Given what is recorded of an instance and what the swarm says, then the next step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from flops.adapters.docker_engine.container import ContainerSpec
from flops.adapters.docker_engine.endings import Ending
from flops.adapters.docker_engine.state import Status, Supervised
from flops.adapters.docker_engine.swarm.judgement import (
    BOUND,
    End,
    Interrupt,
    Move,
    Start,
    Step,
    Stop,
    TellRunning,
    Wait,
    next_step,
)
from flops.adapters.docker_engine.swarm.members import DEPLOYMENT, Seen, SwarmNode, Task
from flops.project.deployment import InstanceState, Resources

MOVABLE = ContainerSpec("observ.0", "observ", "north", "image", labels={DEPLOYMENT: "1"})
HELD = replace(MOVABLE, labels={DEPLOYMENT: "1", BOUND: "true"})
NORTH = SwarmNode("n1", "north", frozenset(), "10.0.0.1", 4, is_reached=True, is_usable=True)
AWAY = replace(NORTH, is_reached=False, is_usable=False)
DRAINED = replace(NORTH, is_usable=False)
RUNNING = Status(InstanceState.RUNNING, run="t1")
DUE = Status(InstanceState.SCHEDULED, run="t1", ended_run="t1")


def task(state: str, **fields: Any) -> Task:  # noqa: ANN401  any field of a task
    known: dict[str, Any] = {
        "id": "t1", "instance": "observ.0", "deployment": "1", "node_id": "n1", "reason": "", "exit_code": None,
        "created": 1.0, "changed": 2.0, "is_parked": False, "is_wanted": True,
    }  # fmt: skip
    return Task(**{**known, "state": state, **fields})


def step(status: Status, *tasks: Task, spec: ContainerSpec = MOVABLE, node: SwarmNode = NORTH) -> Step:
    return next_step(Supervised(spec, status), Seen({node.id: node}, {"observ.0": tasks}))


def test_what_was_deployed_is_started() -> None:
    assert step(Status()) == Start()


@pytest.mark.parametrize("state", ["assigned", "preparing", "starting"])
def test_what_is_starting_is_waited_for(state: str) -> None:
    assert step(Status(), task(state)) == Wait()


def test_what_runs_is_told_once() -> None:
    running = task("running", exit_code=0)
    assert step(Status(), running) == TellRunning(running)
    assert step(RUNNING, running) == Wait()


def test_a_run_that_ended_before_it_was_seen_is_told_to_have_run() -> None:
    ended = task("complete", exit_code=0)
    assert step(Status(), ended) == TellRunning(ended)
    assert step(RUNNING, ended) == End(Ending("t1", "", 0))


def test_a_crash_is_told_with_its_exit_code() -> None:
    crashed = task("failed", exit_code=3, reason="task: non-zero exit (3)")
    assert step(RUNNING, crashed) == End(Ending("t1", "exit code 3", 3))


def test_a_limit_of_memory_is_named_where_it_may_be_the_reason() -> None:
    limited = replace(MOVABLE, limits=Resources(memory_mb=2048))
    killed = task("failed", exit_code=137, reason="task: non-zero exit (137)")
    assert step(RUNNING, killed) == End(Ending("t1", "killed by SIGKILL", 137))
    found = step(RUNNING, killed, spec=limited)
    assert isinstance(found, End)
    assert "more than 2,048 MB of memory" in found.ending.reason


def test_what_cannot_be_started_is_told_with_the_reason_of_the_swarm() -> None:
    rejected = task("rejected", reason="No such image: nobody/nothing:1")
    assert step(Status(), rejected) == End(Ending("t1", "No such image: nobody/nothing:1"))


@pytest.mark.parametrize(
    "ended",
    [
        task("failed", exit_code=143, reason="task: non-zero exit (143)"),
        task("failed", exit_code=0, reason="No such container: flops-x.1.t1"),
        task("shutdown", exit_code=0),
        task("orphaned"),
    ],
)
def test_who_was_stopped_from_outside_has_not_crashed(ended: Task) -> None:
    assert isinstance(step(RUNNING, ended), Interrupt)


def test_the_next_run_begins_once_the_former_has_ended() -> None:
    assert step(DUE, task("running", exit_code=0, is_wanted=False)) == Wait()
    assert step(DUE, task("shutdown", exit_code=0)) == Start()


def test_a_run_that_is_over_is_stopped_where_the_swarm_does_not_know_that() -> None:
    assert step(DUE, task("running", exit_code=0)) == Stop()
    assert step(DUE, task("running", exit_code=0), spec=HELD) == Stop()


def test_a_node_that_does_not_answer_is_told() -> None:
    assert isinstance(step(RUNNING, task("running", exit_code=0), node=AWAY), Interrupt)
    assert isinstance(step(RUNNING, task("running", exit_code=0, node_id="gone")), Interrupt)


def test_what_is_not_bound_moves_though_its_twin_may_run() -> None:
    assert step(DUE, task("running", exit_code=0), node=AWAY) == Move()
    assert step(DUE, task("shutdown", exit_code=0), node=DRAINED) == Move()


def test_what_is_bound_waits_for_its_node() -> None:
    for node in (AWAY, DRAINED):
        found = step(DUE, task("shutdown", exit_code=0), spec=HELD, node=node)
        assert isinstance(found, Wait)
        assert "'north'" in found.reason


def test_why_no_node_takes_a_task_is_told() -> None:
    full = "no suitable node (insufficient resources on 1 node)"
    assert step(Status(), task("pending", node_id="", reason=full)) == Wait(full)
    assert isinstance(step(Status(), task("pending", node_id=""), node=DRAINED), Interrupt)


def test_tasks_that_are_parked_or_of_a_former_service_of_that_name_do_not_count() -> None:
    assert step(Status(), task("complete", deployment="0"), task("pending", is_parked=True)) == Start()


def test_a_service_that_somebody_removed_has_crashed() -> None:
    found = step(RUNNING)
    assert isinstance(found, End)
    assert found.ending.reason == "its service was removed from the swarm"


def test_of_two_nodes_of_a_name_the_one_that_answers_counts() -> None:
    again = replace(NORTH, id="n2")
    seen = Seen({"n1": AWAY, "n2": again})
    assert seen.named("north") == again
    assert seen.usable() == [again]
