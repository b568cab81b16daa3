"""Serves an MLflow model over HTTP in the model's own environment: ``python scoring.py MODEL DESCRIPTOR``.

It stands alone: Python 3.9 or later and mlflow-skinny 2.9 or later with pandas, nothing of FLOps. What an input means
and what an answer looks like is MLflow's own (``mlflow.pyfunc.scoring_server``). Only the HTTP around it is not:
MLflow 2's needs Flask and MLflow 3's FastAPI, which the ML repository need not have, and both answer some bad
inputs with status 500 and a stack trace.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import json
import logging
import math
import os
import signal
import socket
import sys
import threading
import types
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_SKIPPED_BYTES = 1024 * MAX_BODY_BYTES
MAX_REASON_CHARS = 2_000
MAX_LOGGED_CHARS = 200
JSON = "application/json"
CSV = "text/csv"
CONTENT_TYPES = (JSON, CSV)
INPUT_KEYS = ("inputs", "instances", "dataframe_split", "dataframe_records")


class Refusal(Exception):  # noqa: N818 -- it is an answer
    """A request that gets no prediction, with its HTTP status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Scorer:
    """A loaded model and how MLflow's scoring protocol asks it."""

    def __init__(self, directory: str) -> None:
        logging.getLogger("mlflow.pyfunc.scoring_server").setLevel(logging.ERROR)
        import mlflow.pyfunc  # noqa: PLC0415 -- once, and heavy

        with _without_flask():
            from mlflow.pyfunc import scoring_server  # noqa: PLC0415

        self.version = mlflow.version.VERSION
        self._model = mlflow.pyfunc.load_model(directory)
        self._invocations: Callable[..., Any] = scoring_server.invocations
        self.metadata = self._model.metadata
        self._schema = self._model.metadata.get_input_schema()

    def answer(self, body: bytes, content_type: str) -> bytes:
        """The answer to one request for predictions.

        Raises:
            Refusal: the input is not one that the model takes.
        """
        media_type = content_type.split(";", maxsplit=1)[0].strip().lower()
        if not media_type:
            raise Refusal(400, f"The header Content-Type is missing; one of {', '.join(CONTENT_TYPES)} is expected.")
        if media_type not in CONTENT_TYPES:
            expected = ", ".join(CONTENT_TYPES)
            raise Refusal(415, f"The content type {media_type!r} is not understood; one of {expected} is expected.")
        if not body:
            raise Refusal(400, "The request has no body.")
        try:
            response = self._invocations(_text(body), content_type, self, self._schema_for(media_type))
        except Refusal:
            raise
        except Exception as error:
            reason = (_json_fault(body) if media_type == JSON else "") or _reason(error)
            raise Refusal(400, reason) from error
        if response.status != 200:  # noqa: PLR2004 -- HTTP
            raise Refusal(response.status, response.response)
        answer: bytes = response.response.encode()
        return answer

    def predict(self, data: Any, params: Any = None) -> Any:  # noqa: ANN401 -- whatever the model takes and gives
        """Called by MLflow with what it has read."""
        _hide_progress_bars()
        prediction = self._model.predict(self._as_tensor(data), params=params)
        return getattr(prediction, "numpy", lambda: prediction)()

    def _schema_for(self, media_type: str) -> Any:  # noqa: ANN401 -- MLflow's
        """MLflow reads no CSV for a tensor: without a schema it gives a table, which then becomes the tensor."""
        is_table_for_tensor = media_type == CSV and self._schema is not None and self._schema.is_tensor_spec()
        return None if is_table_for_tensor else self._schema

    def _as_tensor(self, data: Any) -> Any:  # noqa: ANN401
        """The numbers of a table in the shape and type of the model's one unnamed tensor, where that loses nothing.

        MLflow itself refuses whole numbers for a model of floating-point numbers, and rows for a model of images.
        """
        schema = self._schema
        if schema is None or not schema.is_tensor_spec() or schema.has_input_names() or not hasattr(data, "to_numpy"):
            return data
        import numpy as np  # noqa: PLC0415 -- imported already, by the model

        spec, rows = schema.inputs[0], data.to_numpy()
        sizes = [int(size) for size in spec.shape[1:]]
        is_fitting = all(size > 0 for size in sizes) and rows.ndim == 2 and rows.shape[1] == math.prod(sizes)  # noqa: PLR2004
        if not is_fitting or not len(rows) or not np.can_cast(rows.dtype, spec.type, "same_kind"):
            return data
        return rows.astype(spec.type).reshape([-1, *sizes])


