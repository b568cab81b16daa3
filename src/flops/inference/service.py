"""The inference server of one project: its trained model, answering over HTTP in the model's own environment."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flops.delivery.farewell import await_confirmation
from flops.errors import ServerNotReadyError, StoppingError
from flops.http_child import HttpChild, listen
from flops.learning.model_process.environment import model_environment
from flops.wire.events import InferenceFailed, InferenceReady

if TYPE_CHECKING:
    from collections.abc import Callable

    from flops.delivery.service import ServiceContext

log = logging.getLogger(__name__)

START_DEADLINE_S: Final = 300.0  # a cold import of TensorFlow on a busy machine takes a minute
SCORING: Final = Path(__file__).with_name("scoring.py")
QUIET_MLFLOW: Final = {"MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONUNBUFFERED": "1"}


def run(context: ServiceContext, python: Path, model: Path, announce: Callable[[str], None]) -> int:
    """Serve the MLflow model in directory ``model`` with the interpreter ``python`` until the service is stopped.

    ``announce`` hears the URL once the model answers. A model that cannot be served is an event and the exit code 0,
    since starting it again would not help; a server that ends by itself gives 1.
    """
    deadline_s = float(context.config.get("start_deadline_s") or START_DEADLINE_S)
    command = [str(python), str(SCORING), str(model)]
    environment = model_environment(os.environ, context.directory, None, QUIET_MLFLOW)
    try:
        listener = listen(context.directory / "port", context.endpoint)
        child = HttpChild(command, listener, environment, context.directory, host=context.endpoint.host)
    except OSError as error:
        return _give_up(context, f"The interpreter of its image cannot be started: {error}", "")
    try:
        if not child.wait_until_ready(("/ping",), context.stopping, deadline_s):
            return 0
        announce(child.url)
        context.events.publish(InferenceReady(url=child.url))
        exit_code = child.watch(context.stopping)
    except ServerNotReadyError as error:
        return _give_up(context, f"The inference server does not come up: {error.reason}", error.output)
    finally:
        child.stop()
    if exit_code is None:
        return 0
    log.error("inference server has ended", extra={"exit_code": exit_code})
    return 1


def _give_up(context: ServiceContext, reason: str, output: str) -> int:
    remedy = "Load the model with MLflow in the ML repository's environment to see what it misses."
    context.events.publish(InferenceFailed(reason=reason, remedy=remedy, details=output))
    return 0 if await_confirmation(context) else StoppingError.exit_code
