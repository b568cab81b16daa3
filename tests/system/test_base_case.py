"""From one SLA to a model that answers: the whole flow, from outside, on the real thing."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from sklearn.datasets import load_digits
from tests.system.installation import Installation, Outcome, digits_sla

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("system")]


@pytest.fixture(scope="module")
def completed(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The base case, run once."""
    return installation.run_project(digits_sla(), tmp_path_factory.mktemp("base"))


def test_the_project_completes_and_its_inbox_tells_everything(completed: Outcome) -> None:
    assert completed.exit_code == 0, completed.entries[-3:]
    assert [entry["sequence"] for entry in completed.entries] == list(range(1, len(completed.entries) + 1))
    assert len({entry["event_id"] for entry in completed.entries}) == len(completed.entries)
    rounds = completed.of_type("round.finished")
    assert [entry["data"]["round"] for entry in rounds] == [1, 2, 3, 4, 5]
    assert all(len(entry["data"]["participants"]) == 2 for entry in rounds)
    best = max(entry["data"]["accuracy"] for entry in rounds)
    assert best > 0.9
    assert completed.last["data"]["best_accuracy"] == best
    for told in ("project.accepted", "repository.resolved", "image.built", "learner.joined", "model.logged"):
        assert completed.of_type(told), told


def test_the_served_model_predicts_digits(installation: Installation, completed: Outcome, tmp_path: Path) -> None:
    digits = load_digits()
    rows = (digits.images[::40].reshape(-1, 64) / 16).tolist()
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(rows))

    predictions = installation.ok("predict", completed.project_id, str(file))["predictions"]

    right = sum(int(one) == int(other) for one, other in zip(predictions, digits.target[::40], strict=True))
    assert right > 0.9 * len(rows)


def test_the_inference_server_speaks_mlflows_protocol(completed: Outcome) -> None:
    url = completed.last["data"]["inference_url"]
    with urllib.request.urlopen(f"{url}/ping", timeout=10) as answer:  # noqa: S310  a loopback URL of our own
        assert answer.status == 200


def test_the_learners_had_disjoint_data(completed: Outcome) -> None:
    joined = completed.of_type("learner.joined")

    assert sum(entry["data"]["examples"] for entry in joined) == 1797


def test_status_services_and_listing_agree(installation: Installation, completed: Outcome) -> None:
    shown = installation.ok("project", "show", completed.project_id)

    assert shown["status"]["phase"] == "completed"
    assert shown["status"]["round"] == 5
    assert shown["status"]["entries"] == len(completed.entries)
    assert [service["role"] for service in shown["services"]] == ["inference"]
    listed = {item["project_id"]: item for item in installation.ok("project", "list")}
    assert listed[completed.project_id]["phase"] == "completed"


def test_another_project_of_the_same_commit_builds_nothing(
    installation: Installation, completed: Outcome, tmp_path: Path
) -> None:
    assert completed.exit_code == 0
    again = installation.run_project(digits_sla(post_training_steps=[]), tmp_path)

    assert again.exit_code == 0, again.entries[-3:]
    assert again.of_type("images.found")
    assert not again.of_type("build.started")
    rounds = [
        [entry["data"]["accuracy"] for entry in outcome.of_type("round.finished")] for outcome in (completed, again)
    ]
    assert rounds[0] == rounds[1]


def test_two_users_at_once_do_not_touch_each_other(
    installation: Installation, completed: Outcome, tmp_path: Path
) -> None:
    assert completed.exit_code == 0
    slas = [digits_sla(customerID=user, post_training_steps=[]) for user in ("Ada", "Bob")]
    with ThreadPoolExecutor() as pool:
        outcomes = list(pool.map(lambda sla: installation.run_project(sla, tmp_path), slas))

    assert [outcome.exit_code for outcome in outcomes] == [0, 0]
    for outcome in outcomes:
        assert {entry["project_id"] for entry in outcome.entries} == {outcome.project_id}
        assert len(outcome.of_type("round.finished")) == 5
    apps = installation.ok("apps")
    for user in ("Ada", "Bob"):
        assert apps.count({"name": "observatory", "user": user}) == 1


@pytest.mark.skipif(shutil.which("mosquitto_pub") is None, reason="mosquitto-clients are not installed")
def test_any_client_may_start_a_project_and_read_its_events(
    installation: Installation, completed: Outcome, tmp_path: Path
) -> None:
    assert completed.exit_code == 0
    access = json.loads((installation.home / "run" / "broker.json").read_text())
    port = access["url"].rpartition(":")[2]
    login = ["-h", "127.0.0.1", "-p", port, "-u", access["username"], "-P", access["password"]]
    file = tmp_path / "sla.json"
    file.write_text(json.dumps(digits_sla(customerID="Eve", post_training_steps=[])))
    publish = ["mosquitto_pub", *login, "-q", "1"]
    subprocess.run([*publish, "-r", "-t", "probe", "-m", '"subscribed"'], check=True)
    subscribe = ["mosquitto_sub", *login, "-q", "1", "-t", "project/+/events", "-t", "probe", "-F", "%p", "-W", "120"]
    types = []
    with subprocess.Popen(subscribe, stdout=subprocess.PIPE, text=True) as listening:
        assert listening.stdout is not None
        assert json.loads(listening.stdout.readline()) == "subscribed"
        subprocess.run([*publish, "-t", "project/start", "-f", str(file)], check=True)
        for line in listening.stdout:
            event = json.loads(line)
            types.append(event["type"])
            if event["type"] == "phase.entered" and event["data"]["phase"] == "completed":
                break
        listening.kill()
    assert types[0] == "project.accepted"
    assert types.count("round.finished") == 5
