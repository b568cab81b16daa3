"""One installation for all system tests that do not break it, and one per module for those that do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.system.installation import Installation
from tests.system.rehearsal import Rehearsal, Stage, put_rows, rehearse, slow_git

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Up, with data and the shipped base case's images still to be built; down afterwards, leaving no process."""
    made = Installation(tmp_path_factory.mktemp("flops") / "home")
    try:
        made.ok("up")
        made.ok("mock-data", "digits_multi")
        yield made
    finally:
        made.ok("down")
        left = made.processes()
        assert left == []


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation in which things go wrong, with a little data; in the end down, and nothing survives."""
    directory = tmp_path_factory.mktemp("house")
    made = Installation(directory / "home", {"FLOPS_LEARNER_RETURN_S": "30", **slow_git(directory)})
    try:
        made.ok("up")
        put_rows(made, directory)
        yield made
    finally:
        made.ok("down")
        assert made.processes() == []


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A stage of this test's own."""
    return Stage(tmp_path / "stage")


@pytest.fixture
def rehearsing(tmp_path: Path) -> Iterator[Callable[[Installation, dict[str, Any]], Rehearsal]]:
    """Starts a project in an installation and follows it, until the test is over at the latest."""
    started: list[Rehearsal] = []

    def begin(installation: Installation, sla: dict[str, Any]) -> Rehearsal:
        started.append(rehearse(installation, sla, tmp_path))
        return started[-1]

    yield begin
    for project in started:
        project.follower.kill()
        project.follower.wait()


@pytest.fixture
def start(
    house: Installation, rehearsing: Callable[[Installation, dict[str, Any]], Rehearsal]
) -> Callable[[dict[str, Any]], Rehearsal]:
    """Starts a project in the house and follows it."""
    return lambda sla: rehearsing(house, sla)
