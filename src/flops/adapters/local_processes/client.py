"""Speaking to the daemon of one home, and starting it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from flops.adapters.local_processes import log_file, protocol
from flops.adapters.local_processes.environment import passed_through
from flops.adapters.local_processes.lock import acquire_lock
from flops.adapters.local_processes.members import Members
from flops.adapters.local_processes.process import ProcessSpec, ProcessStatus
from flops.adapters.local_processes.process_table import kill
from flops.errors import OrchestratorUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from flops.settings import Settings

_CALL_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.005
_LOG_LINES: Final = 5


class DaemonClient:
    """The daemon of one home. Any thread may call; every call is a connection of its own.

    Every method raises OrchestratorUnavailableError when the daemon does not run or does not answer, and
    StoreUnavailableError when it cannot save, unless it says otherwise.
    """

    def __init__(self, home: Path) -> None:
        self._home = home

    def call(self, name: str, /, *, timeout_s: float = _CALL_TIMEOUT_S, **arguments: object) -> Any:  # noqa: ANN401  JSON
        """Make one call and return its answer."""
        line = self._exchange(protocol.encode({"call": name, "arguments": arguments}), timeout_s)
        try:
            answer = protocol.decode(line)
        except (ValueError, TypeError) as error:
            raise OrchestratorUnavailableError(protocol.ORCHESTRATOR, "it broke off while answering") from error
        if "error" in answer:
            raise protocol.decode_error(answer["error"])
        return answer["result"]

    def is_running(self) -> bool:
        """Whether the daemon answers."""
        try:
            self.call("apps")
        except OrchestratorUnavailableError:
            return False
        return True

    def ensure(self, spec: ProcessSpec) -> ProcessStatus:
        """Keep a system process running as specified, from now on; another specification restarts it. Idempotent.

        Returns after the first attempt to start it: the status then has a ``pid``, or the ``reason`` why not.
        """
        return ProcessStatus.from_json(self.call("ensure", spec=spec.to_json()))

    def processes(self) -> list[ProcessStatus]:
        """Every process, system processes and instances, in the order in which they were asked for."""
        return [ProcessStatus.from_json(document) for document in self.call("processes")]

    def stop(self, process_id: str) -> None:
        """Stop a system process and forget it; returns when it is gone. Idempotent."""
        self.call("stop", name=process_id)

    def resume(self) -> None:
        """Start again the services that ran when FLOps was shut down. Idempotent."""
        self.call("resume")

    def shutdown(self, timeout_s: float = 120.0) -> None:
        """Stop the services, then the system processes in reverse order, then the daemon; returns when all is gone.

        Services are kept for ``resume``; system processes are forgotten. Idempotent, also after a daemon was killed.
        """
        deadline = time.monotonic() + timeout_s
        with suppress(OrchestratorUnavailableError):
            self.call("shutdown")
        while (lock := acquire_lock(self._home)) is None:
            if time.monotonic() > deadline:
                raise OrchestratorUnavailableError(protocol.ORCHESTRATOR, f"it has not ended within {timeout_s:g} s")
            time.sleep(_POLL_S)
        try:
            self._kill_strays(deadline)
        finally:
            os.close(lock)

    def _kill_strays(self, deadline: float) -> None:
        members = Members(self._home)
        while left := members.all():
            if time.monotonic() > deadline:
                pids = ", ".join(str(process.pid) for process in left)
                raise OrchestratorUnavailableError(protocol.ORCHESTRATOR, f"processes survive SIGKILL: {pids}")
            kill(left)
            time.sleep(_POLL_S)

    def _exchange(self, request: bytes, timeout_s: float) -> bytes:
        try:
            address = protocol.address_file(self._home).read_text()
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(timeout_s)
                connection.connect(address)
                connection.sendall(request)
                with connection.makefile("rb") as answers:
                    return answers.readline()
        except FileNotFoundError as error:
            raise OrchestratorUnavailableError(protocol.ORCHESTRATOR, "it is not running") from error
        except OSError as error:
            raise OrchestratorUnavailableError(protocol.ORCHESTRATOR, str(error) or type(error).__name__) from error


def ensure_daemon(settings: Settings, environment: Mapping[str, str], *, timeout_s: float = 20.0) -> DaemonClient:
    """Start the daemon of ``settings.home`` unless it runs, and wait until it answers. Idempotent.

    What it starts inherits the part of ``environment`` that ``passed_through`` lets pass.

    Raises:
        OrchestratorUnavailableError: it did not answer in time; the reason has the end of its log.
    """
    client = DaemonClient(settings.home)
    deadline = time.monotonic() + timeout_s
    while not client.is_running():
        if time.monotonic() > deadline:
            raise OrchestratorUnavailableError(protocol.ORCHESTRATOR, _why_not(settings.home, "it did not start"))
        _start(settings.home, environment)
        _wait_for_answer(client, min(deadline, time.monotonic() + 5.0))
    return client


def _start(home: Path, environment: Mapping[str, str]) -> None:
    log = protocol.daemon_log(home)
    try:
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        home.chmod(0o700)
        with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as output:
            subprocess.run(
                [sys.executable, "-m", "flops.adapters.local_processes.daemon", str(home)],
                env=passed_through(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                check=True,
            )
    except (OSError, subprocess.SubprocessError) as error:
        raise OrchestratorUnavailableError(protocol.ORCHESTRATOR, _why_not(home, str(error))) from error


def _wait_for_answer(client: DaemonClient, deadline: float) -> None:
    while not client.is_running() and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def _why_not(home: Path, reason: str) -> str:
    end = log_file.tail(protocol.daemon_log(home), _LOG_LINES).strip()
    return f"{reason}; the end of its log: {end}" if end else reason
