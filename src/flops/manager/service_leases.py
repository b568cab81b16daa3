"""Services that the orchestrator calls running although nobody has heard of them for too long: hung, or cut off."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

from flops.errors import FlopsError
from flops.manager.clock import elapsed_s
from flops.project.deployment import InstanceState, Role
from flops.wire.events import LeaseEnded

if TYPE_CHECKING:
    from collections.abc import Callable

    from flops.manager.projects import Projects
    from flops.manager.succession import Succession
    from flops.ports import Orchestrator
    from flops.project.deployment import Service
    from flops.wire.requests import Presence

log = logging.getLogger(__name__)

TICK_S: Final = 1.0


class ServiceLeases:
    """Counts from the last will of each instance. Presence that returns in time ends the counting.

    An instance that stays away begins its next lease when one has ended, since starting it again may not have helped.
    """

    def __init__(
        self,
        orchestrator: Orchestrator,
        projects: Projects,
        succession: Succession,
        lasts_s: float,
        clock: Callable[[], float] = elapsed_s,
    ) -> None:
        self._orchestrator, self._projects, self._succession = orchestrator, projects, succession
        self._lasts_s, self._clock = lasts_s, clock
        self._lock = threading.Lock()
        self._due: dict[str, float] = {}

    def hear(self, presence: Presence) -> None:
        """Remember what an instance, or its last will, says."""
        with self._lock:
            if presence.online:
                self._due.pop(presence.instance, None)
            else:
                self._due.setdefault(presence.instance, self._clock() + self._lasts_s)

    def watch(self, stopping: threading.Event) -> None:
        """End leases in time until stopping."""
        while not stopping.wait(TICK_S):
            try:
                self.end_overdue()
            except FlopsError as error:
                log.warning("cannot look after services that are offline", extra={"reason": str(error)})

    def end_overdue(self) -> None:
        """Tell of every instance whose lease is over, and that still counts as running."""
        with self._lock:
            now = self._clock()
            overdue = {instance for instance, due in self._due.items() if due <= now}
        if not overdue:
            return
        left = set(overdue)
        for service in self._orchestrator.services():
            for instance in service.instances:
                if instance.id in overdue and instance.state in {InstanceState.RUNNING, InstanceState.SCHEDULED}:
                    left.discard(instance.id)
                    if instance.state is InstanceState.RUNNING:
                        self._end(service, instance.id)
        self._renew(overdue - left, left)

    def _renew(self, running: set[str], gone: set[str]) -> None:
        with self._lock:
            for instance in gone:
                self._due.pop(instance, None)
            for instance in running & set(self._due):
                self._due[instance] = self._clock() + self._lasts_s

    def _end(self, service: Service, instance: str) -> None:
        log.warning("a service is offline, but runs", extra={"instance": instance, "after_s": self._lasts_s})
        if service.project_id:
            event = LeaseEnded(
                service=service.name,
                role=service.role,
                instance=instance,
                after_s=self._lasts_s,
                reason=f"it runs, but has been offline for more than {self._lasts_s:g} s",
                remedy=f"If this goes on, read its output with 'flops logs {instance}'.",
            )
            self._projects.happened(service.project_id, event, event_id=f"{instance}:lease:{self._clock():.3f}")
        elif service.role is Role.TRACKING and self._succession.acts_as_holder:
            self._orchestrator.restart(instance)
