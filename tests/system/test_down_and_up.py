"""``flops down`` in the middle of a training, and what comes after ``flops up``; and a base case over amqtt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.system.installation import Installation, digits_sla
from tests.system.rehearsal import Rehearsal, Stage, follow, kill_and_await, put_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Rehearsing = Callable[[Installation, dict[str, Any]], Rehearsal]
    Start = Callable[[dict[str, Any]], Rehearsal]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_training_goes_on_after_down_and_up(house: Installation, start: Start, stage: Stage, tmp_path: Path) -> None:
    stage.set_up().hold(2)
    before = start(stage.sla(rounds=3))
    stage.await_fitting(2)
    before.follower.kill()
    before.follower.wait()

    house.ok("down")
    survivors = house.processes()
    house.ok("up")
    stage.release(2)
    after = follow(house, before.project_id, tmp_path / "after.jsonl")

    outcome = after.end()

    assert survivors == []
    assert outcome.exit_code == 0, after.told
    assert [entry["data"]["round"] for entry in outcome.of_type("round.finished")] == [1, 2, 3]
    assert outcome.entries[: len(before.entries)] == before.entries


@pytest.fixture(scope="module")
def amqtt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation with the broker that needs no installation of its own, and forgets everything when killed."""
    directory = tmp_path_factory.mktemp("amqtt")
    made = Installation(directory / "home", {"FLOPS_EMBEDDED_BROKER": "amqtt"})
    try:
        assert made.ok("up")["broker_kind"] == "amqtt"
        made.ok("mock-data", "digits_multi")
        put_rows(made, directory)
        yield made
    finally:
        made.ok("down")
        assert made.processes() == []


@pytest.mark.chaos
def test_a_base_case_over_amqtt(amqtt: Installation, tmp_path: Path) -> None:
    outcome = amqtt.run_project(digits_sla(), tmp_path)

    assert outcome.exit_code == 0, outcome.entries[-3:]
    assert len(outcome.of_type("round.finished")) == 5
    assert outcome.last["data"]["inference_url"]
    assert [entry["sequence"] for entry in outcome.entries] == list(range(1, len(outcome.entries) + 1))


@pytest.mark.chaos
def test_a_training_over_amqtt_outlives_the_broker(amqtt: Installation, rehearsing: Rehearsing, stage: Stage) -> None:
    stage.set_up().hold(2)
    project = rehearsing(amqtt, stage.sla(rounds=3))
    stage.await_fitting(2)
    kill_and_await(amqtt, "broker")
    stage.release(2)

    outcome = project.end()

    assert outcome.exit_code == 0, project.told
    assert [entry["data"]["round"] for entry in outcome.of_type("round.finished")] == [1, 2, 3]
