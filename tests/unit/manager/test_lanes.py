"""Order within a lane, independence between lanes."""

from __future__ import annotations

import itertools
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tests.brokers import wait_until

from flops.manager.lanes import Kind, Lanes
from flops.ports import PendingItem
from flops.project.commands import Announce, CreateApp, ResolveRepository, Undeploy
from flops.project.deployment import App
from flops.wire import events as e
from flops.wire.envelope import Envelope

if TYPE_CHECKING:
    import pytest

EVENT = Envelope(id="e", source="/manager", type="t", time=datetime.now(UTC))


def command(number: int, project: str = "a") -> PendingItem:
    return PendingItem(f"{project}{number}", project, command=CreateApp(App("u", "x")))


def test_items_of_a_project_are_done_in_order() -> None:
    done: list[str] = []
    lanes = Lanes(lambda item, _: done.append(item.id))

    lanes.put([command(number) for number in range(100)])
    wait_until(lambda: len(done) == 100)
    lanes.close()

    assert done == [f"a{number}" for number in range(100)]


def test_a_slow_command_holds_up_neither_events_nor_other_projects() -> None:
    may_end, done = threading.Event(), list[str]()

    def perform(item: PendingItem, _: int) -> None:
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

    def perform(item: PendingItem, _: int) -> None:
        if item.command is None:
            told.set()
        else:
            may_end.wait(10)

    lanes = Lanes(perform, workers=dict.fromkeys(Kind, 2))
    lanes.put([command(1, project) for project in "abcd"])
    lanes.put([PendingItem("event", "e", envelope=EVENT)])

    assert told.wait(5)
    may_end.set()
    lanes.close()


def test_an_item_that_fails_does_not_stop_its_lane() -> None:
    done: list[str] = []

    def perform(item: PendingItem, _: int) -> None:
        if item.id == "a1":
            raise OSError
        done.append(item.id)

    lanes = Lanes(perform)
    lanes.put([command(1), command(2)])
    wait_until(lambda: done == ["a2"])
    lanes.close()


def test_what_waits_to_be_tried_again_occupies_no_worker_and_keeps_its_place() -> None:
    done, attempts = list[str](), list[tuple[str, int]]()

    def perform(item: PendingItem, attempt: int) -> float | None:
        attempts.append((item.id, attempt))
        if item.id == "a1" and attempt < 3:
            return 0.05
        done.append(item.id)
        return None

    lanes = Lanes(perform, workers=dict.fromkeys(Kind, 1))
    lanes.put([command(1), command(2)])
    lanes.put([command(1, "b")])
    wait_until(lambda: len(done) == 3)
    lanes.close()

    assert done == ["b1", "a1", "a2"]
    assert [number for item, number in attempts if item == "a1"] == [1, 2, 3]


def test_forty_projects_whose_repository_hangs_hold_up_neither_another_nor_their_own_removals() -> None:
    may_end, done = threading.Event(), list[str]()

    def perform(item: PendingItem, _: int) -> None:
        if isinstance(item.command, ResolveRepository) and item.command.url == "hangs":
            may_end.wait(10)
        else:
            done.append(item.id)

    lanes = Lanes(perform)
    for number in range(40):
        project = f"p{number}"
        lanes.put([PendingItem(f"{project}:resolve", project, command=ResolveRepository("hangs"))])
        lanes.put([PendingItem(f"{project}:undeploy", project, command=Undeploy("x"))])
    lanes.put([PendingItem("another", "q", command=ResolveRepository("answers"))])

    wait_until(lambda: len(done) == 41)
    assert "another" in done
    may_end.set()
    lanes.close()


def test_nothing_waits_for_a_removal_that_fails_and_it_is_tried_on() -> None:
    may_succeed, done = threading.Event(), list[str]()

    def perform(item: PendingItem, _: int) -> float | None:
        if item.id == "stuck" and not may_succeed.is_set():
            return 0.01
        done.append(item.id)
        return None

    lanes = Lanes(perform)
    lanes.put([PendingItem("stuck", "a", command=Undeploy("x")), command(1)])
    wait_until(lambda: done == ["a1"])
    may_succeed.set()
    wait_until(lambda: done == ["a1", "stuck"])
    lanes.close()


