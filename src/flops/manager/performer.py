"""Doing what the workflow decided: every command, and what it ends in."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING

from flops.errors import DeploymentRefusedError, FlopsError, RepositoryUnavailableError, StoppingError
from flops.ports import Deadline
from flops.project import commands as c
from flops.project.relevance import is_wanted
from flops.wire import events as e

if TYPE_CHECKING:
    from collections.abc import Callable

    from flops.manager.placement import Placements
    from flops.manager.projects import Projects
    from flops.manager.removal import Removal
    from flops.ports import Bus, Orchestrator, PendingItem, Registry, Repositories, Store
    from flops.project.deployment import ServiceSpec
    from flops.retries import RetryPolicy
    from flops.wire.topics import Topics

log = logging.getLogger(__name__)


class Performer:
    """Performs pending items. Doing one again changes nothing; what is worth it is tried again later."""

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
        retries: RetryPolicy,
        now: Callable[[], float],
        share: Callable[[], float] = random.random,
    ) -> None:
        self._bus, self._topics, self._store = bus, topics, store
        self._orchestrator, self._registry, self._repositories = orchestrator, registry, repositories
        self._placements, self._removal = placements, removal
        self._retries, self._now, self._share = retries, now, share

    def perform(self, item: PendingItem, attempt: int, projects: Projects) -> float | None:
        """Do one item, tell what came of it, and clear it; returns after how many seconds to try again if at all."""
        try:
            if item.command is not None:
                return self._command(item, item.command, attempt, projects)
            if item.envelope is not None:
                self._bus.publish(self._topics.project_events(item.project_id), item.envelope.encode())
            self._store.clear(item)
        except StoppingError:
            log.info("item stays pending", extra={"item": item.id})
        except FlopsError as error:  # the store or the broker does not take it
            log.error("item waits", extra={"item": item.id, "reason": str(error)})  # noqa: TRY400
            return self._retries.wait_s(attempt, self._share())
        return None

    def _command(self, item: PendingItem, command: c.Command, attempt: int, projects: Projects) -> float | None:
        record = self._store.load(item.project_id)
        if record is not None and record.owner != projects.owner:
            return None
        if is_wanted(record.project if record else None, command):
            try:
                event = self._do(item.project_id, command)
            except StoppingError:
                raise
            except Exception as error:  # noqa: BLE001  a process boundary: what was not expected fails the project
                failure = error if isinstance(error, FlopsError) else _unexpected(error)
                if self._is_worth_retrying(command, failure, attempt):
                    return self._try_later(item, command, failure, attempt, projects)
                event = _failure(command, failure)
            if event is not None:
                record = projects.happened(item.project_id, event, event_id=f"{item.id}:done", cause=item.id)
                if record is not None and record.owner != projects.owner:
                    return None  # whoever has taken over meanwhile does it again, and tells what came of it
        self._store.clear(item)
        return None

    def _is_worth_retrying(self, command: c.Command, failure: FlopsError, attempt: int) -> bool:
        """What runs has to be removed in the end, however long that takes; anything else is tried a few times."""
        return isinstance(command, c.Undeploy) or (failure.retryable and attempt < self._retries.attempts)

    def _try_later(
        self, item: PendingItem, command: c.Command, failure: FlopsError, attempt: int, projects: Projects
    ) -> float:
        """Say that the attempt failed; of those without end, later ones are told more and more rarely."""
        wait_s = self._retries.wait_s(attempt, self._share())
        log.warning("trying again", extra={"item": item.id, "attempt": attempt, "reason": str(failure)})
        if attempt < self._retries.attempts or attempt.bit_count() == 1:
            retried = e.CommandRetried(
                command=type(command).__name__,
                where=_object_of(command),
                reason=_reason_of(failure),
                remedy=failure.remedy[: e.MAX_TEXT],
                attempt=attempt,
                attempts=0 if isinstance(command, c.Undeploy) else self._retries.attempts,
                wait_s=round(wait_s, 3),
            )
            projects.happened(item.project_id, retried, event_id=f"{item.id}:retry:{attempt}", cause=item.id)
        return wait_s

    def _do(self, project_id: str, command: c.Command) -> e.Event | None:  # noqa: C901, PLR0911  one case per command
        match command:
            case c.CreateApp(app):
                self._orchestrator.create_app(app)
                return None
            case c.DeleteApp(app):
                self._orchestrator.delete_app(app)
                return None
            case c.Deploy(spec):
                self._orchestrator.deploy(spec)
                return _deployed(spec)
            case c.Redeploy(spec):
                self._removal.undeploy(spec.name)
                self._orchestrator.deploy(spec)
                return _deployed(spec)
            case c.Undeploy(service):
                self._removal.undeploy(service)
                return e.ServiceRemoved(service=service)
            case c.Restart(instance):
                self._orchestrator.restart(instance)
                return None
            case c.ResolveRepository(url):
                return e.RepositoryResolved(url=url, commit=self._repositories.resolve(url))
            case c.FindPlacement(data_tags, learners):
                return self._placements.find(data_tags, learners)
            case c.FindImages(images):
                missing = [image for image in images if not self._registry.exists(image)]
                return e.ImagesMissing(images=missing) if missing else e.ImagesFound(images=list(images))
            case c.SetDeadline(name, after_s):
                self._store.set_deadline(Deadline(project_id, name, self._now() + after_s, after_s))
                return None
            case c.Announce(event):
                return event


def _deployed(spec: ServiceSpec) -> e.ServiceDeployed:
    nodes = [placement.node for placement in spec.placements if placement.node]
    return e.ServiceDeployed(service=spec.name, role=spec.role, app=spec.app.name, nodes=nodes)


def _failure(command: c.Command, error: FlopsError) -> e.Event:
    reason, remedy = _reason_of(error), error.remedy[: e.MAX_TEXT]
    match command:
        case c.Deploy(spec) | c.Redeploy(spec):
            return e.ServiceDeploymentFailed(service=spec.name, role=spec.role, reason=reason, remedy=remedy)
        case c.ResolveRepository(url):
            return e.RepositoryUnavailable(url=url, reason=reason, remedy=remedy)
        case _:
            return e.CommandFailed(command=type(command).__name__, reason=reason, remedy=remedy)


def _reason_of(error: FlopsError) -> str:
    if isinstance(error, DeploymentRefusedError | RepositoryUnavailableError):
        return error.reason[: e.MAX_TEXT]
    return error.message[: e.MAX_TEXT]


def _object_of(command: c.Command) -> str:
    """What a command is about, for a person."""
    match command:
        case c.Deploy(spec) | c.Redeploy(spec):
            return spec.name
        case c.Undeploy(service):
            return service
        case c.ResolveRepository(url):
            return url
        case c.CreateApp(app) | c.DeleteApp(app):
            return app.name
        case _:
            return ""


def _unexpected(error: Exception) -> FlopsError:
    log.error("command met the unexpected", exc_info=error)
    return FlopsError(f"The manager met {error!r}.", remedy="Its log says more: 'flops logs manager'.")
