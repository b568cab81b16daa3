"""The next step of one instance: what is recorded of it is compared with its container."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from flops.adapters.docker_engine.connection import EngineRefusedError, MissingError, PortTakenError
from flops.adapters.docker_engine.endings import STABLE_AFTER_S, Ending, ending_of, wait_s, was_stopped
from flops.adapters.docker_engine.fates import Fate, Fates, seconds
from flops.adapters.docker_engine.images import RegistryAwayError
from flops.adapters.docker_engine.ports import choose_port
from flops.project.deployment import InstanceState

if TYPE_CHECKING:
    from flops.adapters.docker_engine.container import Container, ContainerSpec
    from flops.adapters.docker_engine.engine import Engine
    from flops.adapters.docker_engine.files import HandedOver
    from flops.adapters.docker_engine.state import State, Supervised

log = logging.getLogger(__name__)

RETRY_S: Final = 1.0
REGISTRY_RETRY_S: Final = 5.0
TAIL_LINES: Final = 40
TAIL_BYTES: Final = 8192
ACTIVE: Final = frozenset({InstanceState.SCHEDULED, InstanceState.RUNNING})


class Steps:
    """Each step is idempotent: names follow from the instance, so that two who do it do it once."""

    def __init__(self, engine: Engine, state: State, fates: Fates, handed_over: HandedOver) -> None:
        self._engine, self._state, self._fates, self._handed_over = engine, state, fates, handed_over

    def look_at(self, instance: str) -> float | None:
        """Do the next step; returns after how many seconds to look again, None to wait for news of it."""
        supervised = self._state.instance(instance)
        if supervised is None or supervised.status.state not in ACTIVE:
            return None
        status, container = supervised.status, self._engine.inspect(instance)
        if container is None or container.is_going:
            if status.run != status.ended_run:
                return self._end(supervised, Ending(status.run, "its container was removed"))
            return self._create(supervised) if container is None else self._remove(instance)
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

    def _create(self, supervised: Supervised) -> float | None:
        spec = supervised.spec
        try:
            self._engine.images.provide(spec.image, may_change=spec.image_may_change)
            self._engine.create(spec)
        except RegistryAwayError as error:
            return self._await_registry(supervised, str(error))
        except OSError as error:
            return self._refuse(spec.instance, _told(error))
        except EngineRefusedError as error:
            return self._refuse(spec.instance, str(error))
        if self._state.instance(spec.instance) is None:  # undeployed before there was anything to remove
            self._engine.remove(spec.instance)
            return None
        return 0.0

    def _await_registry(self, supervised: Supervised, reason: str) -> float:
        if supervised.status.reason != reason:
            log.warning("%s waits: %s", supervised.spec.instance, reason)
            self._state.record(supervised.spec.instance, replace(supervised.status, reason=reason))
        return REGISTRY_RETRY_S

    def _move(self, spec: ContainerSpec, reason: str) -> float:
        """Have an instance made anew with another port."""
        log.warning("%s gets another port: %s", spec.instance, reason)
        self._engine.remove(spec.instance)
        self._state.change_spec(replace(spec, port=choose_port(self._state.ports())))
        return 0.0

    def _remove(self, instance: str) -> float:
        """Have a container gone whose name is needed."""
        self._engine.remove(instance)
        return RETRY_S

    def _start(self, supervised: Supervised) -> float | None:
        instance = supervised.spec.instance
        try:
            container = self._engine.start(supervised.spec, self._handed_over.to(supervised.spec))
        except MissingError:
            return 0.0
        except PortTakenError as error:
            return self._move(supervised.spec, str(error))
        except OSError as error:
            return self._refuse(instance, _told(error))
        except EngineRefusedError as error:
            found = self._engine.inspect(instance)
            if found is None or found.is_going:  # somebody has begun to remove it since it was looked at
                return 0.0
            return self._refuse(instance, str(error))
        return self._tell_running(supervised, container)

    def _tell_running(self, supervised: Supervised, container: Container) -> float:
        status = replace(supervised.status, state=InstanceState.RUNNING, run=container.run, exit_code=None, reason="")
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


def _told(error: OSError) -> str:
    return f"{error.filename}: {(error.strerror or str(error)).lower()}"