class Server(ThreadingHTTPServer):
    """Serves on a socket that listens already; a client that has gone away is no error."""

    daemon_threads = True

    def __init__(self, listener: socket.socket) -> None:
        super().__init__(listener.getsockname(), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 -- as socketserver has it
        """Say what went wrong in the log."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """``GET /ping``, ``/health``, ``/version`` and ``POST /invocations``; every error is JSON with a reason."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60
    scorer: Scorer

    def do_GET(self) -> None:
        """Answer whether the model can be asked, and which MLflow this is."""
        path = self.path.split("?")[0]
        if path in ("/ping", "/health"):
            self._send(200, b"\n")
        elif path == "/version":
            self._send(200, self.scorer.version.encode())
        elif path == "/invocations":
            self.send_error(405, "Send inputs to /invocations with POST.")
        else:
            self.send_error(404, f"There is no {path}; there are /ping, /health, /version and /invocations.")

    def do_POST(self) -> None:
        """Predict."""
        path = self.path.split("?")[0]
        if path != "/invocations":
            self.send_error(404, f"There is no {path} to post to; there is /invocations.")
            return
        try:
            answer = self.scorer.answer(self._body(), self.headers.get("Content-Type", ""))
        except Refusal as refusal:
            self.send_error(refusal.status, refusal.reason)
            return
        self._send(200, answer)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Answer with a reason as JSON, in the shape of MLflow's errors."""
        reason = _cut(message or "This request is not understood.")
        self.log_error("%s %s: %d %s", self.command, self.path, code, reason[:MAX_LOGGED_CHARS])
        content = {"error_code": HTTPStatus(code).name, "message": reason}
        self.close_connection = self.close_connection or code in (411, 413)
        self._send(code, json.dumps(content).encode())
        if code == 413:  # noqa: PLR2004 -- a client that is still sending hears the answer only when it has sent all
            self._skip(int(self.headers["Content-Length"]))

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Not logged; errors are."""

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length")
        if length is None or not length.isdigit():
            raise Refusal(411, "The header Content-Length is missing or no number; chunked requests are not taken.")
        if int(length) > MAX_BODY_BYTES:
            raise Refusal(413, f"The request has {int(length):,} bytes; at most {MAX_BODY_BYTES:,} are taken at once.")
        return self.rfile.read(int(length))

    def _skip(self, length: int) -> None:
        left = min(length, MAX_SKIPPED_BYTES)
        while left > 0 and (skipped := len(self.rfile.read(min(left, 65_536)))):
            left -= skipped

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", JSON)
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _json_fault(body: bytes) -> str:
    try:
        content = json.loads(body)
    except RecursionError:
        return "The body is nested too deeply."
    except ValueError as error:
        return f"The body is no JSON: {error}."
    if isinstance(content, dict) and len([key for key in INPUT_KEYS if key in content]) == 1:
        return ""
    return f"The body has to be a JSON object with exactly one of {', '.join(INPUT_KEYS)}."


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Refusal(400, "The body is not text in UTF-8.") from None


def _reason(error: Exception) -> str:
    """What MLflow or the model says about an input, without the input itself and without a stack trace."""
    message = str(getattr(error, "message", "") or f"{type(error).__name__}: {error}")
    cause = error.__context__
    if cause is not None and message.startswith("Encountered an unexpected error"):
        return f"The model does not take this input: {type(cause).__name__}: {cause}"
    _, is_about_schema, reason = message.rpartition(". Error: ")
    return reason if is_about_schema and "schema of data" in message else message.rsplit("\nError: ", 1)[-1].strip()


def _cut(reason: str) -> str:
    return reason if len(reason) <= MAX_REASON_CHARS else f"{reason[:MAX_REASON_CHARS]}…"


@contextlib.contextmanager
def _without_flask() -> Iterator[None]:
    """Let MLflow before 2.18 import its scoring functions where Flask, which only its own server needs, is missing."""
    if importlib.util.find_spec("flask") is not None:
        yield
        return
    absent = {name: types.ModuleType(name) for name in ("flask", "mlflow.server", "mlflow.server.handlers")}
    vars(absent["mlflow.server.handlers"])["catch_mlflow_exception"] = lambda function: function
    absent = {name: module for name, module in absent.items() if name not in sys.modules}
    sys.modules.update(absent)
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


def _hide_progress_bars() -> None:
    """Keras draws one per request, unless its setting of the current thread says no."""
    keras = sys.modules.get("keras")
    for place in (getattr(keras, "config", None), getattr(keras, "utils", None)):
        getattr(place, "disable_interactive_logging", lambda: None)()


def _end_with_starter() -> None:
    """Nothing is ever written to standard input; it ends when the process that started this one has ended."""
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _stop(*_: object) -> None:
    raise SystemExit(0)


def main() -> None:
    """Load the model, then serve it on the listening socket until SIGTERM or until the starting process is gone."""
    directory, descriptor = sys.argv[1], int(sys.argv[2])
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_end_with_starter, daemon=True).start()
    gc.disable()  # nothing that an import makes is garbage
    Handler.scorer = Scorer(directory)
    gc.freeze()
    gc.enable()
    Server(socket.socket(fileno=descriptor)).serve_forever()


if __name__ == "__main__":
    main()
