from __future__ import annotations

from dataclasses import replace

import pytest

from flops.adapters.docker_engine.container import Container, ContainerSpec
from flops.adapters.docker_engine.endings import Ending, ending_of, wait_s, was_stopped
from flops.adapters.docker_engine.state import Status
from flops.project.deployment import InstanceState, Resources

RUN = "2026-11-27T01:45:37.1Z"
RUNNING = Status(InstanceState.RUNNING, run=RUN)
SPEC = ContainerSpec("observ.0", "observ", "local", "image", limits=Resources(memory_mb=2048))
EXITED = Container("c1", RUN, is_running=False, exit_code=0, is_out_of_memory=False, ended=RUN)


@pytest.mark.parametrize(
    ("exit_code", "reason"),
    [
        (3, "exit code 3"),
        (137, "killed by SIGKILL"),
        (139, "killed by SIGSEGV"),
        (128, "exit code 128"),
        (255, "exit code 255"),
    ],
)
def test_an_exit_code_says_what_killed_it(exit_code: int, reason: str) -> None:
    assert ending_of(SPEC, replace(EXITED, exit_code=exit_code)).reason == reason


def test_who_ends_well_is_completed() -> None:
    status = ending_of(SPEC, EXITED).after(RUNNING, max_restarts=3)
    assert status == replace(RUNNING, state=InstanceState.COMPLETED, exit_code=0, ended_run=RUN)


def test_crashes_are_counted_up_to_the_limit() -> None:
    crash = Ending(RUN, "exit code 3", 3)
    first = crash.after(RUNNING, max_restarts=1)
    assert (first.state, first.restarts, first.ended_run) == (InstanceState.SCHEDULED, 1, RUN)
    second = crash.after(first, max_restarts=1)
    assert (second.state, second.restarts, second.reason) == (InstanceState.FAILED, 1, "exit code 3")


def test_crashes_before_a_long_run_do_not_count() -> None:
    stable = replace(RUNNING, restarts=5, runs_in_a_row=0)
    status = Ending(RUN, "exit code 3", 3).after(stable, max_restarts=1)
    assert (status.state, status.restarts) == (InstanceState.SCHEDULED, 6)


def test_who_takes_too_much_memory_is_not_tried_again() -> None:
    ending = ending_of(SPEC, replace(EXITED, exit_code=137, is_out_of_memory=True))
    assert ending.reason == "used more than 2,048 MB of memory"
    assert ending.after(RUNNING, max_restarts=3).state is InstanceState.FAILED


def test_a_stop_is_no_crash() -> None:
    status = was_stopped(replace(RUNNING, restarts=2, runs_in_a_row=2), RUN)
    assert (status.state, status.restarts, status.runs_in_a_row) == (InstanceState.SCHEDULED, 2, 2)
    assert "Docker Engine" in status.reason


def test_waits_grow_up_to_two_seconds() -> None:
    assert [wait_s(runs) for runs in (1, 2, 3, 4, 5, 6)] == [0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
