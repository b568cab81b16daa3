"""Who takes care of what when managers come and go: projects have one owner, the intake of new ones has one holder."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

from flops.errors import FlopsError
from flops.manager.clock import elapsed_s
from flops.manager.kept import SomebodyElsesError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flops.manager.lanes import Lanes
    from flops.manager.lease import Lease
    from flops.manager.projects import Projects
    from flops.ports import PendingItem, Store

log = logging.getLogger(__name__)

INTAKE: Final = "intake"
BEATS_PER_LEASE: Final = 5
LONGEST_PAUSE_S: Final = 2.0
HANDLED_WITHIN_S: Final = 5.0


class Succession:
    """Keeps this manager's lease, holds or respects the office, and adopts the projects of managers that are gone.

    ``on_adopted(former, project_ids)`` is called after an adoption. Another manager is gone when its signs of life
    have stood still for a whole lease that this one has watched without a break.
    """

    def __init__(  # noqa: PLR0913  the parts that change hands
        self,
        *,
        store: Store,
        lease: Lease,
        projects: Projects,
        lanes: Lanes,
        on_adopted: Callable[[str, Sequence[str]], None],
        clock: Callable[[], float] = elapsed_s,
    ) -> None:
        self._store, self._lease, self._projects, self._lanes = store, lease, projects, lanes
        self._on_adopted, self._clock = on_adopted, clock
        self._pause_s = min(LONGEST_PAUSE_S, lease.lasts_s / BEATS_PER_LEASE)
        self._seen: dict[str, tuple[int, float]] = {}
        self._seen_in_term, self._is_unowned_adopted = 0, False
        self._holder = ""
        self._owners: set[str] = set()
        self._beating, self._watching = threading.Lock(), threading.Lock()

    @property
    def holder(self) -> str:
        """Who takes new projects on and answers requests, as far as is known; empty for nobody."""
        return self._holder

    @property
    def is_holder(self) -> bool:
        """Whether that is this manager. While its lease is over this may be outdated."""
        return self._holder == self._lease.manager

    @property
    def may_act(self) -> bool:
        """Whether this manager's lease lasts, so that nobody has taken over from it."""
        return self._lease.is_held

    @property
    def acts_as_holder(self) -> bool:
        """Whether this manager certainly holds the office."""
        return self.is_holder and self.may_act

    def watch_for(self, manager: str) -> None:
        """Look after a manager that owns something, even if it has never given a sign of life."""
        with self._watching:
            self._owners.add(manager)

    def has_outlived(self, manager: str, elapsed_s: float) -> bool:
        """Whether a manager was alive long enough after a moment to have handled what came then."""
        if manager == self._lease.manager:
            return False
        return manager in self._seen and self._seen[manager][1] > elapsed_s + HANDLED_WITHIN_S

    def make_sure_of_office(self) -> None:
        """Return if this manager may take a new project on right now.

        Raises:
            SomebodyElsesError: another one has to.
            StoreUnavailableError: its lease is over, and cannot be renewed.
        """
        if not self._lease.is_held:
            self._projects.end_together_early()  # whoever beats or adopts may be waiting for it
            self.beat()
        if not self.is_holder:
            raise SomebodyElsesError(self._holder)

    def begin(self) -> None:
        """Look who owns what and give the first sign of life; what the store refuses is made up for later."""
        try:
            self._holder = self._store.holder(INTAKE)
            self.beat()
            self.look_after_others()
        except FlopsError as error:
            log.error("the manager cannot begin yet", extra={"reason": str(error)})  # noqa: TRY400

    def resign(self) -> None:
        """Leave the office and all projects to the other managers at once; without others they wait for a new start."""
        try:
            if not self.is_holder or self._store.beats().keys() <= {self._lease.manager}:
                return
            self._store.adopt(self._lease.manager, "")
            self._store.take_office(INTAKE, "", self._lease.manager)
            self._store.retire(self._lease.manager)
        except FlopsError as error:
            log.warning("the other managers have to find out", extra={"reason": str(error)})

    def keep_beating(self, stopping: threading.Event) -> None:
        """Give signs of life until stopping."""
        self._repeat(self.beat, stopping)

    def watch_others(self, stopping: threading.Event) -> None:
        """Look after the other managers until stopping."""
        self._repeat(self.look_after_others, stopping)

    def beat(self) -> None:
        """Give a sign of life. After a lease that had ended, begin anew with what this manager owns now."""
        with self._beating:
            began = self._lease.beat()
            if began is None:
                return
            with self._projects.halted():
                self._holder = self._store.holder(INTAKE)
                self._queue_anew(began)
        log.info("the lease begins", extra={"manager": self._lease.manager})

    def _queue_anew(self, began: float | None = None) -> None:
        """Queue all that is pending of this manager's projects, and nothing else; ``began`` begins a new term."""
        self._lanes.drop()
        items = self._store.pending(self._lease.manager)
        self._projects.is_in_doubt = False
        if began is not None:
            self._lease.begin_term(began)
        self._lanes.put(items)

    def look_after_others(self) -> None:
        """Take over from managers that are gone, and the office if nobody holds it."""
        if not self._lease.is_held:
            return
        if self._seen_in_term != self._lease.term:
            self._seen, self._seen_in_term, self._is_unowned_adopted = {}, self._lease.term, False
        before = self._clock()
        beats = self._store.beats()
        holder = self._store.holder(INTAKE)
        with self._watching:
            others = {*beats, holder, *self._owners} - {self._lease.manager, ""}
        self._observe({manager: beats.get(manager, 0) for manager in others})
        gone = [name for name, (_, since) in self._seen.items() if before - since >= self._lease.lasts_s]
        is_new = (holder in gone or not holder) and self._store.take_office(INTAKE, self._lease.manager, holder)
        if is_new:
            self._is_unowned_adopted = False
            log.log(
                logging.WARNING if holder else logging.INFO,
                "this manager takes new projects on",
                extra={"former": holder},
            )
        self._holder = self._lease.manager if is_new else holder
        for manager in gone:
            self._adopt(manager)
            self._store.retire(manager)
            del self._seen[manager]
            with self._watching:
                self._owners.discard(manager)
        if self.is_holder and not self._is_unowned_adopted:
            self._adopt("")
            self._is_unowned_adopted = True
        if self._projects.is_in_doubt:
            self._settle_doubt()

    def _settle_doubt(self) -> None:
        """What was saved or adopted while the store did not answer has not been queued, and its owner was not told."""
        with self._projects.halted():
            self._queue_anew()
        self._on_adopted("", [record.project.id for record in self._store.live(self._lease.manager)])

    def _observe(self, beats: dict[str, int]) -> None:
        now = self._clock()
        for manager in set(self._seen) - set(beats):
            del self._seen[manager]
        for manager, count in beats.items():
            if self._seen.get(manager, (None,))[0] != count:
                self._seen[manager] = (count, now)

    def _adopt(self, former: str) -> None:
        """Take care of another manager's projects from now on, beginning with what it has left undone."""
        with self._projects.halted():
            try:
                adopted = set(self._store.adopt(former, self._lease.manager))
                pending: Sequence[PendingItem] = self._store.pending(self._lease.manager) if adopted else []
            except FlopsError:
                self._projects.is_in_doubt = True
                raise
            self._lanes.put([item for item in pending if item.project_id in adopted])
        if adopted:
            log.warning("projects adopted", extra={"former": former, "projects": len(adopted)})
        if adopted or former:
            self._on_adopted(former, sorted(adopted))

    def _repeat(self, step: Callable[[], None], stopping: threading.Event) -> None:
        while not stopping.wait(self._pause_s):
            try:
                step()
            except FlopsError as error:
                log.error("the managers' store does not answer", extra={"reason": str(error)})  # noqa: TRY400
