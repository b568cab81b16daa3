"""What happens by itself: instances that change their state, deadlines that pass."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from flops.errors import FlopsError
from flops.project.deployment import InstanceState, Role
from flops.wire import events as e
from flops.wire.envelope import Envelope

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from flops.manager.projects import Projects
    from flops.manager.reconciliation import Reconciliation
    from flops.manager.removal import Removal
    from flops.manager.succession import Succession
    from flops.ports import Bus, InstanceChange, Orchestrator, Store
    from flops.project.deployment import Service
    from flops.wire.topics import Topics

log = logging.getLogger(__name__)

CURSOR: Final = "orchestrator-cursor"
POLL_S: Final = 5.0
TICK_S: Final = 0.5
RETRY_S: Final = 1.0
RUNS: Final = {InstanceState.SCHEDULED, InstanceState.RUNNING}


@dataclass(frozen=True, slots=True)
class InstanceWatch:
    """Turns the orchestrator's changes into events of the projects they belong to."""

    bus: Bus
    topics: Topics
    store: Store
    orchestrator: Orchestrator
    projects: Projects
    removal: Removal
    succession: Succession
    reconciliation: Reconciliation
    rewinding: SimpleQueue[int] = field(default_factory=SimpleQueue)

    def catch_up_for(self, former: str) -> None:
        """Read again what the former owner of adopted projects may not have heard any more; twice heard is once."""
        self.rewinding.put(self._cursor_of(former))

    def watch(self, stopping: threading.Event) -> None:
        """Watch until stopping."""
        own_key = f"{CURSOR}:{self.projects.owner}"
        cursor, was_away = self._cursor_of(self.projects.owner), False
        while not stopping.is_set():
            if not self.succession.may_act:
                stopping.wait(RETRY_S)
                continue
            try:
                with suppress(Empty):
                    cursor = min(cursor, self.rewinding.get_nowait())
                changes = self.orchestrator.changes(cursor, POLL_S)
                if was_away:
                    self.reconciliation.want()
                    was_away = False
                if not changes and self._is_log_lost(cursor):
                    log.warning("the orchestrator has lost its log of changes; reading it anew")
                    cursor = 0
                    self.reconciliation.want()
                for change in changes:
                    self._tell(change)
                    self._remove_ended(change)
                    cursor = change.cursor
                if changes and self.succession.may_act:  # or it would hide them from whoever has taken over
                    self.store.remember(own_key, str(cursor))
            except FlopsError as error:
                was_away = True
                log.warning("cannot watch instances", extra={"reason": str(error)})
                stopping.wait(RETRY_S)

    def _cursor_of(self, manager: str) -> int:
        return int(self.store.recall(f"{CURSOR}:{manager}") or self.store.recall(CURSOR) or 0)

    def _is_log_lost(self, cursor: int) -> bool:
        """Whether the last change that was heard, which the orchestrator keeps, is there no more."""
        return cursor > 0 and not self.orchestrator.changes(cursor - 1, 0.0)

    def _tell(self, change: InstanceChange) -> None:
        """Tell whom it concerns of one change, if it is one that a project or a request cares for."""
        event, event_id = event_of(change), f"{change.instance.id}:{change.cursor}"
        project_id = change.service.project_id
        if event is None or not project_id:
            return
        is_mock_data = change.service.role == Role.MOCK_DATA
        if is_mock_data and self.succession.is_holder and isinstance(event, e.InstanceFailed):
            failed = e.MockDataFailed(dataset="", **event.model_dump(include={"reason", "remedy", "details"}))
            told = _unnumbered(project_id, failed, event_id)
            self.bus.publish(self.topics.project_events(project_id), told.encode())
        self.projects.happened(project_id, event, event_id=event_id)

    def _remove_ended(self, change: InstanceChange) -> None:
        """No project removes these; left where it ended, a tracking server would never be deployed again."""
        service = change.service
        if not self.succession.is_holder:
            return
        match service.role, change.instance.state:
            case Role.MOCK_DATA, InstanceState.COMPLETED:
                self.removal.forget(service.name)
            case Role.MOCK_DATA, InstanceState.FAILED:
                self.removal.undeploy(service.name)  # its logs say why it ended
            case Role.TRACKING, InstanceState.COMPLETED | InstanceState.FAILED if not self._runs(service):
                self.removal.undeploy(service.name)

    def _runs(self, service: Service) -> bool:
        """Whether a service of that name has been started anew since."""
        found = [item for item in self.orchestrator.services(service.app) if item.name == service.name]
        return any(instance.state in RUNS for item in found for instance in item.instances)


def _unnumbered(project_id: str, event: e.Event, event_id: str) -> Envelope:
    return Envelope(
        id=event_id,
        source=e.MANAGER,
        type=event.type,
        subject=project_id,
        time=datetime.now(UTC),
        data=event.model_dump(mode="json"),
    )


def event_of(change: InstanceChange) -> e.Event | None:
    """The event that a change of an instance is."""
    service, instance = change.service, change.instance
    match instance.state:
        case InstanceState.COMPLETED:
            return e.InstanceCompleted(service=service.name, role=service.role, instance=instance.id)
        case InstanceState.FAILED:
            return e.InstanceFailed(
                service=service.name,
                role=service.role,
                instance=instance.id,
                reason=instance.reason or "it crashed",
                remedy=f"Read its output with 'flops logs {instance.id}'.",
                details=change.log_tail[-e.MAX_TEXT :],
            )
        case InstanceState.SCHEDULED if instance.restarts and instance.reason:
            return e.InstanceRestarted(
                service=service.name,
                role=service.role,
                instance=instance.id,
                restarts=instance.restarts,
                reason=instance.reason,
                details=change.log_tail[-e.MAX_TEXT :],
            )
        case _:
            return None


def watch_deadlines(store: Store, projects: Projects, now: Callable[[], float], stopping: threading.Event) -> None:
    """Turn deadlines that pass into events, until stopping; a phase that was left in time has none any more."""
    while not stopping.wait(TICK_S):
        try:
            for deadline in store.take_due(projects.owner, now()):
                event = e.DeadlinePassed(deadline=deadline.name, after_s=deadline.after_s)
                event_id = f"{deadline.project_id}:deadline:{deadline.name}:{deadline.due}"
                phase = deadline.name.partition(":")[0]
                record = projects.happened(deadline.project_id, event, event_id=event_id, phase=phase)
                if record is None or record.owner == projects.owner:
                    store.drop_deadline(deadline)
        except FlopsError as error:
            log.warning("cannot watch deadlines", extra={"reason": str(error)})
