"""The manager process: connects its parts, performs what is still pending, and listens."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from flops.errors import FlopsError
from flops.manager.bare_requests import BareRequests
from flops.manager.clock import SteadyClock, elapsed_s
from flops.manager.housekeeping import Housekeeping
from flops.manager.intake import Intake
from flops.manager.kept import Kept
from flops.manager.lanes import Lanes
from flops.manager.lease import Lease
from flops.manager.listening import listen
from flops.manager.performer import Performer
from flops.manager.placement import Placements
from flops.manager.projects import Projects
from flops.manager.reconciliation import Reconciliation
from flops.manager.removal import Removal
from flops.manager.reports import Reports
from flops.manager.requests import Requests
from flops.manager.service_leases import ServiceLeases
from flops.manager.succession import Succession
from flops.manager.watch import InstanceWatch, watch_deadlines
from flops.retries import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flops.ports import Bus, Orchestrator, PendingItem, Registry, Repositories, Store
    from flops.project.state import Deadlines
    from flops.wire.topics import Topics

log = logging.getLogger(__name__)

RETRIES: Final = RetryPolicy()
KEEP_EVENTS_S: Final = 90 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class ManagerPorts:
    """Everything outside that the manager needs."""

    bus: Bus
    topics: Topics
    store: Store
    orchestrator: Orchestrator
    registry: Registry
    repositories: Repositories


@dataclass(frozen=True, slots=True)
class Tenure:
    """Which of several managers this is, for how long leases last, and the clocks that they are measured with.

    ``lease_s`` is a manager's own, the same for all managers; ``service_lease_s`` is that of a service it has deployed.
    """

    manager: str = "manager"
    lease_s: float = 10.0
    service_lease_s: float = 30.0
    wall: Callable[[], float] = time.time
    elapsed: Callable[[], float] = elapsed_s


def run(  # noqa: PLR0913  what a manager needs to know
    ports: ManagerPorts,
    deadlines: Deadlines,
    platform: str,
    stopping: threading.Event,
    ready: Callable[[], None],
    *,
    tenure: Tenure | None = None,
    retries: RetryPolicy = RETRIES,
    keep_events_s: float = KEEP_EVENTS_S,
) -> int:
    """Manage projects until ``stopping`` is set; ``ready`` is called once messages are listened to."""
    manager = Manager(
        ports=ports,
        deadlines=deadlines,
        platform=platform,
        tenure=tenure or Tenure(),
        retries=retries,
        keep_events_s=keep_events_s,
    )
    return manager.run(stopping, ready)


class Manager:
    """The parts of a manager, connected."""

    def __init__(  # noqa: PLR0913  as ``run``
        self,
        *,
        ports: ManagerPorts,
        deadlines: Deadlines,
        platform: str,
        tenure: Tenure,
        retries: RetryPolicy,
        keep_events_s: float,
    ) -> None:
        self._ports, self._tenure = ports, tenure
        self._now = SteadyClock(tenure.wall, tenure.elapsed)
        self._lease = Lease(ports.store, tenure.manager, tenure.lease_s, tenure.elapsed)
        self._placements = Placements()
        self._removal = Removal(ports.bus, ports.topics, ports.orchestrator, self._placements)
        self._performer = self._make_performer(retries)
        self._lanes = Lanes(self._perform)
        self._projects = Projects(
            ports.store, deadlines, self._lanes.put, owner=tenure.manager, hand_over_new=self._lanes.put_new
        )
        self._succession = Succession(
            store=ports.store,
            lease=self._lease,
            projects=self._projects,
            lanes=self._lanes,
            on_adopted=self._welcome,
            clock=tenure.elapsed,
        )
        self._requests = self._make_requests()
        self._reports = Reports(ports.bus, ports.topics, ports.store, self._projects)
        self._leases = ServiceLeases(
            ports.orchestrator, self._projects, self._succession, tenure.service_lease_s, tenure.elapsed
        )
        self._intake = self._make_intake(platform)
        self._reconciliation = Reconciliation(
            ports.store, ports.orchestrator, self._projects, self._removal, self._succession
        )
        self._housekeeping = Housekeeping(
            ports.store, keep_events_s, tenure.wall, lambda: self._succession.acts_as_holder
        )
        self._instances = InstanceWatch(
            ports.bus,
            ports.topics,
            ports.store,
            ports.orchestrator,
            self._projects,
            self._removal,
            self._succession,
            self._reconciliation,
        )

    def run(self, stopping: threading.Event, ready: Callable[[], None]) -> int:
        """Manage until ``stopping`` is set."""
        questions = self._ports.bus.subscribe(*self._intake.questions())
        reports = self._ports.bus.subscribe(*self._intake.reports())
        self._succession.begin()
        tasks = [
            self._succession.keep_beating,
            self._succession.watch_others,
            # Listened to separately, so that questions do not wait behind reports.
            partial(listen, self._intake, self._projects, questions, self._kept()),
            self._instances.watch,
            self._reports.watch_gaps,
            partial(watch_deadlines, self._ports.store, self._projects, self._now),
            self._leases.watch,
            self._reconciliation.watch,
            self._housekeeping.keep_house,
        ]
        watchers = [threading.Thread(target=_together, args=(task, stopping)) for task in tasks]
        for watcher in watchers:
            watcher.start()
        ready()
        try:
            listen(self._intake, self._projects, reports, self._kept(), stopping)
        finally:
            stopping.set()
            self._placements.close()
            self._requests.close()
            self._lanes.close()
            for watcher in watchers:
                watcher.join()
            self._succession.resign()
        return 0

    def _make_performer(self, retries: RetryPolicy) -> Performer:
        return Performer(
            bus=self._ports.bus,
            topics=self._ports.topics,
            store=self._ports.store,
            orchestrator=self._ports.orchestrator,
            registry=self._ports.registry,
            repositories=self._ports.repositories,
            placements=self._placements,
            removal=self._removal,
            retries=retries,
            now=self._now,
        )

    def _make_requests(self) -> Requests:
        return Requests(
            bus=self._ports.bus,
            topics=self._ports.topics,
            store=self._ports.store,
            projects=self._projects,
            orchestrator=self._ports.orchestrator,
            registry=self._ports.registry,
            placements=self._placements,
        )

    def _make_intake(self, platform: str) -> Intake:
        return Intake(
            bus=self._ports.bus,
            topics=self._ports.topics,
            store=self._ports.store,
            projects=self._projects,
            placements=self._placements,
            requests=self._requests,
            reports=self._reports,
            succession=self._succession,
            bare_requests=BareRequests(self._ports.store, self._tenure.manager, self._now),
            hear_presence=self._leases.hear,
            platform=platform,
        )

    def _kept(self) -> Kept:
        return Kept(self._succession.has_outlived, self._tenure.elapsed, self._now)

    def _perform(self, item: PendingItem, attempt: int) -> float | None:
        """Perform an item; while the lease is over it stays pending, and is queued again when a new term begins."""
        if not self._lease.is_held:
            return None
        return self._performer.perform(item, attempt, self._projects)

    def _welcome(self, former: str, adopted: Sequence[str]) -> None:
        """Let those who tell of adopted projects know whom they now tell, and hear what has not been heard of them."""
        try:
            telling = {service.project_id for service in self._ports.orchestrator.services()} & set(adopted)
        except FlopsError as error:
            log.warning("all adopted projects are confirmed again", extra={"reason": str(error)})
            telling = set(adopted)
        for project_id in sorted(telling):
            self._reports.confirm_again(project_id)
        if former:
            self._instances.catch_up_for(former)
        self._reconciliation.want()


def _together(task: Callable[[threading.Event], None], stopping: threading.Event) -> None:
    """A manager that has lost one of its threads ends, and is started again."""
    try:
        task(stopping)
    finally:
        stopping.set()
