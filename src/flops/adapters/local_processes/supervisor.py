"""Keeps processes running, each in an asyncio task of its own, and makes sure that nothing of one outlives it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flops.adapters.local_processes import launch, log_file
from flops.adapters.local_processes.members import Members
from flops.adapters.local_processes.process import Backoff, ProcessSpec, ProcessStatus, RestartPolicy
from flops.adapters.local_processes.process_table import kill
from flops.adapters.local_processes.protocol import ORCHESTRATOR
from flops.errors import OrchestratorUnavailableError
from flops.project.deployment import InstanceState

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterable, Mapping

_log = logging.getLogger(__name__)

KILL_DEADLINE_S: Final = 10.0
SERVICE_IS_STABLE_AFTER_S: Final = 600.0
_KILL_PAUSE_S: Final = 0.005
_TAIL_LINES: Final = 40
_TAIL_BYTES: Final = 8192


@dataclass(eq=False, slots=True)
class Supervised:
    """A process: what it should be and what it is. ``violation`` says which limit it broke."""

    spec: ProcessSpec
    status: ProcessStatus
    task: asyncio.Task[None] | None = None
    main: subprocess.Popen[bytes] | None = None
    exit: asyncio.Future[int] | None = None
    attempted: asyncio.Event = field(default_factory=asyncio.Event)
    cpus: frozenset[int] = frozenset()
    violation: str = ""

    @property
    def is_system(self) -> bool:
        """Whether it is a part of FLOps itself rather than an instance of a service."""
        return not self.spec.group


@dataclass(frozen=True, slots=True)
class Ended:
    """How one run of a process ended; ``exit_code`` is None when it could not even begin."""

    reason: str
    exit_code: int | None


class Supervisor:
    """Starts, watches, restarts and stops. ``report`` hears every new status, with the log's end after a crash."""

    def __init__(self, home: Path, inherited: Mapping[str, str], report: Callable[[Supervised, str], None]) -> None:
        self._home, self._inherited, self._report = home, inherited, report
        self.members = Members(home)
        self._exits: dict[int, Supervised] = {}
        self._used_cpus: Counter[int] = Counter()

    @property
    def running(self) -> list[Supervised]:
        """Every process whose main process has not ended."""
        return list(self._exits.values())

    def start(self, process: Supervised) -> None:
        """Begin to keep a process running."""
        process.task = asyncio.create_task(self._keep_running(process), name=process.spec.id)
        process.task.add_done_callback(log_failure)

    async def stop(self, process: Supervised) -> None:
        """End a process with all its offspring: SIGTERM to its group, then, after its grace, SIGKILL to what is left.

        Raises:
            OrchestratorUnavailableError: something of it cannot be killed.
        """
        if process.task is not None:
            process.task.cancel()
            await asyncio.gather(process.task, return_exceptions=True)
        if process.exit is not None and not process.exit.done():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.status.pid, signal.SIGTERM)
            await asyncio.wait([process.exit], timeout=process.spec.grace_s)
        await self._clear(process)
        process.status.pid = 0

    def reap(self) -> None:
        """Collect every child that has ended: main processes, and orphans that this process has adopted."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._note_exit(pid, os.waitstatus_to_exitcode(status))

    def break_off(self, process: Supervised, violation: str) -> None:
        """Kill a process that broke one of its limits; it is not started again."""
        process.violation = violation
        self.kill(process)

    def kill(self, process: Supervised) -> None:
        """Kill whatever runs of a process."""
        kill(self.members.of(process.spec.id, process.status.pid))

    def _note_exit(self, pid: int, exit_code: int) -> None:
        process = self._exits.pop(pid, None)
        if process is None or process.exit is None or process.main is None:
            return
        process.main.returncode = exit_code
        self._used_cpus.subtract(process.cpus)
        process.exit.set_result(exit_code)

    async def _keep_running(self, process: Supervised) -> None:
        backoff = Backoff() if process.is_system else _backoff_of_service(process.status.runs_in_a_row)
        clock = asyncio.get_running_loop().time
        while True:
            started = clock()
            ended = await self._run_once(process)
            wait_s = backoff.after(clock() - started)
            process.status.runs_in_a_row = backoff.runs_in_a_row
            if not self._may_run_again(process, ended, backoff.runs_in_a_row):
                return
            process.status.restarts += 1
            self._set(process, InstanceState.SCHEDULED, ended)
            await asyncio.sleep(wait_s)

    def _may_run_again(self, process: Supervised, ended: Ended, runs_in_a_row: int) -> bool:
        """What crashes now and then over weeks is started again; what crashes again and again is not."""
        spec = process.spec
        if spec.restart is RestartPolicy.ALWAYS:
            return True
        if ended.exit_code == 0 and not process.violation:
            self._set(process, InstanceState.COMPLETED, Ended("", 0))
        elif process.violation or ended.exit_code is None or runs_in_a_row > spec.max_restarts:
            self._set(process, InstanceState.FAILED, ended)
        else:
            return True
        return False

    async def _run_once(self, process: Supervised) -> Ended:
        try:
            exit_of_main = self._launch(process)
        except launch.StartError as error:
            return Ended(str(error), None)
        finally:
            process.attempted.set()
        self._set(process, InstanceState.RUNNING, Ended(process.status.reason, None))
        ended, _ = await asyncio.wait([exit_of_main], timeout=SERVICE_IS_STABLE_AFTER_S)
        if not ended:
            process.status.runs_in_a_row = 0
            self._set(process, InstanceState.RUNNING, Ended(process.status.reason, None))
            await asyncio.wait([exit_of_main])
        exit_code = exit_of_main.result()
        try:
            await self._clear(process)
        except OrchestratorUnavailableError as error:
            process.violation = error.reason
        process.status.pid = 0
        return Ended(process.violation or _reason_of(exit_code), exit_code)

    def _launch(self, process: Supervised) -> asyncio.Future[int]:
        spec = process.spec
        process.cpus = launch.choose_cpus(spec.limits.vcpus, self._used_cpus, launch.available_cpus())
        process.main = launch.launch(spec, self._home, self._inherited, process.cpus)
        self._used_cpus.update(process.cpus)
        process.exit = asyncio.get_running_loop().create_future()
        process.status.pid = process.main.pid
        self._exits[process.main.pid] = process
        return process.exit

    async def _clear(self, process: Supervised) -> None:
        """Kill everything that belongs to a process."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + KILL_DEADLINE_S
        while left := self.members.of(process.spec.id, process.status.pid):
            if clock() > deadline:
                pids = ", ".join(str(survivor.pid) for survivor in left)
                raise OrchestratorUnavailableError(
                    ORCHESTRATOR, f"processes of {process.spec.id} survive SIGKILL: {pids}"
                )
            kill(left)
            await asyncio.sleep(_KILL_PAUSE_S)

    def _set(self, process: Supervised, state: InstanceState, ended: Ended) -> None:
        status = process.status
        has_crashed = state is InstanceState.FAILED or (state is InstanceState.SCHEDULED and bool(ended.reason))
        status.state, status.reason, status.exit_code = state, ended.reason, ended.exit_code
        text = log_file.tail(Path(process.spec.log_file), _TAIL_LINES, max_bytes=_TAIL_BYTES) if has_crashed else ""
        self._report(process, text)


async def stop_all(supervisor: Supervisor, processes: Iterable[Supervised]) -> None:
    """Stop processes side by side.

    Raises:
        OrchestratorUnavailableError: something of one of them cannot be killed; the others are stopped.
    """
    outcomes = await asyncio.gather(*(supervisor.stop(process) for process in processes), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


def _backoff_of_service(runs_in_a_row: int) -> Backoff:
    return Backoff(longest_s=2.0, reset_after_s=SERVICE_IS_STABLE_AFTER_S, runs_in_a_row=runs_in_a_row)


def log_failure(task: asyncio.Task[None]) -> None:
    """Tell of a task that has ended with an error nobody expected."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("the task %s has failed", task.get_name(), exc_info=error)


def _reason_of(exit_code: int) -> str:
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        return f"killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"killed by signal {-exit_code}"
