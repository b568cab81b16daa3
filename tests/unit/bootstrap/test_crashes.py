from __future__ import annotations

from flops.adapters.local_processes.process import ProcessStatus
from flops.bootstrap.crashes import Crashes


class Processes:
    """What the daemon would say of two processes."""

    def __init__(self, **restarts: int) -> None:
        self.restarts = restarts

    def __call__(self) -> list[ProcessStatus]:
        return [ProcessStatus(name, restarts=restarts) for name, restarts in self.restarts.items()]


def test_the_first_crash_is_tolerated_and_the_second_is_not() -> None:
    processes = Processes()
    crashes = Crashes(processes)

    processes.restarts = {"broker": 0, "manager": 1}
    assert crashes.again_and_again({"broker", "manager"}) is None

    processes.restarts["manager"] = 2
    found = crashes.again_and_again({"broker", "manager"})
    assert found is not None
    assert found.id == "manager"


def test_only_what_is_waited_for_counts() -> None:
    processes = Processes()
    crashes = Crashes(processes)

    processes.restarts = {"manager": 5}

    assert crashes.again_and_again({"broker"}) is None


def test_crashes_of_earlier_times_do_not_count() -> None:
    processes = Processes(manager=7)
    crashes = Crashes(processes)

    processes.restarts["manager"] = 8
    assert crashes.again_and_again({"manager"}) is None

    processes.restarts["manager"] = 9
    assert crashes.again_and_again({"manager"}) is not None


def test_a_process_that_is_specified_anew_counts_from_the_beginning() -> None:
    processes = Processes(manager=7)
    crashes = Crashes(processes)

    processes.restarts["manager"] = 0
    assert crashes.again_and_again({"manager"}) is None

    processes.restarts["manager"] = 2
    assert crashes.again_and_again({"manager"}) is not None
