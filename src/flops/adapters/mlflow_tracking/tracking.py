"""Tracking over MLflow's public REST API (version 2.0 of it, which MLflow 2 and 3 serve).

Importing MLflow's own client takes an aggregator 2.5 s of processor time and 130 MB; these few calls need neither.
"""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from flops.adapters.mlflow_tracking.rest import MissingObjectError, MlflowRest
from flops.errors import NotFoundError
from flops.ports import TrackedRun

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

REPOSITORY: Final = "sla.ml_repo_url"
PROJECT_TAG: Final = "flops.project"
BEST_ROUND: Final = "best_round"
MODEL_PATH: Final = "model"
LOGGED_MODEL_NAME: Final = "best_model"
MAX_PARAMETER_CHARS: Final = 500  # what every MLflow 2 and 3 server takes


class MlflowTracking:
    """One experiment per project with one run in it, on the server that users know by ``url``.

    The parameters ``sla.ml_repo_url`` and ``commit`` also become MLflow's source tags, and name the experiment. A value
    that is too long for MLflow is cut; the whole is then an artifact below ``parameters/``.
    """

    def __init__(self, url: str, *, reached_at: str = "") -> None:
        self._url = url.rstrip("/")
        self._rest = MlflowRest(reached_at.rstrip("/") or self._url)

    def start_run(self, project_id: str, parameters: Mapping[str, str]) -> TrackedRun:
        """Create the project's experiment and its one run, or find and reopen them."""
        repository = parameters.get(REPOSITORY, "")
        experiment_id = self._experiment(f"{_short_name(repository)} {project_id}".strip())
        run = self._find_run(experiment_id, project_id)
        if run is None:
            run = self._create_run(experiment_id, project_id, parameters)
        elif run["info"]["status"] != "RUNNING":
            self._rest.call("POST", "runs/update", {"run_id": run["info"]["run_id"], "status": "RUNNING"})
        run_id = run["info"]["run_id"]
        known = {parameter["key"]: parameter.get("value", "") for parameter in run["data"].get("params", [])}
        self._log_parameters(run, {_key(key): value for key, value in parameters.items() if _key(key) not in known})
        self._note_changes(run_id, {key: value for key, value in parameters.items() if _key(key) in known}, known)
        return TrackedRun(experiment_id, run_id, f"{self._url}/#/experiments/{experiment_id}/runs/{run_id}")

    def log_round(self, run: TrackedRun, round_number: int, metrics: Mapping[str, float]) -> None:
        """Log metrics with step = round. A round logged again gets a second point with the same values."""
        timestamp = _now_ms()
        logged = [
            {"key": _key(name), "value": _number(value), "timestamp": timestamp, "step": round_number}
            for name, value in metrics.items()
        ]
        self._rest.call("POST", "runs/log-batch", {"run_id": run.run_id, "metrics": logged})

    def log_model(self, run: TrackedRun, model: Path, *, round_number: int) -> str:
        """Store the model as an artifact of the run and, where the server knows such, as its logged model.

        The returned ``runs:/`` URI is one that clients of MLflow 2 and 3 load.
        """
        artifacts = self._run(run.run_id)["info"]["artifact_uri"]
        self._upload(run, model, f"{artifacts}/{MODEL_PATH}")
        self._replace_logged_model(run, model, round_number)
        best = {"key": BEST_ROUND, "value": round_number, "timestamp": _now_ms(), "step": round_number}
        tags = [{"key": f"flops.{BEST_ROUND}", "value": str(round_number)}]
        self._rest.call("POST", "runs/log-batch", {"run_id": run.run_id, "metrics": [best], "tags": tags})
        return f"runs:/{run.run_id}/{MODEL_PATH}"

    def finish_run(self, run: TrackedRun, *, succeeded: bool) -> None:
        """Close the run."""
        status = "FINISHED" if succeeded else "FAILED"
        self._rest.call("POST", "runs/update", {"run_id": run.run_id, "status": status, "end_time": _now_ms()})

    def download_model(self, model_uri: str, into: Path) -> Path:
        """Fetch the files of the model into the directory ``into``, which is made, and return it.

        Raises:
            NotFoundError: there is no such model.
        """
        match = re.fullmatch(r"runs:/([0-9a-f]+)/([\w/.-]+)", model_uri)
        if match is None:
            raise NotFoundError("model", model_uri)
        run_id, path = match.groups()
        into.mkdir(parents=True, exist_ok=True)
        try:
            artifacts = self._run(run_id)["info"]["artifact_uri"]
            files = self._rest.download(f"{artifacts}/{path}", into)
        except MissingObjectError:
            files = 0
        if not files:
            raise NotFoundError("model", model_uri)
        return into

    def _experiment(self, name: str) -> str:
        try:
            found = self._rest.call("GET", f"experiments/get-by-name?experiment_name={quote(name)}")["experiment"]
        except MissingObjectError:
            return str(self._rest.call("POST", "experiments/create", {"name": name})["experiment_id"])
        experiment_id = str(found["experiment_id"])
        if found.get("lifecycle_stage") == "deleted":
            self._rest.call("POST", "experiments/restore", {"experiment_id": experiment_id})
        return experiment_id

    def _find_run(self, experiment_id: str, project_id: str) -> dict[str, Any] | None:
        search = {"experiment_ids": [experiment_id], "order_by": ["attributes.start_time ASC"]}
        for run in self._rest.call("POST", "runs/search", search).get("runs", []):
            tags = {tag["key"]: tag["value"] for tag in run["data"].get("tags", [])}
            if tags.get(PROJECT_TAG) == project_id:
                return dict(run)
        return None

    def _create_run(self, experiment_id: str, project_id: str, parameters: Mapping[str, str]) -> dict[str, Any]:
        tags = {
            PROJECT_TAG: project_id,
            "mlflow.source.type": "PROJECT",
            "mlflow.source.name": parameters.get(REPOSITORY, ""),
            "mlflow.source.git.repoURL": parameters.get(REPOSITORY, ""),
            "mlflow.source.git.commit": parameters.get("commit", ""),
        }
        request = {
            "experiment_id": experiment_id,
            "run_name": project_id,
            "start_time": _now_ms(),
            "tags": [{"key": key, "value": value} for key, value in tags.items() if value],
        }
        return dict(self._rest.call("POST", "runs/create", request)["run"])

    def _run(self, run_id: str) -> dict[str, Any]:
        return dict(self._rest.call("GET", f"runs/get?run_id={quote(run_id)}")["run"])

    def _log_parameters(self, run: dict[str, Any], parameters: Mapping[str, str]) -> None:
        if not parameters:
            return
        logged = [{"key": key, "value": _cut(value)} for key, value in parameters.items()]
        self._rest.call("POST", "runs/log-batch", {"run_id": run["info"]["run_id"], "params": logged})
        for key, value in parameters.items():
            if len(value) > MAX_PARAMETER_CHARS:
                name = f"{key}.{_text_format(value)}"
                self._rest.upload(f"{run['info']['artifact_uri']}/parameters/{name}", value.encode())

    def _note_changes(self, run_id: str, parameters: Mapping[str, str], known: Mapping[str, str]) -> None:
        """MLflow changes no parameter: what a retried project has otherwise than before becomes a tag of that name."""
        changed = {key: value for key, value in parameters.items() if known[_key(key)] != _cut(value)}
        tags = {_key(key): _cut(value) for key, value in changed.items()}
        if "commit" in changed:
            tags["mlflow.source.git.commit"] = changed["commit"]
        if tags:
            told = [{"key": key, "value": value} for key, value in tags.items()]
            self._rest.call("POST", "runs/log-batch", {"run_id": run_id, "tags": told})

    def _replace_logged_model(self, run: TrackedRun, model: Path, round_number: int) -> None:
        try:
            found = self._rest.call("POST", "logged-models/search", {"experiment_ids": [run.experiment_id]})
        except MissingObjectError:
            return  # MLflow 2 has no logged models
        for earlier in found.get("models", []):
            if earlier["info"].get("source_run_id") == run.run_id:
                self._rest.call("DELETE", f"logged-models/{earlier['info']['model_id']}")
        request = {
            "experiment_id": run.experiment_id,
            "name": LOGGED_MODEL_NAME,
            "source_run_id": run.run_id,
            "params": [{"key": BEST_ROUND, "value": str(round_number)}],
        }
        info = self._rest.call("POST", "logged-models", request)["model"]["info"]
        self._upload(run, model, info["artifact_uri"])
        finished = {"model_id": info["model_id"], "status": "LOGGED_MODEL_READY"}
        self._rest.call("PATCH", f"logged-models/{info['model_id']}", finished)
        output = {"model_id": info["model_id"], "step": round_number}
        self._rest.call("POST", "runs/outputs", {"run_id": run.run_id, "models": [output]})

    def _upload(self, run: TrackedRun, model: Path, artifacts: str) -> None:
        for file in sorted(path for path in model.rglob("*") if path.is_file()):
            name = file.relative_to(model).as_posix()
            content = _with_run_id(file.read_text(), run.run_id).encode() if name == "MLmodel" else file
            self._rest.upload(f"{artifacts}/{name}", content)


def _with_run_id(ml_model: str, run_id: str) -> str:
    """An MLmodel file (YAML, a mapping in block style) that says which run it comes from."""
    if re.search(r"^run_id:", ml_model, re.MULTILINE):
        return ml_model
    return f"{ml_model.rstrip()}\nrun_id: {run_id}\n"


def _short_name(repository: str) -> str:
    return repository.split("@", 1)[0].rstrip("/").rsplit("/", 1)[-1].removesuffix(".git")


def _key(name: str) -> str:
    return re.sub(r"[^\w. /-]", "_", name, flags=re.ASCII)[:250]


def _cut(value: str) -> str:
    return value if len(value) <= MAX_PARAMETER_CHARS else f"{value[: MAX_PARAMETER_CHARS - 1]}…"


def _text_format(value: str) -> str:
    try:
        json.loads(value)
    except ValueError:
        return "txt"
    return "json"


def _number(value: float) -> float | str:
    number = float(value)
    if number != number:  # noqa: PLR0124 -- JSON has no NaN; MLflow reads it as a text
        return "NaN"
    return number if abs(number) != float("inf") else ("Infinity" if number > 0 else "-Infinity")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
