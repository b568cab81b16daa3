"""Removing a service, with all that was known of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flops.manager.placement import Placements
    from flops.ports import Bus, Orchestrator
    from flops.wire.topics import Topics


@dataclass(frozen=True, slots=True)
class Removal:
    """Removes services, and the presence of their instances."""

    bus: Bus
    topics: Topics
    orchestrator: Orchestrator
    placements: Placements

    def undeploy(self, service: str) -> None:
        """Remove a service; its logs stay."""
        self.orchestrator.undeploy(service)
        self._clear_presence(service)

    def forget(self, service: str) -> None:
        """Remove a service with all that it has left behind."""
        self.orchestrator.forget(service)
        self._clear_presence(service)

    def _clear_presence(self, service: str) -> None:
        for instance in self.placements.forget(service):
            self.bus.publish(self.topics.presence(instance), b"", retain=True)
