"""What every Tracking adapter promises, against a real MLflow server run by the tracking service itself."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.request
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from flops.adapters.mlflow_tracking import MlflowTracking
from flops.errors import NotFoundError, TrackingUnavailableError

if TYPE_CHECKING:
    from pathlib import Path

    from flops.ports import TrackedRun, Tracking

PARAMETERS = {"sla.ml_repo_url": "https://example.org/ml/digits.git", "commit": "c0ffee", "strategy": "FedAvg"}


@pytest.fixture(scope="module")
def tracking(tracking_url: str) -> Tracking:
    return MlflowTracking(tracking_url)


@pytest.fixture
def project_id() -> str:
    return uuid.uuid4().hex[:24]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "model"
    (directory / "data" / "a b").mkdir(parents=True)
    (directory / "MLmodel").write_text("flavors:\n  python_function:\n    loader_module: x\n")
    (directory / "data" / "weights.bin").write_bytes(bytes(range(256)) * 4096)
    (directory / "data" / "a b" / "empty").write_bytes(b"")
    return directory


def api(url: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/api/2.0/mlflow/{path}", data, headers)  # noqa: S310 -- loopback
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        content: dict[str, Any] = json.load(answer)
    return content


def stored_run(url: str, run: TrackedRun) -> dict[str, Any]:
    stored: dict[str, Any] = api(url, f"runs/get?run_id={run.run_id}")["run"]
    return stored


def pairs(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {item["key"]: item["value"] for item in items}


def test_a_project_has_one_experiment_with_one_run(tracking: Tracking, tracking_url: str, project_id: str) -> None:
    first = tracking.start_run(project_id, PARAMETERS)
    again = tracking.start_run(project_id, PARAMETERS)
    assert again == first
    runs = api(tracking_url, "runs/search", {"experiment_ids": [first.experiment_id]})["runs"]
    assert len(runs) == 1
    experiment = api(tracking_url, f"experiments/get?experiment_id={first.experiment_id}")["experiment"]
    assert experiment["name"] == f"digits {project_id}"
    assert pairs(runs[0]["data"]["params"]) == PARAMETERS
    assert pairs(runs[0]["data"]["tags"])["mlflow.source.git.commit"] == "c0ffee"


def test_the_url_of_a_run_is_for_a_browser(tracking: Tracking, tracking_url: str, project_id: str) -> None:
    run = tracking.start_run(project_id, {})
    assert run.url == f"{tracking_url}/#/experiments/{run.experiment_id}/runs/{run.run_id}"
    with urllib.request.urlopen(run.url) as answer:  # noqa: S310 -- loopback
        assert b"<html" in answer.read()


def test_a_restart_adds_parameters_and_reopens_the_run(tracking: Tracking, tracking_url: str, project_id: str) -> None:
    run = tracking.start_run(project_id, PARAMETERS)
    tracking.finish_run(run, succeeded=False)
    assert tracking.start_run(project_id, {**PARAMETERS, "strategy": "other", "added": ""}) == run
    stored = stored_run(tracking_url, run)
    assert stored["info"]["status"] == "RUNNING"
    assert pairs(stored["data"]["params"])["strategy"] == "FedAvg"
    assert pairs(stored["data"]["tags"])["strategy"] == "other"
    assert "commit" not in pairs(stored["data"]["tags"])


def test_a_retry_at_another_commit_says_so(tracking: Tracking, tracking_url: str, project_id: str) -> None:
    run = tracking.start_run(project_id, PARAMETERS)
    assert tracking.start_run(project_id, {**PARAMETERS, "commit": "decade"}) == run
    tags = pairs(stored_run(tracking_url, run)["data"]["tags"])
    assert (tags["commit"], tags["mlflow.source.git.commit"]) == ("decade", "decade")


def test_a_deleted_experiment_is_found_again(tracking: Tracking, tracking_url: str, project_id: str) -> None:
    run = tracking.start_run(project_id, {})
    api(tracking_url, "experiments/delete", {"experiment_id": run.experiment_id})
    assert tracking.start_run(project_id, {}).experiment_id == run.experiment_id


def test_long_parameters_are_cut_and_kept_whole_as_artifacts(
    tracking: Tracking, tracking_url: str, project_id: str, tmp_path: Path
) -> None:
    sla = json.dumps({"data_tags": ["x" * 40] * 1000})
    run = tracking.start_run(project_id, {"sla": sla, "notes: ä": "ü" * 9000})
    parameters = pairs(stored_run(tracking_url, run)["data"]["params"])
    assert parameters["sla"] == sla[:499] + "…"
    fetched = tracking.download_model(f"runs:/{run.run_id}/parameters", tmp_path / "fetched")
    assert (fetched / "sla.json").read_text() == sla
    assert (fetched / "notes_ _.txt").read_text() == "ü" * 9000


def test_metrics_have_the_round_as_step(tracking: Tracking, tracking_url: str, project_id: str) -> None:
    run = tracking.start_run(project_id, PARAMETERS)
    for round_number, accuracy in ((1, 0.5), (2, 0.75), (2, 0.75)):
        tracking.log_round(run, round_number, {"accuracy": accuracy, "loss": float("nan")})
    history = api(tracking_url, f"metrics/get-history?run_id={run.run_id}&metric_key=accuracy")["metrics"]
    assert {(point["step"], point["value"]) for point in history} == {(1, 0.5), (2, 0.75)}


def test_the_best_model_is_in_its_own_projects_run(
    tracking: Tracking, tracking_url: str, project_id: str, model: Path, tmp_path: Path
) -> None:
    run = tracking.start_run(project_id, PARAMETERS)
    tracking.log_model(run, model, round_number=2)
    model_uri = tracking.log_model(run, model, round_number=3)
    assert model_uri == f"runs:/{run.run_id}/model"
    stored = stored_run(tracking_url, run)
    assert pairs(stored["data"]["tags"])["flops.best_round"] == "3"
    logged = api(tracking_url, "logged-models/search", {"experiment_ids": [run.experiment_id]})["models"]
    assert [one["info"]["status"] for one in logged] == ["LOGGED_MODEL_READY"]
    assert logged[0]["info"]["source_run_id"] == run.run_id
    fetched = tracking.download_model(model_uri, tmp_path / "fetched")
    files = {path.relative_to(fetched).as_posix() for path in fetched.rglob("*") if path.is_file()}
    assert files == {"MLmodel", "data/weights.bin", "data/a b/empty"}
    assert (fetched / "data/weights.bin").read_bytes() == (model / "data/weights.bin").read_bytes()
    assert f"run_id: {run.run_id}" in (fetched / "MLmodel").read_text()


@pytest.mark.parametrize(("succeeded", "status"), [(True, "FINISHED"), (False, "FAILED")])
def test_a_run_is_closed(
    tracking: Tracking, tracking_url: str, project_id: str, *, succeeded: bool, status: str
) -> None:
    run = tracking.start_run(project_id, {})
    tracking.finish_run(run, succeeded=succeeded)
    assert stored_run(tracking_url, run)["info"]["status"] == status


@pytest.mark.parametrize("uri", ["runs:/" + "0" * 32 + "/model", "models:/nothing/1", "runs:/../x", "file:///etc"])
def test_a_model_that_is_not_there_is_not_found(tracking: Tracking, uri: str, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        tracking.download_model(uri, tmp_path / "none")


def test_an_empty_run_has_no_model(tracking: Tracking, project_id: str, tmp_path: Path) -> None:
    run = tracking.start_run(project_id, {})
    with pytest.raises(NotFoundError):
        tracking.download_model(f"runs:/{run.run_id}/model", tmp_path / "none")


def test_a_server_that_is_gone_is_noticed_quickly(project_id: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    begun = time.monotonic()
    with pytest.raises(TrackingUnavailableError) as caught:
        MlflowTracking(f"http://127.0.0.1:{port}").start_run(project_id, {})
    assert time.monotonic() - begun < 2
    assert caught.value.retryable
    assert str(port) in str(caught.value)


def test_something_else_than_mlflow_is_refused(project_id: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answering = threading.Thread(target=_answer_nonsense, args=(listener,))
        answering.start()
        with pytest.raises(TrackingUnavailableError):
            MlflowTracking(f"http://127.0.0.1:{listener.getsockname()[1]}").start_run(project_id, {})
        answering.join()


def _answer_nonsense(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
