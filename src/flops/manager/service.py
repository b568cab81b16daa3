"""The manager process: connects its parts, performs what is still pending, and listens."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from flops.delivery.fairness import Turns
from flops.errors import FlopsError
from flops.manager.intake import Intake
from flops.manager.lanes import Lanes
from flops.manager.performer import Performer
from flops.manager.placement import Placements
from flops.manager.projects import Projects
from flops.manager.removal import Removal
from flops.manager.requests import Requests
from flops.manager.watch import InstanceWatch, watch_deadlines
from flops.retries import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from flops.ports import Bus, Delivery, Orchestrator, Registry, Repositories, Store, Subscription
    from flops.project.state import Deadlines
    from flops.wire.topics import Topics

log = logging.getLogger(__name__)

WAIT_S: Final = 0.5
RETRY_S: Final = 1.0
RETRIES: Final = RetryPolicy()
OWNER: Final = "manager"


@dataclass(frozen=True, slots=True)
class ManagerPorts:
    """Everything outside that the manager needs."""

    bus: Bus
    topics: Topics
    store: Store
    orchestrator: Orchestrator
    registry: Registry
    repositories: Repositories


def run(  # noqa: PLR0913  what a manager needs to know
    ports: ManagerPorts,
    deadlines: Deadlines,
    platform: str,
    stopping: threading.Event,
    ready: Callable[[], None],
    *,
    retries: RetryPolicy = RETRIES,
) -> int:
    """Manage projects until ``stopping`` is set; ``ready`` is called once messages are listened to."""
    placements = Placements()
    removal = Removal(ports.bus, ports.topics, ports.orchestrator, placements)
    performer = Performer(
        bus=ports.bus,
        topics=ports.topics,
        store=ports.store,
        orchestrator=ports.orchestrator,
        registry=ports.registry,
        repositories=ports.repositories,
        placements=placements,
        removal=removal,
        retries=retries,
    )
    lanes = Lanes(lambda item, attempt: performer.perform(item, attempt, projects))
    projects = Projects(ports.store, deadlines, lanes.put, owner=OWNER)
    requests = Requests(
        bus=ports.bus,
        topics=ports.topics,
        store=ports.store,
        projects=projects,
        orchestrator=ports.orchestrator,
        registry=ports.registry,
        placements=placements,
    )
    intake = Intake(
        bus=ports.bus,
        topics=ports.topics,
        store=ports.store,
        projects=projects,
        placements=placements,
        requests=requests,
        platform=platform,
    )
    instances = InstanceWatch(ports.bus, ports.topics, ports.store, ports.orchestrator, projects, removal)
    questions = ports.bus.subscribe(*intake.questions())
    reports = ports.bus.subscribe(*intake.reports())
    ports.store.adopt("", OWNER)
    lanes.put(ports.store.pending(OWNER))
    tasks = [
        partial(_listen, intake, questions, stopping),
        partial(instances.watch, stopping),
        partial(watch_deadlines, ports.store, projects, OWNER, stopping),
    ]
    watchers = [threading.Thread(target=_together, args=(task, stopping)) for task in tasks]
    for watcher in watchers:
        watcher.start()
    ready()
    try:
        _listen(intake, reports, stopping)
    finally:
        stopping.set()
        placements.close()
        requests.close()
        lanes.close()
        for watcher in watchers:
            watcher.join()
    return 0


def _together(task: Callable[[], None], stopping: threading.Event) -> None:
    """A manager that has lost one of its threads ends, and is started again."""
    try:
        task()
    finally:
        stopping.set()


def _listen(intake: Intake, subscription: Subscription, stopping: threading.Event) -> None:
    """Handle messages in their order. Questions are listened to separately, so that they do not wait behind reports."""
    turns = Turns(subscription)
    while not stopping.is_set():
        delivery = turns.receive(WAIT_S)
        if delivery is not None:
            _handle(intake, delivery, stopping)


def _handle(intake: Intake, delivery: Delivery, stopping: threading.Event) -> None:
    """Handle a message; while the store is out of order (its disk is full, say) it stays unacknowledged and waits."""
    while not stopping.is_set():
        try:
            intake.handle(delivery)
        except FlopsError as error:
            log.error("message waits", extra={"topic": delivery.topic, "reason": str(error)})  # noqa: TRY400
            stopping.wait(RETRY_S)
        else:
            return
