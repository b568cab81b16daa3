"""Lets run what should run: looks at the swarm, again and again, and does the next step of each instance.

A swarm tells of services and nodes what happens to them, but not of tasks: they have to be asked for. That is two
requests for all of an installation, and none while nothing should run.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from flops.adapters.docker_engine.connection import PORT_TAKEN, EngineRefusedError
from flops.adapters.docker_engine.endings import STABLE_AFTER_S, Ending, wait_s
from flops.adapters.docker_engine.ports import choose_port
from flops.adapters.docker_engine.swarm.judgement import (
    End,
    Interrupt,
    Move,
    Start,
    Stop,
    TellRunning,
    Wait,
    next_step,
)
from flops.adapters.docker_engine.swarm.run_logs import MAX_LINES
from flops.errors import DeploymentRefusedError, FlopsError
from flops.project.deployment import InstanceState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flops.adapters.docker_engine.container import ContainerSpec
    from flops.adapters.docker_engine.state import Supervised
    from flops.adapters.docker_engine.swarm.cluster import Cluster
    from flops.adapters.docker_engine.swarm.judgement import Step
    from flops.adapters.docker_engine.swarm.members import Seen, SwarmNode, Task
    from flops.adapters.docker_engine.swarm.state import SwarmState

log = logging.getLogger(__name__)

WORKERS: Final = 8
LOOK_SOON_S: Final = 0.2  # while something is about to start or to end
LOOK_S: Final = 1.0
IDLE_LOOK_S: Final = 10.0  # while nothing should run
RETRY_S: Final = 1.0
APPEARS_S: Final = 5.0  # how long a swarm may take to make the task of a service
TAIL_LINES: Final = 40
TAIL_BYTES: Final = 8192
ACTIVE: Final = frozenset({InstanceState.SCHEDULED, InstanceState.RUNNING})


class Deployments(Protocol):
    """What has to be known of deployments where their instances are supervised."""

    def settle(self, seen: Seen) -> None:
        """See to what has to be there whatever is deployed; called whenever learner nodes come or go."""

    def files_of(self, container: ContainerSpec, node: SwarmNode) -> Mapping[str, str]:
        """The files of an instance on a node; raises OSError where one cannot be read."""

    def elsewhere(self, container: ContainerSpec, seen: Seen) -> ContainerSpec | None:
        """The same instance on another node, or None where there is none."""


class Supervisor:
    """Supervises while it holds the lock of its installation; until then it waits for it."""

    def __init__(self, cluster: Cluster, state: SwarmState, deployments: Deployments) -> None:
        self._cluster, self._state, self._deployments = cluster, state, deployments
        self._learners: frozenset[str] | None = None
        self._next_look = self._next_settling = 0.0
        self._guard, self._wake, self._stopping = threading.Lock(), threading.Event(), threading.Event()
        self._due: dict[str, float] = {}
        self._busy: set[str] = set()
        self._threads: list[threading.Thread] = []

    def begin(self) -> None:
        """Supervise from now on. Idempotent."""
        with self._guard:
            if not self._threads:
                supervising = threading.Thread(target=self._supervise, name="supervise-swarm", daemon=True)
                self._threads.append(supervising)
                supervising.start()
        self._wake.set()

    def close(self) -> None:
        """Leave the services to another process."""
        self._stopping.set()
        self._wake.set()
        for thread in self._threads:
            thread.join()

    # --- the loop

    def _supervise(self) -> None:
        lock = self._take_lock()
        if lock is None:
            return
        try:
            with ThreadPoolExecutor(WORKERS, "swarm") as workers:
                is_tidy = False
                while not self._stopping.is_set():
                    self._wake.clear()
                    try:
                        is_tidy = is_tidy or self._remove_unknown()
                        wait = self._look(workers)
                    except FlopsError as error:
                        log.warning("cannot look after services in the swarm: %s", error)
                        wait = RETRY_S
                    self._wake.wait(wait)
        finally:
            os.close(lock)

    def _take_lock(self) -> int | None:
        """The lock; None when stopping."""
        descriptor = os.open(self._state.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        while not self._stopping.is_set():
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._stopping.wait(LOOK_S / 2)
            else:
                return descriptor
        os.close(descriptor)
        return None

    def _remove_unknown(self) -> bool:
        """Remove services that nobody asked for."""
        for instance in self._cluster.instances():
            if not self._state.has_instance(instance):
                log.warning("removing the service of %s, which is unknown", instance)
                self._cluster.remove(instance)
        return True

    def _look(self, workers: ThreadPoolExecutor) -> float:
        """Have done what is to be done for every instance; returns how long to wait before looking again."""
        with self._guard:
            busy = set(self._busy)
        active = {name: state for name, state in self._state.instances().items() if state in ACTIVE}
        if not active and time.monotonic() < self._next_look:
            return LOOK_S / 2
        seen, self._next_look = self._cluster.look(), time.monotonic() + IDLE_LOOK_S
        self._settle(seen)
        is_soon = False
        for instance in active.keys() - busy:
            supervised = self._state.instance(instance)
            if supervised is not None and supervised.status.state in ACTIVE:
                step = next_step(supervised, seen)
                self._hand_on(workers, supervised, step, seen)
                is_starting = supervised.status.state is InstanceState.SCHEDULED and step == Wait()
                is_soon |= is_starting or isinstance(step, Start)
        return LOOK_SOON_S if is_soon else LOOK_S

    def _settle(self, seen: Seen) -> None:
        learners = seen.learners()
        if learners != self._learners and time.monotonic() >= self._next_settling:
            try:
                self._deployments.settle(seen)
                self._learners = learners
            except DeploymentRefusedError as error:
                log.warning("a part of FLOps itself cannot be deployed: %s", error)
                self._next_settling = time.monotonic() + IDLE_LOOK_S

    def _hand_on(self, workers: ThreadPoolExecutor, supervised: Supervised, step: Step, seen: Seen) -> None:
        instance = supervised.spec.instance
        match step:
            case Wait(reason) if reason in ("", supervised.status.reason):
                return
            case Start() | Move() if self._due.get(instance, 0.0) > time.monotonic():
                return
        with self._guard:
            self._busy.add(instance)
        workers.submit(self._work_on, supervised, step, seen)

    def _work_on(self, supervised: Supervised, step: Step, seen: Seen) -> None:
        instance = supervised.spec.instance
        try:
            self._do(supervised, step, seen)
        except FlopsError as error:
            log.warning("cannot look after %s: %s", instance, error)
            self._due[instance] = time.monotonic() + RETRY_S
        except Exception:
            log.exception("looking after %s failed unexpectedly", instance)
            self._due[instance] = time.monotonic() + RETRY_S
        finally:
            with self._guard:
                self._busy.discard(instance)
            self._wake.set()

    # --- one step of one instance

    def _do(self, supervised: Supervised, step: Step, seen: Seen) -> None:
        status, instance = supervised.status, supervised.spec.instance
        match step:
            case Start():
                self._start(supervised, seen)
            case Move():
                self._move(supervised, seen)
            case Stop():
                self._cluster.stop(instance)
            case TellRunning(task):
                told = replace(status, state=InstanceState.RUNNING, run=task.id, exit_code=None, reason="")
                self._state.record(instance, told)
            case Interrupt(task, reason):
                if not seen.is_lost(task):
                    self._keep_log(instance, task)
                again = replace(status, state=InstanceState.SCHEDULED, reason=reason, exit_code=None, ended_run=task.id)
                self._due[instance] = time.monotonic() + LOOK_S
                self._state.record(instance, again)
            case End(ending):
                self._end(supervised, ending, seen)
            case Wait(reason):
                self._state.record(instance, replace(status, reason=reason))

    def _start(self, supervised: Supervised, seen: Seen) -> None:
        spec = supervised.spec
        node = seen.named(spec.node)
        if node is None:
            return
        try:
            self._cluster.run(spec, self._deployments.files_of(spec, node), node)
        except OSError as error:
            self._refuse(supervised, f"{error.filename}: {(error.strerror or str(error)).lower()}", seen)
        except EngineRefusedError as error:
            self._refuse(supervised, str(error), seen)
        self._due[spec.instance] = time.monotonic() + APPEARS_S
        if self._state.instance(spec.instance) is None:  # undeployed before there was anything to remove
            self._cluster.remove(spec.instance)

    def _move(self, supervised: Supervised, seen: Seen) -> None:
        moved = self._deployments.elsewhere(supervised.spec, seen)
        if moved is not None:
            log.info("%s moves from node %s to node %s", moved.instance, supervised.spec.node, moved.node)
            self._state.change_spec(moved)
            return
        self._due[supervised.spec.instance] = time.monotonic() + RETRY_S
        reason = f"its node {supervised.spec.node!r} cannot be used now, and no other can"
        if supervised.status.reason != reason:
            self._state.record(supervised.spec.instance, replace(supervised.status, reason=reason))

    def _end(self, supervised: Supervised, ending: Ending, seen: Seen) -> None:
        """Tell how a run has ended; a long one lets the crashes before it be forgotten."""
        instance, before, text = supervised.spec.instance, supervised.status, ""
        for task in seen.tasks.get(instance, ()):
            if task.id == ending.run:
                text = self._keep_log(instance, task)
                before = replace(before, runs_in_a_row=0) if task.lasted_s > STABLE_AFTER_S else before
        if supervised.spec.port and any(sign in ending.reason for sign in PORT_TAKEN):
            port = choose_port(self._state.ports())
            self._state.change_spec(replace(supervised.spec, port=port))
        status = ending.after(before, supervised.spec.max_restarts)
        self._due[instance] = time.monotonic() + wait_s(status.runs_in_a_row)
        self._state.record(instance, status, "" if status.state is InstanceState.COMPLETED else _tail(text))

    def _refuse(self, supervised: Supervised, reason: str, seen: Seen) -> None:
        """Tell that an instance cannot even be started."""
        ending = Ending(supervised.status.run, f"it cannot be started: {reason}", is_final=True)
        self._end(supervised, ending, seen)

    def _keep_log(self, instance: str, task: Task) -> str:
        text = self._cluster.logs(task.id, MAX_LINES) if task.has_container else ""
        if text:
            self._state.logs.keep(instance, task, text)
        return text


def _tail(text: str) -> str:
    return "".join(text.splitlines(keepends=True)[-TAIL_LINES:])[-TAIL_BYTES:]
