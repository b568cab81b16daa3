"""How the run of a container ended, and what follows from it."""

from __future__ import annotations

import signal
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from flops.project.deployment import InstanceState

if TYPE_CHECKING:
    from flops.adapters.docker_engine.container import Container, ContainerSpec
    from flops.adapters.docker_engine.state import Status

STABLE_AFTER_S: Final = 600.0
_SIGNALLED: Final = 128
_FIRST_WAIT_S: Final = 0.2
_LONGEST_WAIT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of one run. ``is_final``: another attempt would end the same way."""

    run: str
    reason: str
    exit_code: int | None = None
    is_final: bool = False

    def after(self, status: Status, max_restarts: int) -> Status:
        """What the instance is then: COMPLETED, FAILED, or SCHEDULED for another run."""
        ended = replace(status, reason=self.reason, exit_code=self.exit_code, ended_run=self.run)
        runs = status.runs_in_a_row + 1
        if self.exit_code == 0 and not self.is_final:
            return replace(ended, state=InstanceState.COMPLETED, reason="")
        if self.is_final or runs > max_restarts:
            return replace(ended, state=InstanceState.FAILED, runs_in_a_row=runs)
        return replace(ended, state=InstanceState.SCHEDULED, runs_in_a_row=runs, restarts=status.restarts + 1)


def ending_of(spec: ContainerSpec, container: Container) -> Ending:
    """How a container's last run ended."""
    if container.is_out_of_memory:
        reason = f"used more than {spec.limits.memory_mb:,} MB of memory"
        return Ending(container.run, reason, container.exit_code, is_final=True)
    return Ending(container.run, reason_of(container.exit_code), container.exit_code)


def was_stopped(status: Status, run: str) -> Status:
    """What an instance is whose container was stopped from outside: due to run again, without having crashed."""
    reason = "its container was stopped, as the Docker Engine does when it ends"
    return replace(status, state=InstanceState.SCHEDULED, reason=reason, exit_code=None, ended_run=run)


def wait_s(runs_in_a_row: int) -> float:
    """How long to wait after so many runs in a row."""
    return float(min(_FIRST_WAIT_S * 2 ** max(runs_in_a_row - 1, 0), _LONGEST_WAIT_S))


def reason_of(exit_code: int) -> str:
    """What an exit code says."""
    if exit_code > _SIGNALLED:
        try:
            return f"killed by {signal.Signals(exit_code - _SIGNALLED).name}"
        except ValueError:
            pass
    return f"exit code {exit_code}"
