"""What really runs is compared with what should run: after a start, after an outage, and every minute."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

from flops.errors import FlopsError
from flops.manager.clock import elapsed_s
from flops.project.deployment import NAME_PREFIX, InstanceState, Role
from flops.project.workflow import is_needed
from flops.wire import events as e

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flops.manager.projects import Projects
    from flops.manager.removal import Removal
    from flops.manager.succession import Succession
    from flops.ports import Orchestrator, ProjectRecord, Store
    from flops.project.deployment import Service

log = logging.getLogger(__name__)

EVERY_S: Final = 60.0
TICK_S: Final = 1.0
ACTIVE: Final = {InstanceState.SCHEDULED, InstanceState.RUNNING}


class Reconciliation:
    """Finds services that nobody needs, and needed ones that nobody runs.

    What is about to be done about a project's services is left to those commands: the project is looked at next time.
    """

    def __init__(
        self, store: Store, orchestrator: Orchestrator, projects: Projects, removal: Removal, succession: Succession
    ) -> None:
        self._store, self._orchestrator, self._projects = store, orchestrator, projects
        self._removal, self._succession = removal, succession
        self._wanted = threading.Event()

    def want(self) -> None:
        """Have it done soon."""
        self._wanted.set()

    def watch(self, stopping: threading.Event) -> None:
        """Reconcile now and then until stopping."""
        self._wanted.set()
        due = 0.0
        while not stopping.is_set():
            if self._wanted.is_set() or elapsed_s() >= due:
                self._wanted.clear()
                due = elapsed_s() + EVERY_S
                try:
                    self.reconcile()
                except FlopsError as error:
                    log.warning("cannot compare what runs with what should", extra={"reason": str(error)})
            stopping.wait(TICK_S)

    def reconcile(self) -> None:
        """Compare once. Nothing is done while another manager may have taken over."""
        if not self._succession.may_act:
            return
        expected = self._expected()
        services = self._orchestrator.services()
        for service in services:
            if service.project_id and service.role is not Role.MOCK_DATA:
                self._look_at(service)
        names = {service.name for service in services}
        missing = {project_id: found for project_id, wanted in expected.items() if (found := wanted - names)}
        if missing:
            still_expected = self._expected()
            for project_id, found in missing.items():
                self._tell_missing(project_id, found & still_expected.get(project_id, set()))

    def _expected(self) -> dict[str, set[str]]:
        """Per project, the services that have been deployed and must be there, if none is being changed right now."""
        busy = self._busy()
        return {
            record.project.id: {name for name in _names(record) if is_needed(record.project, name)}
            for record in self._store.live(self._projects.owner)
            if record.project.id not in busy
        }

    def _busy(self) -> set[str]:
        pending = self._store.pending(self._projects.owner)
        return {item.project_id for item in pending if item.command is not None}

    def _look_at(self, service: Service) -> None:
        record = self._store.load(service.project_id)
        if record is None:
            if self._succession.acts_as_holder:
                self._remove_unknown(service)
        elif record.owner != self._projects.owner:
            self._succession.watch_for(record.owner)
        elif _is_leftover(record, service) and service.project_id not in self._busy():
            found = e.LeftoverFound(service=service.name)
            self._projects.happened(record.project.id, found, event_id=f"{service.name}:leftover:{record.revision}")

    def _remove_unknown(self, service: Service) -> None:
        log.warning("removing a service of no known project", extra={"service": service.name})
        self._removal.undeploy(service.name)
        is_own_app = service.app.name.startswith("proj")
        if is_own_app and not self._orchestrator.services(service.app):
            self._orchestrator.delete_app(service.app)

    def _tell_missing(self, project_id: str, names: Iterable[str]) -> None:
        record = self._store.load(project_id)
        for name in sorted(names) if record else []:
            missing = e.ServiceMissing(
                service=name,
                role=_role_of(name),
                reason="it should run, but the orchestrator knows nothing of it",
                remedy="Find out who removed it, and start the project again.",
            )
            self._projects.happened(project_id, missing, event_id=f"{name}:missing:{record.revision if record else 0}")


def _names(record: ProjectRecord) -> Sequence[str]:
    return (record.project.service_name(Role.OBSERVER), *record.project.deployed)


def _role_of(name: str) -> str:
    return next((role for role, prefix in NAME_PREFIX.items() if name.startswith(prefix)), "service")


def _is_leftover(record: ProjectRecord, service: Service) -> bool:
    """Whether a service runs that nobody needs; an ended project's observer may still be telling the end of it."""
    if is_needed(record.project, service.name):
        return False
    is_active = any(instance.state in ACTIVE for instance in service.instances)
    return service.role is not Role.OBSERVER or not is_active
