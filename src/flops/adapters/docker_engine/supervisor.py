"""Lets run what should run: compares what is recorded with what the engine has, and does the next step."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from flops.adapters.docker_engine.fates import Fates
from flops.adapters.docker_engine.steps import ACTIVE, RETRY_S, Steps
from flops.errors import FlopsError
from flops.project.deployment import InstanceState

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flops.adapters.docker_engine.engine import Engine
    from flops.adapters.docker_engine.files import HandedOver
    from flops.adapters.docker_engine.state import State

log = logging.getLogger(__name__)

WORKERS: Final = 8
LOOK_S: Final = 0.5  # how soon a service is seen that another process has deployed, and a lock that became free


class Supervisor:
    """Supervises while it holds the lock of its installation; until then it waits for it.

    ``settle`` sees to what has to be there whatever is deployed; it is called whenever the engine has (re)appeared.
    """

    def __init__(
        self, engine: Engine, state: State, lock: Path, handed_over: HandedOver, settle: Callable[[], object]
    ) -> None:
        self._engine, self._state, self._lock_file, self._settle = engine, state, lock, settle
        self._fates = Fates()
        self._steps = Steps(engine, state, self._fates, handed_over)
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
        for thread in self._threads:  # the first adds the second
            while thread.is_alive():
                self._engine.hang_up()
                thread.join(LOOK_S)
        self._engine.close()

    # --- the loop

    def _supervise(self) -> None:
        lock = self._take_lock()
        if lock is None:
            return
        listening = threading.Thread(target=self._listen, name="hear-of-containers", daemon=True)
        self._threads.append(listening)
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
            again_s = self._steps.look_at(instance)
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
        try:
            self._settle()
        except FlopsError as error:
            log.warning("a part of FLOps itself cannot be deployed: %s", error)
        for instance in self._engine.instances():
            if not self._state.has_instance(instance):
                log.warning("removing the container of %s, which is unknown", instance)
                self._engine.remove(instance)
        for instance, state in self._state.instances().items():
            if state in ACTIVE:
                self._look_soon(instance)
