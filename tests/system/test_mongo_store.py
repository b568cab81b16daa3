"""Two managers with their memory in MongoDB: its server and one of them are killed in the middle of projects."""

from __future__ import annotations

from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from tests.mongodb import OwnMongoDb, drop_database, new_database, start_server
from tests.system.installation import Installation
from tests.system.rehearsal import Rehearsal, Stage, put_rows, slow_git, until

from flops.bootstrap import adapters
from flops.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.system.installation import Outcome

    Rehearsing = Callable[[Installation, dict[str, Any]], Rehearsal]

LEASE_S = 3.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnMongoDb]:
    """The server of the store."""
    started = start_server(tmp_path_factory.mktemp("server"))
    yield started
    started.kill()


@pytest.fixture(scope="module")
def remembering(server: OwnMongoDb, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation that keeps its projects there, in a database of its own."""
    directory, url = tmp_path_factory.mktemp("remembering"), new_database(server)
    settings = {"FLOPS_STORE_URL": url, "FLOPS_MANAGERS": "2", "FLOPS_MANAGER_LEASE_S": str(LEASE_S)}
    made = Installation(directory / "home", {**settings, **slow_git(directory)})
    try:
        made.ok("up")
        put_rows(made, directory)
        yield made
    finally:
        made.ok("down")
        assert made.processes() == []
        drop_database(url)


def assert_whole(outcome: Outcome, rounds: int) -> None:
    """Completed, with nothing missing and nothing twice."""
    assert outcome.exit_code == 0, outcome.entries[-3:]
    assert [entry["sequence"] for entry in outcome.entries] == list(range(1, len(outcome.entries) + 1))
    assert [entry["data"]["round"] for entry in outcome.of_type("round.finished")] == list(range(1, rounds + 1))
    services = [entry["data"]["service"] for entry in outcome.of_type("service.deployed")]
    assert len(services) == len(set(services))


def test_a_project_from_its_request_to_its_end(remembering: Installation, rehearsing: Rehearsing, stage: Stage) -> None:
    stage.set_up()
    outcome = rehearsing(remembering, stage.sla(rounds=2)).end()

    assert_whole(outcome, rounds=2)
    assert not (remembering.home / "store").exists()


def test_the_server_is_killed_during_a_training(
    remembering: Installation, server: OwnMongoDb, rehearsing: Rehearsing, stage: Stage
) -> None:
    stage.set_up().hold(2)
    project = rehearsing(remembering, stage.sla(rounds=3))
    stage.await_fitting(2)
    server.kill()
    stage.release(2)
    server.start()

    assert_whole(project.end(), rounds=3)


def test_the_server_is_away_for_longer_than_a_lease(
    remembering: Installation, server: OwnMongoDb, rehearsing: Rehearsing, stage: Stage
) -> None:
    stage.set_up().hold("clone")
    project = rehearsing(remembering, stage.sla(rounds=2, ml_repo_url=stage.slow_url))
    stage.await_cloning()
    project.await_entry("service.deployed")
    server.kill()
    stage.release("clone")
    refused = remembering.flops("project", "show", project.project_id)
    server.start()

    assert refused.exit_code != 0
    assert "mongodb://127.0.0.1" in refused.stderr, refused.stderr
    assert_whole(project.end(), rounds=2)


def test_a_manager_dies_and_the_server_with_it(
    remembering: Installation, server: OwnMongoDb, rehearsing: Rehearsing, stage: Stage
) -> None:
    stage.set_up().hold(2)
    project = rehearsing(remembering, stage.sla(rounds=3))
    stage.await_fitting(2)
    with closing(adapters.store(Settings(remembering.home, store_url=remembering.extra["FLOPS_STORE_URL"]))) as store:

        def owner() -> str:
            record = store.load(project.project_id)
            assert record is not None
            return record.owner

        def is_replaced() -> bool:
            for process in remembering.instances(former):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            return owner() != former

        former = owner()
        server.kill()
        server.start()
        until(is_replaced, f"{former} is replaced", LEASE_S + 30)
    stage.release(2)

    assert_whole(project.end(), rounds=3)
