"""Managers that come, hang and go: what each may do, and who takes care of what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from flops.adapters.sqlite_store import SqliteStore
from flops.errors import StoreUnavailableError
from flops.manager.clock import SteadyClock
from flops.manager.kept import SomebodyElsesError
from flops.manager.lease import Lease
from flops.manager.projects import Projects
from flops.manager.succession import HANDLED_WITHIN_S, INTAKE, Succession
from flops.ports import PendingItem, ProjectRecord
from flops.project.commands import Undeploy
from flops.project.glance import first_status
from flops.project.state import Deadlines, Phase, Project
from flops.wire.events import CancellationRequested

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LEASE_S = 10.0
PROJECT = "a" * 24
OTHER = "b" * 24


class Time:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeLanes:
    """Remembers what is queued."""

    def __init__(self) -> None:
        self.queued: list[str] = []

    def put(self, items: Sequence[PendingItem]) -> None:
        self.queued += [item.id for item in items]

    def drop(self) -> None:
        self.queued.clear()


class UnsureStore(SqliteStore):
    """Does what it is told, but for a while its answers are lost."""

    is_unsure = False

    def save(self, record: ProjectRecord, **news: Any) -> ProjectRecord:  # noqa: ANN401  handed on as it is
        saved = super().save(record, **news)
        self._lose_answer()
        return saved

    def adopt(self, former: str, owner: str) -> list[str]:
        adopted = super().adopt(former, owner)
        self._lose_answer()
        return adopted

    def _lose_answer(self) -> None:
        if self.is_unsure:
            raise StoreUnavailableError("test", "it does not answer")


@dataclass
class Candidate:
    """One of several managers on one store."""

    name: str
    path: Path
    time: Time

    def __post_init__(self) -> None:
        self.store = UnsureStore(self.path)
        self.lease = Lease(self.store, self.name, LEASE_S, self.time)
        self.lanes = FakeLanes()
        self.projects = Projects(self.store, Deadlines(), self.lanes.put, owner=self.name)
        self.welcomed: list[tuple[str, list[str]]] = []
        self.succession = Succession(
            store=self.store,
            lease=self.lease,
            projects=self.projects,
            lanes=self.lanes,  # type: ignore[arg-type]  # a double
            on_adopted=lambda former, adopted: self.welcomed.append((former, list(adopted))),
            clock=self.time,
        )

    def live(self) -> None:
        """Do once what is done every other second."""
        self.succession.beat()
        self.succession.look_after_others()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def first(tmp_path: Path, time: Time) -> Candidate:
    return Candidate("manager", tmp_path / "flops.db", time)


@pytest.fixture
def second(tmp_path: Path, time: Time) -> Candidate:
    return Candidate("manager-2", tmp_path / "flops.db", time)


def save(candidate: Candidate, project_id: str = PROJECT, *, owner: str = "") -> None:
    status = first_status(project_id, "2026-01-01T00:00:00+00:00")
    record = ProjectRecord(Project(project_id, phase=Phase.CHECKING), status, owner=owner or candidate.name)
    item = PendingItem(f"{project_id}:item", project_id, command=Undeploy("aggr"))
    candidate.store.save(record, pending=[item])


def owner_of(candidate: Candidate, project_id: str = PROJECT) -> str:
    record = candidate.store.load(project_id)
    assert record is not None
    return record.owner


def pass_time(time: Time, seconds: float, *living: Candidate) -> None:
    """Let time pass in steps in which some managers go on living."""
    for _ in range(round(seconds)):
        time.now += 1
        for candidate in living:
            candidate.live()


class TestLease:
    def test_it_ends_by_itself_after_the_last_sign_of_life(self, first: Candidate, time: Time) -> None:
        first.live()
        term = first.lease.term

        time.now += LEASE_S - 0.1
        assert first.lease.holds(term)
        time.now += 0.1
        assert not first.lease.is_held

    def test_who_was_stopped_has_to_look_first(self, first: Candidate, time: Time) -> None:
        first.live()
        term = first.lease.term
        time.now += LEASE_S * 3
        save(first)

        first.live()

        assert first.lease.is_held
        assert not first.lease.holds(term)
        assert first.lanes.queued == [f"{PROJECT}:item"]

    def test_without_the_store_it_is_not_renewed(self, first: Candidate, time: Time) -> None:
        first.live()
        first.store.close()
        time.now += LEASE_S - 1

        with pytest.raises(StoreUnavailableError):
            first.live()

        time.now += 1
        assert not first.lease.is_held

    def test_a_slow_sign_of_life_counts_from_its_beginning(self, first: Candidate, time: Time) -> None:
        first.live()
        term = first.lease.term
        beat = first.store.beat

        def slowly(manager: str) -> None:
            beat(manager)
            time.now += LEASE_S + 1

        first.store.beat = slowly  # type: ignore[method-assign]
        first.succession.beat()

        assert not first.lease.is_held
        first.store.beat = beat  # type: ignore[method-assign]
        first.live()
        assert first.lease.is_held
        assert not first.lease.holds(term)


class TestOffice:
    def test_the_first_one_takes_it_and_what_nobody_owns(self, first: Candidate, second: Candidate) -> None:
        save(first, owner="nobody yet")
        first.store.adopt("nobody yet", "")

        first.live()
        second.live()

        assert first.succession.is_holder
        assert second.succession.holder == "manager"
        assert owner_of(first) == "manager"
        assert first.lanes.queued == [f"{PROJECT}:item"]

    def test_it_stays_with_who_lives(self, first: Candidate, second: Candidate, time: Time) -> None:
        first.live()
        second.live()

        pass_time(time, LEASE_S * 3, first, second)

        assert first.succession.is_holder
        assert second.welcomed == []

    def test_who_does_not_hold_it_may_not_take_projects_on(self, first: Candidate, second: Candidate) -> None:
        first.live()
        second.live()

        first.succession.make_sure_of_office()
        with pytest.raises(SomebodyElsesError, match="manager"):
            second.succession.make_sure_of_office()

    def test_who_has_lost_it_finds_out_before_it_takes_a_project_on(
        self, first: Candidate, second: Candidate, time: Time
    ) -> None:
        first.live()
        second.live()
        pass_time(time, LEASE_S + 1, second)

        assert first.succession.is_holder
        with pytest.raises(SomebodyElsesError, match="manager-2"):
            first.succession.make_sure_of_office()

    def test_who_leaves_leaves_it_at_once(self, first: Candidate, second: Candidate, time: Time) -> None:
        save(first)
        first.live()
        second.live()
        pass_time(time, 2, first, second)

        first.succession.resign()
        second.live()

        assert second.succession.is_holder
        assert owner_of(second) == "manager-2"
        assert second.lanes.queued == [f"{PROJECT}:item"]

    def test_who_is_alone_keeps_it(self, first: Candidate) -> None:
        save(first)
        first.live()

        first.succession.resign()

        assert first.store.holder(INTAKE) == "manager"
        assert owner_of(first) == "manager"


class TestAdoption:
    def test_what_a_dead_manager_has_left_undone_is_done(self, first: Candidate, second: Candidate, time: Time) -> None:
        save(first)
        save(second, OTHER)
        first.live()
        second.live()

        pass_time(time, LEASE_S - 1, second)
        assert owner_of(second) == "manager"
        pass_time(time, 2, second)

        assert owner_of(second) == "manager-2"
        assert second.succession.is_holder
        assert second.welcomed == [("manager", [PROJECT])]
        assert second.lanes.queued == [f"{OTHER}:item", f"{PROJECT}:item"]
        assert "manager" not in second.store.beats()

    def test_who_comes_back_in_time_goes_on(self, first: Candidate, second: Candidate, time: Time) -> None:
        save(first)
        first.live()
        second.live()
        pass_time(time, LEASE_S - 2, second)
        successor = Candidate("manager", first.path, time)

        successor.live()
        pass_time(time, LEASE_S * 2, successor, second)

        assert owner_of(second) == "manager"
        assert successor.succession.is_holder
        assert successor.lanes.queued == [f"{PROJECT}:item"]

    def test_who_was_replaced_changes_nothing_any_more(self, first: Candidate, second: Candidate, time: Time) -> None:
        save(first)
        first.live()
        second.live()
        pass_time(time, LEASE_S + 1, second)

        record = first.projects.happened(PROJECT, CancellationRequested(), event_id="late")

        assert record
        assert record.owner == "manager-2"
        assert not second.store.has_event(PROJECT, "late")
        first.live()
        assert first.lanes.queued == []
        assert not first.succession.is_holder

    def test_who_was_stopped_itself_gives_the_others_a_whole_lease(
        self, first: Candidate, second: Candidate, time: Time
    ) -> None:
        save(first)
        first.live()
        second.live()

        time.now += LEASE_S * 2  # the machine slept, and this one woke first
        second.live()
        pass_time(time, LEASE_S - 1, second)
        first.live()
        pass_time(time, LEASE_S * 2, first, second)

        assert owner_of(second) == "manager"

    def test_an_owner_that_has_never_lived_is_replaced_too(self, first: Candidate, time: Time) -> None:
        save(first, owner="long gone")
        first.live()
        first.succession.watch_for("long gone")

        pass_time(time, LEASE_S + 1, first)

        assert owner_of(first) == "manager"
        assert first.lanes.queued == [f"{PROJECT}:item"]

    def test_of_two_heirs_each_project_has_one(
        self, first: Candidate, second: Candidate, time: Time, tmp_path: Path
    ) -> None:
        third = Candidate("manager-3", tmp_path / "flops.db", time)
        save(first)
        for candidate in (first, second, third):
            candidate.live()

        pass_time(time, LEASE_S + 1, second, third)

        assert len(second.lanes.queued + third.lanes.queued) == 1
        assert sum(candidate.succession.is_holder for candidate in (second, third)) == 1

    def test_a_request_for_somebody_elses_project_is_met_by_taking_it_over(
        self, first: Candidate, second: Candidate
    ) -> None:
        save(first)
        first.live()
        second.live()

        record = second.projects.requested(PROJECT, CancellationRequested(by="Ada"), event_id="cancel")

        assert record
        assert record.owner == "manager-2"
        assert record.project.phase is Phase.STOPPING
        assert second.lanes.queued[0] == f"{PROJECT}:item"
        assert first.store.pending("manager") == []


class TestLostAnswers:
    def test_what_was_saved_all_the_same_is_queued(self, first: Candidate) -> None:
        save(first)
        first.live()
        first.store.is_unsure = True
        with pytest.raises(StoreUnavailableError):
            first.projects.happened(PROJECT, CancellationRequested(), event_id="x")
        first.store.is_unsure = False

        first.live()

        assert len(first.lanes.queued) > 1
        assert set(first.lanes.queued) == {item.id for item in first.store.pending("manager")}
        assert first.welcomed == [("", [PROJECT])]

    def test_what_was_adopted_all_the_same_is_queued(self, first: Candidate, second: Candidate, time: Time) -> None:
        save(first)
        first.live()
        second.live()
        pass_time(time, LEASE_S - 1, second)
        second.store.is_unsure = True
        time.now += 1
        second.succession.beat()
        with pytest.raises(StoreUnavailableError):
            second.succession.look_after_others()
        second.store.is_unsure = False

        second.live()

        assert owner_of(second) == "manager-2"
        assert second.lanes.queued == [f"{PROJECT}:item"]


def test_a_manager_has_outlived_what_came_well_before_its_last_sign_of_life(
    first: Candidate, second: Candidate, time: Time
) -> None:
    first.live()
    second.live()
    came = time.now

    pass_time(time, HANDLED_WITHIN_S, first, second)
    assert not second.succession.has_outlived("manager", came)
    pass_time(time, 1, first, second)
    assert second.succession.has_outlived("manager", came)
    assert not second.succession.has_outlived("manager-2", came)
    assert not second.succession.has_outlived("somebody", came)


@pytest.mark.parametrize("jump_s", [3600, -3600])
def test_the_managers_time_goes_on_steadily_while_the_wall_clock_jumps(jump_s: float) -> None:
    wall, elapsed = Time(), Time()
    now = SteadyClock(wall, elapsed)
    assert now() == wall.now

    wall.now += jump_s
    elapsed.now += 5

    assert now() == 1005.0
