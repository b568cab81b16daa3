"""What has to be done next for an instance: follows from what is recorded of it and from what the swarm says.

No task is started while another one of the same instance may be at work on a node that answers. Where a node does not
answer, nobody knows: what is bound to it waits for it, anything else goes on elsewhere, perhaps beside its twin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flops.adapters.docker_engine.endings import Ending, reason_of
from flops.adapters.docker_engine.swarm.members import DEPLOYMENT
from flops.errors import EXIT_TERMINATED
from flops.project.deployment import InstanceState

if TYPE_CHECKING:
    from flops.adapters.docker_engine.container import ContainerSpec
    from flops.adapters.docker_engine.state import Supervised
    from flops.adapters.docker_engine.swarm.members import Seen, Task

BOUND: Final = "bound"  # a label of what stays on its node whatever happens, since its data are there
_CONTAINER_LOST: Final = "No such container"
_NONZERO_EXIT: Final = "task: non-zero exit"
_KILLED: Final = 137


@dataclass(frozen=True, slots=True)
class Start:
    """Begin a run, on the instance's node."""


@dataclass(frozen=True, slots=True)
class Move:
    """Give the instance another node, since its own cannot be used."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop a run that is over for FLOps and goes on in the swarm."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can be done now; ``reason`` says what a person may want to know, if anything."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class TellRunning:
    """A run has begun."""

    task: Task


@dataclass(frozen=True, slots=True)
class Interrupt:
    """A run is over, but has not ended by itself: it does not count as a crash."""

    task: Task
    reason: str


@dataclass(frozen=True, slots=True)
class End:
    """A run has ended by itself, or could not begin."""

    ending: Ending


Step = Start | Move | Stop | Wait | TellRunning | Interrupt | End


def next_step(supervised: Supervised, seen: Seen) -> Step:
    """The next step for an instance that is SCHEDULED or RUNNING."""
    spec, status = supervised.spec, supervised.status
    deployment = spec.labels[DEPLOYMENT]
    found = seen.tasks.get(spec.instance, ())
    tasks = [task for task in found if task.deployment == deployment and not task.is_parked]
    task = tasks[-1] if tasks else None
    if task is None and status.state is InstanceState.RUNNING:
        return End(Ending(status.run, "its service was removed from the swarm"))
    if task is None or task.id == status.ended_run:
        return _start(spec, tasks, seen)
    if reason := _interrupted(spec, task, seen):
        return Interrupt(task, reason)
    if task.is_waiting:
        return _pending(spec, task, seen)
    if task.is_running or (task.has_ended and status.run != task.id):
        return TellRunning(task) if (status.run, status.state) != (task.id, InstanceState.RUNNING) else Wait()
    return Wait() if task.is_at_work else End(_ending(spec, task))


def _interrupted(spec: ContainerSpec, task: Task, seen: Seen) -> str:
    """Why a task is over without having ended by itself; empty if that is not so.

    An engine that ends, or starts after it was killed, ends what runs. The swarm hears of that as of any end of a
    process: only who was asked to end, and ends with the exit code that says so, has not crashed or completed.
    """
    if seen.is_lost(task):
        return f"its node {spec.node!r} does not answer"
    if task.was_stopped:
        return "the swarm has stopped it"
    if task.has_ended and (task.exit_code == EXIT_TERMINATED or task.reason.startswith(_CONTAINER_LOST)):
        return f"the Docker Engine of its node {spec.node!r} has ended, or has started again"
    return ""


def _start(spec: ContainerSpec, tasks: list[Task], seen: Seen) -> Step:
    at_work = [task for task in tasks if task.is_at_work and not seen.is_lost(task)]
    if at_work:
        return Stop() if any(task.is_wanted for task in at_work) else Wait()
    node = seen.named(spec.node)
    if node is not None and node.is_usable:
        return Start()
    return Wait(f"its node {spec.node!r} cannot be used now") if spec.labels.get(BOUND) else Move()


def _pending(spec: ContainerSpec, task: Task, seen: Seen) -> Step:
    """A task that no node has taken: its node is full, or has gone away since it was chosen."""
    node = seen.named(spec.node)
    if node is None or not node.is_usable:
        return Interrupt(task, f"its node {spec.node!r} cannot be used now")
    return Wait(task.reason)


def _ending(spec: ContainerSpec, task: Task) -> Ending:
    if task.state == "complete":
        return Ending(task.id, "", 0)
    if task.state == "failed" and task.exit_code is not None and task.reason.startswith(_NONZERO_EXIT):
        return Ending(task.id, _explained(spec, task.exit_code), task.exit_code)
    return Ending(task.id, task.reason or "it could not be started", task.exit_code)


def _explained(spec: ContainerSpec, exit_code: int) -> str:
    if exit_code == _KILLED and spec.limits.memory_mb:
        return f"killed by SIGKILL, as is what uses more than {spec.limits.memory_mb:,} MB of memory"
    return reason_of(exit_code)
