"""Asks an inference server for predictions, as MLflow's scoring protocol has it."""

from __future__ import annotations

import json
from http import HTTPStatus
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.error import HTTPError
from urllib.request import Request

from flops.errors import InferenceUnavailableError, PredictionRefusedError
from flops.http_opener import opener_for

if TYPE_CHECKING:
    from collections.abc import Sequence

TIMEOUT_S: Final = 60.0


class Array(Protocol):
    """What ``tolist`` turns into nested lists: a numpy array, for instance."""

    def tolist(self) -> list[Any]:
        """The values as nested lists of Python numbers."""


def payload_of(rows: Sequence[Any] | Array) -> bytes:
    """The body of a request for one prediction per row: nested lists or an array, rows first."""
    return json.dumps({"inputs": list(rows) if not hasattr(rows, "tolist") else rows.tolist()}).encode()


def predict(url: str, rows: Sequence[Any] | Array) -> list[Any]:
    """One prediction per row.

    Raises:
        PredictionRefusedError: the rows are not what the model takes.
        InferenceUnavailableError: the server does not answer.
    """
    headers = {"Content-Type": "application/json"}
    request = Request(f"{url.rstrip('/')}/invocations", payload_of(rows), headers)  # noqa: S310 -- from our own events
    try:
        with opener_for(url).open(request, timeout=TIMEOUT_S) as answer:
            predictions = json.load(answer)["predictions"]
    except HTTPError as error:
        with error:
            reason = _refusal(error)
        if error.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise InferenceUnavailableError(url, reason) from None
        raise PredictionRefusedError(url, reason) from None
    except (OSError, HTTPException) as error:
        raise InferenceUnavailableError(url, str(getattr(error, "reason", None) or error)) from None
    except (ValueError, KeyError, TypeError):
        raise InferenceUnavailableError(url, "what answers there is no inference server") from None
    return list(predictions)


def _refusal(error: HTTPError) -> str:
    try:
        return str(json.loads(error.read())["message"]).rstrip(".")
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return f"HTTP {error.code} {error.reason}"
