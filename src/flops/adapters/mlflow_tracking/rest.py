"""Calls of MLflow's REST API, and files of its artifact store behind the server."""

from __future__ import annotations

import json
import shutil
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from urllib.error import HTTPError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import Request

from flops.errors import TrackingUnavailableError
from flops.http_opener import opener_for

if TYPE_CHECKING:
    from http.client import HTTPResponse

API: Final = "/api/2.0/mlflow/"
ARTIFACTS: Final = "/api/2.0/mlflow-artifacts/artifacts"
TIMEOUT_S: Final = 15.0
UPLOAD_TIMEOUT_S: Final = 120.0


class MissingObjectError(TrackingUnavailableError):
    """The server has no such endpoint, experiment, run or artifact."""


class MlflowRest:
    """An MLflow server that answers in seconds or is unavailable: nothing is tried twice here."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._opener = opener_for(url)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Call one endpoint below ``/api/2.0/mlflow/``.

        Raises:
            MissingObjectError: the endpoint or what is asked for does not exist.
            TrackingUnavailableError: the server does not answer or refuses.
        """
        data = None if body is None else json.dumps(body).encode()
        with self._open(method, API + path, data, {"Content-Type": "application/json"}, TIMEOUT_S) as answer:
            return self._object(answer)

    def upload(self, artifact_uri: str, content: bytes | Path) -> None:
        """Store one artifact, replacing one of the same name."""
        path = f"{ARTIFACTS}/{quote(self._served_path(artifact_uri))}"
        headers = {"Content-Type": "application/octet-stream"}
        if isinstance(content, bytes):
            self._open("PUT", path, content, headers, TIMEOUT_S).close()
            return
        headers["Content-Length"] = str(content.stat().st_size)
        with content.open("rb") as file:
            self._open("PUT", path, file, headers, UPLOAD_TIMEOUT_S).close()

    def download(self, artifact_uri: str, into: Path) -> int:
        """Fetch everything below an artifact directory; returns how many files there were."""
        return self._download(self._served_path(artifact_uri), into)

    def _download(self, path: str, into: Path) -> int:
        with self._open("GET", f"{ARTIFACTS}?{urlencode({'path': path})}", None, {}, TIMEOUT_S) as answer:
            listed = self._object(answer).get("files", [])
        files = 0
        for item in listed:
            name = PurePosixPath(str(item["path"])).name
            if name in ("", ".."):
                raise TrackingUnavailableError(f"The tracking server lists the unusable artifact {item['path']!r}.")
            target = into / name
            if item.get("is_dir"):
                target.mkdir(exist_ok=True)
                files += self._download(f"{path}/{name}", target)
                continue
            source = f"{ARTIFACTS}/{quote(f'{path}/{name}')}"
            with self._open("GET", source, None, {}, UPLOAD_TIMEOUT_S) as answer, target.open("wb") as file:
                self._copy(answer, file)
            files += 1
        return files

    def _open(
        self, method: str, path: str, data: bytes | BinaryIO | None, headers: dict[str, str], timeout_s: float
    ) -> HTTPResponse:
        request = Request(self._url + path, data=data, headers=headers, method=method)  # noqa: S310 -- configured
        try:
            answer: HTTPResponse = self._opener.open(request, timeout=timeout_s)
        except HTTPError as error:
            with error:
                reason = _refusal(error)
            kind = MissingObjectError if error.code == HTTPStatus.NOT_FOUND else TrackingUnavailableError
            raise kind(f"The tracking server at {self._url} refuses: {reason}.") from None
        except (OSError, HTTPException) as error:
            raise self._unreachable(error) from None
        return answer

    def _object(self, answer: HTTPResponse) -> dict[str, Any]:
        try:
            content = json.loads(answer.read() or b"{}")
        except (OSError, HTTPException) as error:
            raise self._unreachable(error) from None
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise TrackingUnavailableError(f"What answers at {self._url} is no MLflow server.")
        return content

    def _copy(self, answer: HTTPResponse, file: BinaryIO) -> None:
        try:
            shutil.copyfileobj(answer, file)
        except (OSError, HTTPException) as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> TrackingUnavailableError:
        reason = getattr(error, "reason", None) or error
        return TrackingUnavailableError(
            f"The tracking server at {self._url} does not answer: {reason}.",
            remedy="Does its service run? 'flops services' tells.",
        )

    def _served_path(self, artifact_uri: str) -> str:
        parts = urlsplit(artifact_uri)
        if parts.scheme != "mlflow-artifacts":
            raise TrackingUnavailableError(
                f"The tracking server at {self._url} does not serve artifacts itself but keeps them at {artifact_uri}.",
                remedy="Start it with --serve-artifacts.",
            )
        return parts.path.strip("/")


def _refusal(error: HTTPError) -> str:
    try:
        content = json.loads(error.read())
        return f"{content['error_code']}: {content['message']}".rstrip(".")
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return f"HTTP {error.code} {error.reason}"
