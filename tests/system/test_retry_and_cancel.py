"""Going on after a failure, and stopping at any moment, with real processes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.ml_repositories import commit_files
from tests.system.rehearsal import MODEL_MANAGER, Rehearsal, Stage, follow, until

from flops.errors import EXIT_INVALID

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.system.installation import Installation

    Start = Callable[[dict[str, Any]], Rehearsal]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

SERVED = ["build_image_for_trained_model", "deploy_trained_model_image"]
FRAGILE = MODEL_MANAGER.replace(
    "number = int(self.rounds[0]) + 1\n",
    "number = int(self.rounds[0]) + 1\n"
    '        if number == 3 and not (STAGE / "mended").exists():\n'
    '            raise LookupError("the third round needs what is not there")\n',
)
STOPPED_WITHIN_S = 15.0


def test_a_training_goes_on_after_its_last_round_once_the_data_are_mended(
    house: Installation, start: Start, stage: Stage, tmp_path: Path
) -> None:
    stage.set_up({"model_manager.py": FRAGILE.format(stage=str(stage.directory))})
    project = start(stage.sla(rounds=4))
    failed = project.end()
    assert failed.last["event_type"] == "project.failed"
    (stage.directory / "mended").touch()

    answer = house.ok("project", "retry", failed.project_id)
    again = follow(house, failed.project_id, tmp_path / "again.jsonl").end()

    assert answer["stage"] == "training"
    assert again.exit_code == 0, again.entries
    assert again.entries[: len(failed.entries)] == failed.entries
    rounds = [entry["data"]["round"] for entry in again.of_type("round.finished")]
    assert rounds == [1, 2, 3, 4]
    assert again.of_type("training.started")[-1]["data"]["resumed_after"] == 2
    assert len(again.of_type("build.started")) == 1


def test_a_mended_repository_is_taken_when_the_project_is_checked_again(
    house: Installation, start: Start, stage: Stage, tmp_path: Path
) -> None:
    broken = MODEL_MANAGER.replace("number = ", 'raise LookupError("no such digit")\n        number = ')
    stage.set_up({"model_manager.py": broken.format(stage=str(stage.directory))})
    failed = start(stage.sla()).end()
    commit = commit_files(
        stage.directory / "repository", {"model_manager.py": MODEL_MANAGER.format(stage=str(stage.directory))}
    )

    house.ok("project", "retry", failed.project_id, "--from-stage", "checking")
    again = follow(house, failed.project_id, tmp_path / "again.jsonl").end()

    assert again.exit_code == 0, again.entries
    assert again.of_type("repository.resolved")[-1]["data"]["commit"] == commit
    assert again.of_type("training.started")[-1]["data"]["resumed_after"] == 0
    shown = house.ok("project", "show", failed.project_id)["status"]
    assert (shown["phase"], shown["reason"]) == ("completed", "")
    refused = house.flops("project", "retry", failed.project_id)
    assert refused.exit_code == 1
    assert "it is completed" in refused.stderr
    house.ok("project", "delete", failed.project_id)
    assert not list((house.home / "services").glob(f"*{failed.project_id[:12]}*"))


def test_a_cancelled_project_goes_on_where_it_was_stopped(
    house: Installation, start: Start, stage: Stage, tmp_path: Path
) -> None:
    stage.set_up().hold(2)
    project = start(stage.sla(rounds=2))
    stage.await_fitting(2)
    house.ok("project", "cancel", project.project_id)
    assert project.end().exit_code == 4
    stage.release(2)

    house.ok("project", "retry", project.project_id)
    again = follow(house, project.project_id, tmp_path / "again.jsonl").end()

    assert again.exit_code == 0, again.entries
    assert again.of_type("training.started")[-1]["data"]["resumed_after"] == 1


def test_a_project_is_cancelled_while_its_repository_keeps_silent(
    house: Installation, start: Start, stage: Stage
) -> None:
    stage.set_up().hold("resolve")
    project = start(stage.sla(ml_repo_url=stage.slow_url))
    project.await_entry("phase.entered")

    assert _stopped(house, project) == "project.cancelled"
    stage.release("resolve")


@pytest.mark.parametrize(
    "entered", ["Deploying the aggregator", "Building an image of the trained", "Starting the inference server"]
)
def test_a_project_is_cancelled_as_soon_as_a_phase_is_seen(
    house: Installation, start: Start, stage: Stage, entered: str
) -> None:
    project = start(stage.set_up().sla(rounds=1, post_training_steps=SERVED))
    project.await_entry("phase.entered", entered)

    assert _stopped(house, project) in {"project.cancelled", "project.completed"}


def test_a_project_that_trains_is_deleted_with_cancel(house: Installation, start: Start, stage: Stage) -> None:
    stage.set_up().hold(1)
    project = start(stage.sla())
    stage.await_fitting(1)

    house.ok("project", "delete", project.project_id, "--cancel")

    assert house.flops("project", "show", project.project_id).exit_code == 7
    until(lambda: not list((house.home / "services").glob(f"*{project.project_id[:12]}*")), "nothing is left", 30)


def test_one_token_starts_one_project(house: Installation, stage: Stage, tmp_path: Path) -> None:
    sla = tmp_path / "sla.json"
    sla.write_text('{"ml_repo_url": "/nowhere", "ml_model_flavor": "sklearn",'
                   ' "training_configuration": {"data_tags": ["rehearsal"]}}')  # fmt: skip
    token = stage.directory.parent.name

    started = [house.ok("project", "start", str(sla), "--token", token)["project_id"] for _ in range(2)]

    assert started[0] == started[1]
    sla.write_text(sla.read_text().replace("/nowhere", "/elsewhere"))
    assert house.flops("project", "start", str(sla), "--token", token).exit_code == EXIT_INVALID


def _stopped(house: Installation, project: Rehearsal) -> str:
    """Cancel a project; returns how it ended, which takes seconds and shows what is stopped."""
    begun = time.monotonic()
    house.ok("project", "cancel", project.project_id)
    outcome = project.end()
    assert time.monotonic() - begun < STOPPED_WITHIN_S
    if outcome.last["event_type"] == "project.cancelled" and outcome.of_type("service.deployed")[1:]:
        assert outcome.of_type("service.removed")
    return str(outcome.last["event_type"])
