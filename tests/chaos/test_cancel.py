"""Cancelled and deleted at any moment, also while it ends by itself: one end, and nothing is left."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import pytest
from tests.brokers import wait_until

from flops.errors import NotFoundError
from flops.wire.requests import CancelProject, DeleteProject, ListProjects, ShowProject

if TYPE_CHECKING:
    from tests.chaos.conftest import Tell
    from tests.chaos.house import House, Performance

STOPPED_WITHIN_S: Final = 10.0
ACTORS: Final = {"aggr", "flearner"}
QUIET_S: Final = 1.0


@pytest.fixture(scope="module")
def commits(scripted: House) -> int:
    """How many commits a project takes that nobody cancels."""
    return len(scripted.saves(scripted.perform("uncancelled").project_id))


def cancelled_at(house: House, number: int) -> tuple[Performance, float]:
    """A project that is cancelled as soon as it has so many commits; how it went, and how long it took to stop."""
    project_id = house.start(f"cancelled-{number}")
    wait_until(lambda: len(house.saves(project_id)) >= number or is_over(house, project_id), 60)
    begun = time.monotonic()
    answered = house.ask("cancel", CancelProject(project_id=project_id, by="Ada"))
    performance = house.end(project_id)
    took_s = time.monotonic() - begun
    outcome = performance.status["phase"]
    assert outcome in {"cancelled", "completed"}
    assert answered["outcome"] == outcome
    again = house.ask("cancel", CancelProject(project_id=project_id, by="Bob"))
    assert (again["phase"], len(house.entries(project_id))) == (outcome, len(performance.entries))
    assert_actors_were_seen_stopping(performance)
    return performance, took_s


def assert_actors_were_seen_stopping(performance: Performance) -> None:
    """Where the training was cancelled, the inbox names each part of it that was deployed and has been stopped."""
    stages = [entry["stage"] for entry in performance.entries if entry["event_type"] == "phase.entered"]
    if stages[-2:] == ["training", "stopping"] and performance.status["phase"] == "cancelled":
        named = {
            event_type: {entry["data"]["service"] for entry in performance.entries if entry["event_type"] == event_type}
            for event_type in ("service.deployed", "service.removed")
        }
        actors = {f"{prefix}{performance.project_id[:12]}" for prefix in ACTORS}
        assert named["service.deployed"] & actors <= named["service.removed"]


def is_over(house: House, project_id: str) -> bool:
    return any(phase in {"completed", "cancelled"} for _, phase in house.saves(project_id))


def assert_nothing_is_left(house: House, deleted: list[str]) -> None:
    """Neither the manager nor the orchestrator nor the broker knows anything of projects that were deleted."""
    listed = {project["project_id"] for project in house.ask("projects", ListProjects(limit=500))["projects"]}
    assert not listed & set(deleted)
    for project_id in deleted:
        assert house.orchestrator.running(project_id) == []
        with pytest.raises(NotFoundError):
            house.ask("project", ShowProject(project_id=project_id))
    bus, topics = house.connect("remembering"), house.topics
    remembered = bus.subscribe(topics.project_status(), topics.project_confirmed(), topics.presence())
    while (delivery := remembered.receive(QUIET_S)) is not None:
        delivery.acknowledge()
        assert not any(project_id[:12] in delivery.topic for project_id in deleted), delivery.topic
    bus.close()


def cancel_and_delete(house: House, numbers: list[int], tell: Tell) -> None:
    """Cancel one project at each of these commits, then delete them all."""
    performances, took = zip(*(cancelled_at(house, number) for number in numbers), strict=True)
    deleted = [performance.project_id for performance in performances]
    for project_id in deleted:
        house.ask("delete", DeleteProject(project_id=project_id))
    assert_nothing_is_left(house, deleted)
    completed = sum(performance.status["phase"] == "completed" for performance in performances)
    more = f"{completed} had completed before they could be cancelled"
    tell("project cancelled after a commit, then deleted", times=len(numbers), lost=0, recoveries=took, more=more)
    assert max(took) < STOPPED_WITHIN_S


def test_cancelled_and_deleted_now_and_then(scripted: House, commits: int, tell: Tell) -> None:
    cancel_and_delete(scripted, [1, commits // 3, commits // 2, commits - 12, commits - 4], tell)


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_cancelled_and_deleted_after_every_commit(scripted: House, commits: int, tell: Tell) -> None:
    cancel_and_delete(scripted, list(range(1, commits + 1)), tell)
