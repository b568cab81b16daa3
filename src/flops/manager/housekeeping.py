"""What nobody needs any more is forgotten: the events and the inbox of projects that ended long ago, and free space."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from flops.errors import FlopsError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from flops.ports import Store

log = logging.getLogger(__name__)

FIRST_AFTER_S: Final = 60.0
EVERY_S: Final = 3600.0
PROJECTS_PER_LOOK: Final = 50


@dataclass(frozen=True, slots=True)
class Housekeeping:
    """Of several managers the one ``is_on_duty``. What it forgets, and how late, changes no decision of any project."""

    store: Store
    keep_s: float
    now: Callable[[], float]
    is_on_duty: Callable[[], bool]

    def keep_house(self, stopping: threading.Event) -> None:
        """Tidy up now and then until stopping."""
        pause_s = FIRST_AFTER_S
        while not stopping.wait(pause_s):
            pause_s = EVERY_S
            try:
                if self.is_on_duty():
                    self.tidy(stopping)
            except FlopsError as error:
                log.warning("housekeeping is put off", extra={"reason": str(error)})

    def tidy(self, stopping: threading.Event) -> None:
        """Forget what is old enough, then give the space back."""
        before = datetime.fromtimestamp(self.now() - self.keep_s, UTC).isoformat()
        while not stopping.is_set():
            found = self.store.ended_before(before, PROJECTS_PER_LOOK)
            for project_id in found:
                self.store.forget_history(project_id)
            if found:
                log.info("histories forgotten", extra={"projects": len(found), "before": before})
            if len(found) < PROJECTS_PER_LOOK:
                break
        self.store.compact()
