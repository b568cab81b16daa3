"""Lets run what should run: compares what is recorded with what the engine has, and does the next step."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from flops.adapters.docker_engine.endings import STABLE_AFTER_S, Ending, ending_of, wait_s, was_stopped
from flops.adapters.docker_engine.engine import EngineRefusedError, MissingError
from flops.adapters.docker_engine.fates import Fate, Fates, seconds
from flops.adapters.docker_engine.files import files_of
from flops.errors import FlopsError
from flops.project.deployment import InstanceState

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from flops.adapters.docker_engine.container import Container, ContainerSpec
    from flops.adapters.docker_engine.engine import Engine
    from flops.adapters.docker_engine.state import State, Supervised

log = logging.getLogger(__name__)

WORKERS: Final = 8
LOOK_S: Final = 0.5  # how soon a service is seen that another process has deployed, and a lock that became free
RETRY_S: Final = 1.0
TAIL_LINES: Final = 40
TAIL_BYTES: Final = 8192
ACTIVE: Final = frozenset({InstanceState.SCHEDULED, InstanceState.RUNNING})


class Supervisor:
    """Supervises while it holds the lock of its installation; until then it waits for it."""

    def __init__(self, engine: Engine, state: State, lock: Path, credentials: Mapping[str, str]) -> None:
        self._engine, self._state, self._lock_file, self._credentials = engine, state, lock, credentials
        self._fates = Fates()
        self._guard, self._wake, self._stopping = threading.Lock(), threading.Event(), threading.Event()
        self._due: dict[str, float] = {}
        self._busy: set[str] = set()
        self._threads: list[threading.Thread] = []

    def begin(self) -> None:
        """Supervise from now on. Idempotent."""
        with self._guard:
            if not self._threads:
                supervising = threading.Thread(target=self._supervise, name="supervise-containers", daemon=True)
                self._threads.append(supervising)
                supervising.start()
        self._wake.set()

    def close(self) -> None:
        """Leave the containers to another process."""
        self._stopping.set()
        self._wake.set()
        self._engine.close()
        for thread in self._threads:
            thread.join()

    # --- the loop

    def _supervise(self) -> None:
        lock = self._take_lock()
        if lock is None:
            return
        listening = threading.Thread(target=self._listen, name="hear-of-containers", daemon=True)
        listening.start()
        try:
            with ThreadPoolExecutor(WORKERS, "container") as workers:
                while not self._stopping.is_set():
                    self._wake.wait(self._give_out_work(workers))
                    self._wake.clear()
        finally:
            os.close(lock)

    def _take_lock(self) -> int | None:
        """The lock; None when stopping."""
        descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        while not self._stopping.is_set():
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._stopping.wait(LOOK_S)
            else:
                return descriptor
        os.close(descriptor)
        return None

    def _give_out_work(self, workers: ThreadPoolExecutor) -> float:
        """Have looked at what is due; returns how long there is nothing to do."""
        now = time.monotonic()
        try:
            waiting = [name for name, state in self._state.instances().items() if state is InstanceState.SCHEDULED]
        except FlopsError as error:
            log.warning("cannot read which containers should run: %s", error)
            return RETRY_S
        with self._guard:
            for instance in waiting:
                if instance not in self._busy:
                    self._due.setdefault(instance, now)
            ready = [name for name, due in self._due.items() if due <= now and name not in self._busy]
            for instance in ready:
                del self._due[instance]
            self._busy.update(ready)
            waiting_for = [due for name, due in self._due.items() if name not in self._busy]
        for instance in ready:
            workers.submit(self._work_on, instance)
        return max(0.0, min([LOOK_S, *(due - now for due in waiting_for)]))

    def _work_on(self, instance: str) -> None:
        again_s: float | None = RETRY_S
        try:
            again_s = self._look_at(instance)
        except FlopsError as error:
            log.warning("cannot look after %s: %s", instance, error)
        except Exception:
            log.exception("looking after %s failed unexpectedly", instance)
        finally:
            with self._guard:
                self._busy.discard(instance)
                if again_s is not None:
                    self._due.setdefault(instance, time.monotonic() + again_s)
            self._wake.set()

    def _look_soon(self, instance: str) -> None:
        with self._guard:
            self._due[instance] = 0.0
        self._wake.set()

    # --- hearing

    def _listen(self) -> None:
        while not self._stopping.is_set():
            try:
                self._hear()
            except FlopsError as error:
                log.warning("cannot hear of containers: %s", error)
            self._stopping.wait(LOOK_S)

    def _hear(self) -> None:
        """Hear what happens until the engine ends."""
        now = int(time.time())
        with self._engine.events(since=now) as events:
            for event in self._engine.remembered_events(until=now + 1):
                self._fates.hear(event)
            self._fates.heard_all_until(now)
            self._reconcile()
            for event in events:
                self._fates.hear(event)
                self._look_soon(event.instance)

    def _reconcile(self) -> None:
        """Look at everything once, and remove containers that nobody asked for."""
        for instance in self._engine.instances():
            if not self._state.has_instance(instance):
                log.warning("removing the container of %s, which is unknown", instance)
                self._engine.remove(instance)
        for instance, state in self._state.instances().items():
            if state in ACTIVE:
                self._look_soon(instance)

    # --- one step of one instance

    def _look_at(self, instance: str) -> float | None:
        """Do the next step; returns after how many seconds to look again, None to wait for news of it."""
        supervised = self._state.instance(instance)
        if supervised is None or supervised.status.state not in ACTIVE:
            return None
        status, container = supervised.status, self._engine.inspect(instance)
        if container is None or container.is_going:
            if status.run != status.ended_run:
                return self._end(supervised, Ending(status.run, "its container was removed"))
            return self._create(supervised.spec) if container is None else self._remove(instance)
        if container.run != status.run:
            return self._tell_running(supervised, container)
        if container.is_running:
            return self._note_stable(supervised, container)
        if container.run == status.ended_run:
            return self._start(supervised)
        return self._judge(supervised, container)

    def _judge(self, supervised: Supervised, container: Container) -> float | None:
        """Find out why a container does not run any more."""
        match self._fates.of(container):
            case Fate.ENDED:
                return self._end(supervised, ending_of(supervised.spec, container))
            case Fate.STOPPED:
                self._state.record(supervised.spec.instance, was_stopped(supervised.status, container.run))
                return 0.0
            case Fate.UNKNOWN_YET:
                return RETRY_S

    def _create(self, spec: ContainerSpec) -> float | None:
        try:
            self._engine.create(spec)
        except EngineRefusedError as error:
            return self._refuse(spec.instance, str(error))
        if self._state.instance(spec.instance) is None:  # undeployed before there was anything to remove
            self._engine.remove(spec.instance)
            return None
        return 0.0

    def _remove(self, instance: str) -> float:
        """Have a container gone whose name is needed."""
        self._engine.remove(instance)
        return RETRY_S

    def _start(self, supervised: Supervised) -> float | None:
        instance = supervised.spec.instance
        try:
            files = files_of(supervised.spec.description, self._credentials)
            container = self._engine.start(supervised.spec, files)
        except MissingError:
            return 0.0
        except OSError as error:
            return self._refuse(instance, f"{error.filename}: {(error.strerror or str(error)).lower()}")
        except EngineRefusedError as error:
            found = self._engine.inspect(instance)
            if found is None or found.is_going:  # somebody has begun to remove it since it was looked at
                return 0.0
            return self._refuse(instance, str(error))
        return self._tell_running(supervised, container)

    def _tell_running(self, supervised: Supervised, container: Container) -> float:
        status = replace(supervised.status, state=InstanceState.RUNNING, run=container.run, exit_code=None)
        self._state.record(supervised.spec.instance, status)
        return STABLE_AFTER_S if container.is_running else 0.0

    def _note_stable(self, supervised: Supervised, container: Container) -> float | None:
        """Forget the crashes before a long run."""
        if not supervised.status.runs_in_a_row:
            return None
        ran_s = time.time() - seconds(container.run)
        if ran_s < STABLE_AFTER_S:
            return STABLE_AFTER_S - ran_s
        self._state.record(supervised.spec.instance, replace(supervised.status, runs_in_a_row=0))
        return None

    def _end(self, supervised: Supervised, ending: Ending) -> float | None:
        """Tell how a run has ended, and clean up after it; returns when the next one is due."""
        instance = supervised.spec.instance
        status = ending.after(supervised.status, supervised.spec.max_restarts)
        has_crashed = status.state is not InstanceState.COMPLETED
        tail = self._engine.logs(instance, TAIL_LINES)[-TAIL_BYTES:] if has_crashed else ""
        self._state.record(instance, status, tail)
        return wait_s(status.runs_in_a_row) if status.state is InstanceState.SCHEDULED else None

    def _refuse(self, instance: str, reason: str) -> float | None:
        """Tell that an instance cannot even be started."""
        supervised = self._state.instance(instance)
        if supervised is not None:
            self._end(supervised, Ending(supervised.status.run, f"it cannot be started: {reason}", is_final=True))
        return None