def test_a_removal_waits_for_what_was_before_it_but_not_for_other_removals() -> None:
    may_end, done = threading.Event(), list[str]()

    def perform(item: PendingItem, _: int) -> float | None:
        if item.id in {"a1", "slow"}:
            may_end.wait(10)
        done.append(item.id)
        return None

    lanes = Lanes(perform)
    removals = [PendingItem(name, "a", command=Undeploy(name)) for name in ("slow", "quick")]
    lanes.put([command(1), *removals, command(2)])
    lanes.put([command(1, "b")])
    wait_until(lambda: done == ["b1"])
    may_end.set()
    wait_until(lambda: len(done) == 5)
    lanes.close()

    assert done.index("a1") < min(done.index("slow"), done.index("quick"))
    assert done.index("a1") < done.index("a2")


def test_removals_are_done_at_the_same_time() -> None:
    both_run = threading.Barrier(2, timeout=10)
    done: list[str] = []

    def perform(item: PendingItem, _: int) -> float | None:
        both_run.wait()
        done.append(item.id)
        return None

    lanes = Lanes(perform)
    lanes.put([PendingItem(name, "a", command=Undeploy(name)) for name in ("x", "y")])
    wait_until(lambda: len(done) == 2)
    lanes.close()


def test_a_removal_lets_what_waits_before_it_be_tried_at_once() -> None:
    attempts, done = list[int](), list[str]()

    def perform(item: PendingItem, attempt: int) -> float | None:
        if item.id == "a1" and attempt == 1:
            attempts.append(attempt)
            return 600
        done.append(item.id)
        return None

    lanes = Lanes(perform)
    lanes.put([command(1)])
    wait_until(lambda: attempts == [1])
    lanes.put([PendingItem("removal", "a", command=Undeploy("x"))])

    wait_until(lambda: done == ["a1", "removal"])
    lanes.close()


def test_a_decision_waits_for_no_service() -> None:
    told = threading.Event()

    def perform(item: PendingItem, _: int) -> float | None:
        if isinstance(item.command, Announce):
            told.set()
            return None
        return 600

    lanes = Lanes(perform)
    lanes.put([command(1), PendingItem("word", "a", command=Announce(e.ProjectCancelled()))])

    assert told.wait(5)
    lanes.close()


def test_what_is_dropped_is_not_done_and_can_be_put_again() -> None:
    may_end, done = threading.Event(), list[str]()

    def perform(item: PendingItem, attempt: int) -> float | None:
        if item.id == "a1":
            may_end.wait(10)
        done.append(f"{item.id} {attempt}")
        return 60.0 if item.id == "b1" else None

    lanes = Lanes(perform)
    lanes.put([command(1), command(2), command(1, "b"), command(2, "b")])
    wait_until(lambda: done == ["b1 1"])

    lanes.drop()
    lanes.put([command(3), command(3, "b")])
    may_end.set()
    wait_until(lambda: len(done) == 4)
    lanes.put([command(1, "b")])
    wait_until(lambda: len(done) == 5)
    lanes.close()

    assert sorted(done) == ["a1 1", "a3 1", "b1 1", "b1 1", "b3 1"]


def test_new_projects_begin_when_no_more_of_them_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flops.manager.lanes.BURST_LULL_S", 0.5)
    done: dict[str, float] = {}
    lanes = Lanes(lambda item, _: done.setdefault(item.id, time.monotonic()) and None)

    for number in range(50):
        last = time.monotonic()
        lanes.put_new([command(1, f"p{number}."), command(2, f"p{number}.")])
    lanes.put([command(3, "p49."), command(1, "old")])
    wait_until(lambda: len(done) == 102)
    lanes.close()

    assert done["p49.1"] >= last + 0.5
    assert done["p49.1"] <= done["p49.2"] <= done["p49.3"]
    assert done["old1"] < done["p49.1"]


def test_new_projects_begin_even_if_more_of_them_come_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flops.manager.lanes.BURST_S", 0.2)
    done: set[str] = set()
    lanes = Lanes(lambda item, _: done.add(item.id))
    numbers = itertools.count()

    def another_comes() -> bool:
        lanes.put_new([command(1, f"p{next(numbers)}.")])
        return "p1.1" in done

    wait_until(another_comes)
    lanes.close()


def test_what_is_to_be_stopped_waits_for_no_burst() -> None:
    done: list[str] = []
    lanes = Lanes(lambda item, _: done.append(item.id))

    for number in range(3):
        lanes.put_new([command(1, f"p{number}.")])
    lanes.put([PendingItem("removal", "p2.", command=Undeploy("s"))])
    wait_until(lambda: "removal" in done)
    lanes.close()

    assert done.index("p2.1") < done.index("removal")
