"""The MLflow server, started by the tracking service: ``python -m flops.tracking.server DIRECTORY DESCRIPTOR``.

The command ``mlflow server`` imports all of MLflow twice, in itself and in the server that it starts, and a job
runner imports it a third time; this is that server alone.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import threading
from pathlib import Path


def main() -> None:
    """Serve on the listening socket until SIGTERM, or until the starting process is gone."""
    directory, descriptor = Path(sys.argv[1]), int(sys.argv[2])
    threading.Thread(target=_end_with_starter, daemon=True).start()
    os.environ.update(
        _MLFLOW_SERVER_FILE_STORE=f"sqlite:///{directory}/mlflow.db",
        _MLFLOW_SERVER_SERVE_ARTIFACTS="true",
        _MLFLOW_SERVER_ARTIFACT_DESTINATION=str(directory / "artifacts"),
        _MLFLOW_SERVER_ARTIFACT_ROOT="mlflow-artifacts:/",
        MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
        MLFLOW_DISABLE_TELEMETRY="true",
    )
    gc.disable()  # nothing that an import makes is garbage: a tenth of the start
    import uvicorn  # noqa: PLC0415 -- heavy, and only after the environment is set
    from mlflow.server.fastapi_app import app  # noqa: PLC0415

    gc.enable()
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    server.run(sockets=[socket.socket(fileno=descriptor)])


def _end_with_starter() -> None:
    """Nothing is ever written to standard input; it ends when the process that started this one has ended."""
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
