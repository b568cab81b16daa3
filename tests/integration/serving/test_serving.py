"""From a trained model to a prediction: export, tracking server, MLflow's loader, inference server, client."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
from sklearn.datasets import load_digits
from tests.inference_service import InferenceService

from flops.adapters.mlflow_tracking import MlflowTracking
from flops.errors import InferenceUnavailableError, PredictionRefusedError
from flops.http_child import listen
from flops.inference.client import predict
from flops.inference.service import SCORING
from flops.wire.events import InferenceFailed, InferenceReady

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.saved_models import SavedModel

LOAD = """
import sys, mlflow.sklearn, mlflow.pyfunc, json
from sklearn.datasets import load_digits
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.sklearn.load_model(sys.argv[2])
info = mlflow.models.get_model_info(sys.argv[2])
print(json.dumps({
    "predictions": model.predict(load_digits().data[:20]).tolist(),
    "signature": str(info.signature.inputs.to_dict()),
    "run_id": info.run_id,
}))
"""
pytestmark = pytest.mark.timeout(300)  # the first test waits for an environment and its first imports
IMAGES = load_digits().data
ROW = IMAGES[0].tolist()
COLUMNS = [f"pixel{index}" for index in range(64)]


@pytest.fixture(scope="module")
def served_url(saved_model: SavedModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    service = InferenceService(tmp_path_factory.mktemp("instance"))
    service.start(saved_model.python, saved_model.directory)
    assert service.is_ready.wait(100)
    assert service.events == [InferenceReady(url=service.urls[0])]
    yield service.urls[0]
    assert service.end() == 0
    assert [path.name for path in service.directory.iterdir()] == ["port"]


def post(url: str, body: bytes, content_type: str | None = "application/json") -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(f"{url}/invocations", body)  # noqa: S310 -- loopback
    request.add_unredirected_header("Content-Type", content_type or "")
    try:
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_mlflow_loads_what_was_logged(tracking_url: str, saved_model: SavedModel) -> None:
    tracking = MlflowTracking(tracking_url)
    run = tracking.start_run("5e" * 12, {})
    model_uri = tracking.log_model(run, saved_model.directory, round_number=3)
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [str(saved_model.python), "-c", LOAD, tracking_url, model_uri]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert finished.returncode == 0, finished.stderr
    loaded = json.loads(finished.stdout)
    assert loaded["predictions"] == saved_model.predictions
    assert loaded["run_id"] == run.run_id
    assert "64" in loaded["signature"]


def test_the_environment_is_recorded_with_exact_versions(saved_model: SavedModel) -> None:
    requirements = (saved_model.directory / "requirements.txt").read_text().split()
    names = {requirement.partition("==")[0] for requirement in requirements if "==" in requirement}
    assert {"scikit-learn", "numpy", "scipy", "cloudpickle", "pandas", "mlflow-skinny"} <= names
    assert len(names) == len(requirements)
    assert (saved_model.directory / "python_env.yaml").exists()
    assert saved_model.warnings == []


def test_a_signature_is_found_without_an_example(saved_model: SavedModel) -> None:
    assert "[-1, 64]" in (saved_model.without_example / "MLmodel").read_text()


def test_predictions_are_those_of_the_trained_model(served_url: str, saved_model: SavedModel) -> None:
    assert predict(served_url, IMAGES[:20]) == saved_model.predictions
    assert predict(served_url, IMAGES[:20].astype(np.uint8).tolist()) == saved_model.predictions


@pytest.mark.parametrize("path", ["/ping", "/health", "/version"])
def test_the_server_says_that_it_is_well(served_url: str, path: str) -> None:
    with urllib.request.urlopen(served_url + path) as answer:  # noqa: S310 -- loopback
        assert answer.status == 200


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ({"inputs": [ROW]}, "application/json"),
        ({"instances": [ROW]}, "application/json; charset=utf-8"),
        ({"dataframe_split": {"columns": COLUMNS, "data": [[int(value) for value in ROW]]}}, "application/json"),
        ({"dataframe_split": {"data": [ROW]}}, "application/json"),
        ({"dataframe_records": [dict(zip(COLUMNS, ROW, strict=True))]}, "application/json"),
        (",".join(COLUMNS) + "\n" + ",".join(str(int(value)) for value in ROW), "text/csv"),
    ],
)
def test_every_form_of_the_protocol_is_taken(
    served_url: str, saved_model: SavedModel, body: object, content_type: str
) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    assert post(served_url, text.encode(), content_type) == (200, {"predictions": saved_model.predictions[:1]})


@pytest.mark.parametrize(
    ("body", "content_type", "status", "reason"),
    [
        (b'{"inputs": [1,', "application/json", 400, "line 1 column 15"),
        (b"", "application/json", 400, "no body"),
        (b"[1, 2]", "application/json", 400, "exactly one of inputs"),
        (b"{}", "application/json", 400, "exactly one of inputs"),
        (b'{"input": [[1]]}', "application/json", 400, "exactly one of inputs"),
        (b'{"inputs": [[1]], "instances": [[1]]}', "application/json", 400, "exactly one of inputs"),
        (b'{"inputs": [[1, 2, 3]]}', "application/json", 400, "(1, 3) does not match expected shape (-1, 64)"),
        (b'{"inputs": [1, 2, 3]}', "application/json", 400, "expected shape (-1, 64)"),
        (b'{"inputs": []}', "application/json", 400, ""),
        (b'{"inputs": null}', "application/json", 400, ""),
        (b'{"inputs": {"a": [1]}}', "application/json", 400, ""),
        (b'{"inputs": [[1, 2], [3]]}', "application/json", 400, "inhomogeneous"),
        (json.dumps({"inputs": [["a"] * 64]}).encode(), "application/json", 400, "'a'"),
        (json.dumps({"inputs": [[None] * 64]}).encode(), "application/json", 400, "NaN"),
        (b'{"dataframe_split": "x"}', "application/json", 400, "dictionary"),
        (b'{"dataframe_split": {"columns": [], "data": []}}', "application/json", 400, "empty"),
        (b'{"dataframe_records": 7}', "application/json", 400, "list of records"),
        (b"a,b\n1,2\n", "text/csv", 400, "2 columns"),
        (b"\xff\xfe", "application/json", 400, "UTF-8"),
        (b"[" * 100_000, "application/json", 400, "nested"),
        (b'{"inputs": [[1]]}', None, 400, "Content-Type is missing"),
        (b'{"inputs": [[1]]}', "application/x-www-form-urlencoded", 415, "content type"),
        (b"x" * (64 * 1024 * 1024 + 1), "application/json", 413, "at most 67,108,864"),
    ],
)
def test_bad_input_is_refused_with_a_reason(
    served_url: str, body: bytes, content_type: str | None, status: int, reason: str
) -> None:
    answered, content = post(served_url, body, content_type)
    assert answered == status
    assert reason in content["message"]
    assert content["message"]
    assert "Traceback" not in json.dumps(content)


def test_the_client_hears_why_its_rows_are_refused(served_url: str) -> None:
    with pytest.raises(PredictionRefusedError, match="expected shape"):
        predict(served_url, [[1, 2, 3]])


def test_the_model_does_not_see_credentials(
    served_url: str, saved_model: SavedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOPS_BROKER_PASSWORD_FILE", "/secret")
    service = InferenceService(tmp_path)
    service.start(saved_model.python, saved_model.directory)
    assert service.is_ready.wait(100)
    assert service.urls[0] != served_url
    scoring = next(
        child
        for child in psutil.Process().children()
        if str(tmp_path) == child.cwd() and "scoring.py" in str(child.cmdline())
    )
    assert not [name for name in scoring.environ() if name.startswith("FLOPS_")]
    scoring.send_signal(signal.SIGKILL)
    assert service.wait() == 1
    with pytest.raises(InferenceUnavailableError):
        predict(service.urls[0], IMAGES[:1])


def test_a_model_that_cannot_be_loaded_is_an_event(sklearn_python: Path, tmp_path: Path) -> None:
    service = InferenceService(tmp_path)
    service.confirmed.set()
    service.start(sklearn_python, tmp_path / "nothing")
    assert service.wait() == 0
    (failure,) = service.events
    assert isinstance(failure, InferenceFailed)
    assert "exit code 1" in failure.reason
    assert "nothing" in failure.details


def test_a_missing_interpreter_is_an_event_that_is_waited_with_until_the_manager_has_it(tmp_path: Path) -> None:
    service = InferenceService(tmp_path)
    service.start(tmp_path / "python", tmp_path)
    assert service.asked.wait(10)
    assert not service.exit_codes
    service.confirmed.set()
    assert service.wait() == 0
    assert isinstance(service.events[0], InferenceFailed)


def test_the_server_ends_with_whoever_started_it(saved_model: SavedModel, tmp_path: Path) -> None:
    with listen(tmp_path / "port") as listener:
        command = [str(saved_model.python), str(SCORING), str(saved_model.directory), str(listener.fileno())]
        with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[listener.fileno()]) as server:
            assert server.stdin is not None
            server.stdin.close()
            assert server.wait(30) == 0
