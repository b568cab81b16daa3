"""What happens by itself: instances that change their state, deadlines that pass."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from flops.errors import FlopsError
from flops.project.deployment import InstanceState, Role
from flops.wire import events as e

if TYPE_CHECKING:
    import threading

    from flops.manager.projects import Projects
    from flops.ports import InstanceChange, Orchestrator, Store

log = logging.getLogger(__name__)

CURSOR: Final = "orchestrator-cursor"
POLL_S: Final = 5.0
TICK_S: Final = 0.5
RETRY_S: Final = 1.0
ENDED: Final = {InstanceState.COMPLETED, InstanceState.FAILED}
# No project removes these; left where it ended, a tracking server would never be deployed again.
REMOVED_ONCE_ENDED: Final = {Role.MOCK_DATA, Role.TRACKING}


def watch_instances(orchestrator: Orchestrator, store: Store, projects: Projects, stopping: threading.Event) -> None:
    """Turn the orchestrator's changes into events of the projects they belong to, until stopping."""
    cursor = int(store.recall(CURSOR) or 0)
    while not stopping.is_set():
        try:
            changes = orchestrator.changes(cursor, POLL_S)
            for change in changes:
                tell(change, projects)
                if change.service.role in REMOVED_ONCE_ENDED and change.instance.state in ENDED:
                    orchestrator.undeploy(change.service.name)
                cursor = change.cursor
            if changes:
                store.remember(CURSOR, str(cursor))
        except FlopsError as error:
            log.warning("cannot watch instances", extra={"reason": str(error)})
            stopping.wait(RETRY_S)


def tell(change: InstanceChange, projects: Projects) -> None:
    """Tell the project of one change, if it is one that a project cares for."""
    event = event_of(change)
    if event is not None and change.service.project_id:
        event_id = f"{change.instance.id}:{change.cursor}"
        projects.happened(change.service.project_id, event, event_id=event_id)


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


def watch_deadlines(store: Store, projects: Projects, stopping: threading.Event) -> None:
    """Turn deadlines that pass into events, until stopping; a phase that was left in time has none any more."""
    while not stopping.wait(TICK_S):
        try:
            for deadline in store.take_due(time.time()):
                event = e.DeadlinePassed(deadline=deadline.name, after_s=deadline.after_s)
                event_id = f"{deadline.project_id}:deadline:{deadline.name}:{deadline.due}"
                projects.happened(deadline.project_id, event, event_id=event_id, phase=deadline.name)
                store.drop_deadline(deadline)
        except FlopsError as error:
            log.warning("cannot watch deadlines", extra={"reason": str(error)})
