"""What a user meets when something is wrong: one clear entry, a project that ends, nothing left running."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.system.installation import Installation, Outcome
from tests.system.rehearsal import MODEL_MANAGER, Rehearsal, Stage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Start = Callable[[dict[str, Any]], Rehearsal]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def assert_failed(outcome: Outcome, stage: str) -> dict[str, Any]:
    """The project's last word says where it failed, why, and what to do next."""
    last = outcome.last
    assert outcome.exit_code == 1
    assert (last["event_type"], last["severity"]) == ("project.failed", "error")
    assert last["text"].startswith(f"Project failed while {stage}")
    assert last["next_step"], last
    return last


BROKEN_SLA = {
    "customerID": "",
    "ml_repo_url": "not a url",
    "ml_model_flavour": "sklearn",
    "training_configuration": {"data_tags": [], "training_rounds": 0, "min_fit_clients": 5, "mode": "classical"},
    "post_training_steps": ["deploy_trained_model_image"],
}


def test_a_broken_sla_is_refused_with_all_its_faults_offline_and_by_the_manager(
    house: Installation, tmp_path: Path
) -> None:
    file = tmp_path / "broken.json"
    file.write_text(json.dumps(BROKEN_SLA))

    offline = Installation(tmp_path / "nowhere").flops("sla", "validate", str(file), "--json")
    started = house.flops("project", "start", str(file), "--json")
    retold = house.flops("sla", "validate", str(file))

    assert (offline.exit_code, started.exit_code, retold.exit_code) == (3, 3, 3)
    assert offline.error == started.error
    paths = {fault["path"] for fault in offline.error["errors"]}
    assert {"customerID", "ml_repo_url", "ml_model_flavour", "training_configuration.mode"} <= paths
    assert "ml_model_flavor" in retold.stderr
    assert "Traceback" not in offline.stderr + started.stderr + retold.stderr


def test_an_sla_that_cannot_be_run_here_is_refused_before_anything_is_made(
    house: Installation, stage: Stage, tmp_path: Path
) -> None:
    sla = stage.set_up().sla()
    sla["training_configuration"]["mode"] = "hierarchical"
    file = tmp_path / "hierarchical.json"
    file.write_text(json.dumps(sla))
    apps = house.ok("apps")

    refused = house.flops("project", "start", str(file), "--json")

    assert refused.exit_code == 3
    assert refused.error["errors"][0]["path"] == "training_configuration.mode"
    assert house.ok("apps") == apps


def test_a_repository_that_does_not_exist(start: Start, stage: Stage) -> None:
    last = assert_failed(start(stage.sla()).end(), "checking")

    assert stage.repository in last["text"]


def test_tags_without_data(start: Start, stage: Stage) -> None:
    sla = stage.set_up().sla()
    sla["training_configuration"]["data_tags"] = ["absent"]

    last = assert_failed(start(sla).end(), "checking")

    assert "absent" in last["text"]
    assert "rehearsal" in last["next_step"]


@pytest.mark.parametrize(
    ("files", "named"),
    [
        pytest.param({"model_manager.py": None}, "model_manager.py", id="no model_manager.py"),
        pytest.param({"model_manager.py": "class ModelManager(\n"}, "model_manager.py:1", id="a syntax error"),
        pytest.param({"requirements.txt": "numpy==2.4.6\nnumpy==1.0\n"}, "numpy", id="a contradiction"),
        pytest.param(
            {"requirements.txt": "scikit-learn\nflops-has-no-such-package==7\n"},
            "flops-has-no-such-package",
            id="an unknown package",
        ),
    ],
)
def test_what_cannot_be_built_is_named(start: Start, stage: Stage, files: dict[str, str | None], named: str) -> None:
    outcome = start(stage.set_up(files).sla()).end()

    last = assert_failed(outcome, "building")
    assert named in last["text"]
    assert len(outcome.of_type("build.failed")) == 1


