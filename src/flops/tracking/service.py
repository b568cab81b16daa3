"""The tracking server of one user: an MLflow server over a directory that all projects of the user share."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sys
from typing import TYPE_CHECKING, Final

from flops.endpoint import LOOPBACK
from flops.errors import ServerNotReadyError
from flops.http_child import HttpChild, listen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from flops.delivery.service import ServiceContext

log = logging.getLogger(__name__)

START_DEADLINE_S: Final = 120.0
HEALTH: Final = ("/health", "/api/2.0/mlflow/experiments/get?experiment_id=0")
READABLE_CHARS: Final = 40


def run(context: ServiceContext, announce: Callable[[str], None]) -> int:
    """Run the server until the service is stopped; ``announce`` hears its URL once it answers.

    A server that does not come up or ends by itself gives the exit code 1.
    """
    directory = user_directory(context.settings.home / "tracking", context.identity.user)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    directory.chmod(0o700)
    command = [sys.executable, "-m", "flops.tracking.server", str(directory)]
    environment = _environment(os.environ, (context.endpoint.host, context.settings.loopback_host))
    listener = listen(directory / "port", context.endpoint)
    child = HttpChild(command, listener, environment, directory, host=context.endpoint.host)
    try:
        if not child.wait_until_ready(HEALTH, context.stopping, START_DEADLINE_S):
            return 0
        announce(child.url)
        exit_code = child.watch(context.stopping)
    except ServerNotReadyError as error:
        log.error("tracking server does not come up", extra={"reason": error.reason})  # noqa: TRY400 -- expected
        return 1
    finally:
        child.stop()
    if exit_code is None:
        return 0
    log.error("tracking server has ended", extra={"exit_code": exit_code})
    return 1


def user_directory(parent: Path, user: str) -> Path:
    """A directory of the user's own, whatever characters the name has: readable, and never the same for two names."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", user).strip("-")[:READABLE_CHARS]
    if readable == user:
        return parent / user
    return parent / f"{readable or 'user'}.{hashlib.sha256(user.encode()).hexdigest()[:12]}"


def _environment(environment: Mapping[str, str], hosts: Sequence[str]) -> dict[str, str]:
    """No credentials of FLOps, no MLflow settings of the user's shell; byte code is kept, it halves the next start.

    ``hosts`` are what the server may be called besides a loopback address: MLflow refuses requests to other names.
    """
    kept = {
        name: value
        for name, value in environment.items()
        if not name.startswith(("FLOPS_", "MLFLOW_", "_MLFLOW_")) and name != "PYTHONDONTWRITEBYTECODE"
    }
    names = [name for host in sorted({*LOOPBACK, *hosts} - {""}) for name in (host, f"{host}:*")]
    return {**kept, "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(names)}
