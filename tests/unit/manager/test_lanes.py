"""Order within a lane, independence between lanes."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

from tests.brokers import wait_until

from flops.manager.lanes import Lanes
from flops.ports import PendingItem
from flops.project.commands import Undeploy
from flops.wire.envelope import Envelope

EVENT = Envelope(id="e", source="/manager", type="t", time=datetime.now(UTC))


def command(number: int, project: str = "a") -> PendingItem:
    return PendingItem(f"{project}{number}", project, command=Undeploy("x"))


def test_items_of_a_project_are_done_in_order() -> None:
    done: list[str] = []
    lanes = Lanes(lambda item: done.append(item.id))

    lanes.put([command(number) for number in range(100)])
    wait_until(lambda: len(done) == 100)
    lanes.close()

    assert done == [f"a{number}" for number in range(100)]


def test_a_slow_command_holds_up_neither_events_nor_other_projects() -> None:
    may_end, done = threading.Event(), list[str]()

    def perform(item: PendingItem) -> None:
        if item.id == "a1":
            may_end.wait(10)
        done.append(item.id)

    lanes = Lanes(perform)
    lanes.put([command(1), command(2), PendingItem("event", "a", envelope=EVENT), command(1, "b")])
    wait_until(lambda: sorted(done) == ["b1", "event"])
    may_end.set()
    wait_until(lambda: len(done) == 4)
    lanes.close()

    assert done[2:] == ["a1", "a2"]


def test_slow_commands_of_many_projects_hold_up_no_events() -> None:
    may_end, told = threading.Event(), threading.Event()

    def perform(item: PendingItem) -> None:
        if item.command is None:
            told.set()
        else:
            may_end.wait(10)

    lanes = Lanes(perform, workers=2)
    lanes.put([command(1, project) for project in "abcd"])
    lanes.put([PendingItem("event", "e", envelope=EVENT)])

    assert told.wait(5)
    may_end.set()
    lanes.close()


def test_an_item_that_fails_does_not_stop_its_lane() -> None:
    done: list[str] = []

    def perform(item: PendingItem) -> None:
        if item.id == "a1":
            raise OSError
        done.append(item.id)

    lanes = Lanes(perform)
    lanes.put([command(1), command(2)])
    wait_until(lambda: done == ["a2"])
    lanes.close()