def test_code_that_raises_in_fit_model_shows_its_traceback(start: Start, stage: Stage) -> None:
    raising = MODEL_MANAGER.replace("number = ", 'raise LookupError("no such digit")\n        number = ')

    outcome = start(stage.set_up({"model_manager.py": raising.format(stage="")}).sla()).end()

    last = assert_failed(outcome, "training")
    assert "no such digit" in last["text"]
    told = outcome.of_type("learner.failed")[0]
    assert "fit_model" in told["text"]
    assert "LookupError: no such digit" in told["details"]
    assert "model_manager.py" in told["details"]
    assert not outcome.of_type("instance.restarted")


def test_code_that_raises_in_init_shows_its_traceback(house: Installation, start: Start, stage: Stage) -> None:
    raising = MODEL_MANAGER.replace("self.rounds = np.zeros(2)", 'raise OSError("nothing here")')

    outcome = start(stage.set_up({"model_manager.py": raising.format(stage="")}).sla()).end()

    last = assert_failed(outcome, "deploying")
    assert "nothing here" in last["text"]
    assert any("OSError: nothing here" in entry["details"] for entry in outcome.entries)
    assert house.flops("logs", f"aggr{outcome.project_id[:12]}").exit_code == 0
    house.ok("project", "delete", outcome.project_id)
    assert house.flops("logs", f"aggr{outcome.project_id[:12]}").exit_code == 7


def test_a_round_completes_without_the_learner_that_was_killed_and_it_rejoins(start: Start, stage: Stage) -> None:
    stage.set_up().hold(2)
    project = start(stage.sla(minimum=1, rounds=3))
    stage.await_fitting(2)
    stage.hold(3)
    project.kill(project.service("flearner"))
    project.await_entry("learner.lost")
    stage.release(2)
    project.await_entry("round.finished", "Round 2/3")
    project.await_entry("instance.restarted")
    stage.release(3)

    outcome = project.end()

    assert outcome.exit_code == 0, project.told
    second = outcome.of_type("round.finished")[1]["data"]
    assert len(second["participants"]) == 1


def test_a_round_waits_for_the_restarted_learner_where_the_sla_needs_both(start: Start, stage: Stage) -> None:
    stage.set_up().hold(2)
    project = start(stage.sla(minimum=2, rounds=2))
    stage.await_fitting(2)
    project.kill(project.service("flearner"))
    stage.await_fitting(2, 3)
    stage.release(2)

    outcome = project.end()

    assert outcome.exit_code == 0, project.told
    assert [len(entry["data"]["participants"]) for entry in outcome.of_type("round.finished")] == [2, 2]
    assert len(outcome.of_type("instance.restarted")) == 1


def test_a_project_is_cancelled_while_it_is_built(house: Installation, start: Start, stage: Stage) -> None:
    stage.set_up().hold("clone")
    project = start(stage.sla(ml_repo_url=stage.slow_url))
    stage.await_cloning()
    house.ok("project", "cancel", project.project_id)

    outcome = project.end()

    assert (outcome.exit_code, outcome.last["event_type"]) == (4, "project.cancelled")
    assert not outcome.of_type("build.finished")
    assert not outcome.of_type("build.failed")


def test_a_project_is_cancelled_while_it_trains_and_then_deleted(
    house: Installation, start: Start, stage: Stage
) -> None:
    stage.set_up().hold(1)
    project = start(stage.sla())
    stage.await_fitting(1)
    refused = house.flops("project", "delete", project.project_id)
    house.ok("project", "cancel", project.project_id)

    outcome = project.end()

    assert refused.exit_code == 1
    assert "cancel" in refused.stderr
    assert (outcome.exit_code, outcome.last["event_type"]) == (4, "project.cancelled")
    house.ok("project", "delete", project.project_id)
    assert house.flops("project", "show", project.project_id).exit_code == 7
    assert house.flops("project", "inbox", project.project_id).exit_code == 7
    assert not list((house.home / "services").glob(f"*{project.project_id[:12]}*"))
    listed = [item["project_id"] for item in house.ok("project", "list")]
    assert project.project_id not in listed
