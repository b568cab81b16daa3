"""Doing what the workflow decided: every command, and what it ends in."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from flops.errors import DeploymentRefusedError, FlopsError, RepositoryUnavailableError
from flops.ports import Deadline
from flops.project import commands as c
from flops.wire import events as e

if TYPE_CHECKING:
    import threading

    from flops.manager.placement import Placements
    from flops.manager.projects import Projects
    from flops.manager.removal import Removal
    from flops.ports import Bus, Orchestrator, PendingItem, Registry, Repositories, Store
    from flops.wire.topics import Topics

log = logging.getLogger(__name__)

FIRST_DELAY_S: Final = 0.2
LONGEST_DELAY_S: Final = 10.0
MAX_ATTEMPTS: Final = 8


class Performer:
    """Performs pending items. Whatever is worth retrying is retried here, with growing delays."""

    def __init__(  # noqa: PLR0913  one argument per port
        self,
        *,
        bus: Bus,
        topics: Topics,
        store: Store,
        orchestrator: Orchestrator,
        registry: Registry,
        repositories: Repositories,
        placements: Placements,
        removal: Removal,
        stopping: threading.Event,
    ) -> None:
        self._bus, self._topics, self._store = bus, topics, store
        self._orchestrator, self._registry, self._repositories = orchestrator, registry, repositories
        self._placements, self._removal, self._stopping = placements, removal, stopping

    def perform(self, item: PendingItem, projects: Projects) -> None:
        """Do one item, tell what came of it, and clear it; until the store takes it. Doing it again changes nothing."""
        delay_s = FIRST_DELAY_S
        while not self._stopping.is_set():
            try:
                return self._perform(item, projects)
            except FlopsError as error:
                log.error("item waits", extra={"item": item.id, "reason": str(error)})  # noqa: TRY400
            self._stopping.wait(delay_s)
            delay_s = min(2 * delay_s, LONGEST_DELAY_S)
        return None

    def _perform(self, item: PendingItem, projects: Projects) -> None:
        if item.envelope is not None:
            self._bus.publish(self._topics.project_events(item.project_id), item.envelope.encode())
        if item.command is not None:
            event = self._outcome(item.project_id, item.command)
            if event is not None:
                projects.happened(item.project_id, event, event_id=f"{item.id}:done", cause=item.id)
            elif self._stopping.is_set():
                return
        self._store.clear(item)

    def _outcome(self, project_id: str, command: c.Command) -> e.Event | None:
        delay_s, attempt = FIRST_DELAY_S, 1
        while True:
            try:
                return self._do(project_id, command)
            except Exception as error:  # noqa: BLE001  a process boundary: what was not expected fails the project
                failure = error if isinstance(error, FlopsError) else _unexpected(error)
                if not _is_worth_retrying(command, failure, attempt):
                    return _failure(command, failure)
                log.warning("trying again", extra={"command": command, "attempt": attempt, "reason": str(failure)})
            if self._stopping.wait(delay_s):
                return None
            delay_s, attempt = min(2 * delay_s, LONGEST_DELAY_S), attempt + 1

    def _do(self, project_id: str, command: c.Command) -> e.Event | None:  # noqa: PLR0911  one case per command
        match command:
            case c.CreateApp(app):
                self._orchestrator.create_app(app)
                return None
            case c.DeleteApp(app):
                self._orchestrator.delete_app(app)
                return None
            case c.Deploy(spec):
                self._orchestrator.deploy(spec)
                nodes = [placement.node for placement in spec.placements if placement.node]
                return e.ServiceDeployed(service=spec.name, role=spec.role, app=spec.app.name, nodes=nodes)
            case c.Undeploy(service):
                self._removal.undeploy(service)
                return e.ServiceRemoved(service=service)
            case c.ResolveRepository(url):
                return e.RepositoryResolved(url=url, commit=self._repositories.resolve(url))
            case c.FindPlacement(data_tags, learners):
                return self._placements.find(data_tags, learners)
            case c.FindImages(images):
                missing = [image for image in images if not self._registry.exists(image)]
                return e.ImagesMissing(images=missing) if missing else e.ImagesFound(images=list(images))
            case c.SetDeadline(name, after_s):
                self._store.set_deadline(Deadline(project_id, name, time.time() + after_s, after_s))
                return None
            case c.Announce(event):
                return event


def _failure(command: c.Command, error: FlopsError) -> e.Event:
    reason = error.reason if isinstance(error, DeploymentRefusedError | RepositoryUnavailableError) else error.message
    reason, remedy = reason[: e.MAX_TEXT], error.remedy[: e.MAX_TEXT]
    match command:
        case c.Deploy(spec):
            return e.ServiceDeploymentFailed(service=spec.name, role=spec.role, reason=reason, remedy=remedy)
        case c.ResolveRepository(url):
            return e.RepositoryUnavailable(url=url, reason=reason, remedy=remedy)
        case _:
            return e.CommandFailed(command=type(command).__name__, reason=reason, remedy=remedy)


def _is_worth_retrying(command: c.Command, failure: FlopsError, attempt: int) -> bool:
    """What runs has to be removed in the end, however long that takes; anything else is tried a few times."""
    return isinstance(command, c.Undeploy) or (failure.retryable and attempt < MAX_ATTEMPTS)


def _unexpected(error: Exception) -> FlopsError:
    log.error("command met the unexpected", exc_info=error)
    return FlopsError(f"The manager met {error!r}.", remedy="Its log says more: 'flops logs manager'.")
