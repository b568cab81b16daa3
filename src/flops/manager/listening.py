"""Handling messages in their order, in spite of a store that is away and of managers that come and go."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from flops.delivery.fairness import Turns
from flops.errors import FlopsError, StoreUnavailableError
from flops.manager.kept import SomebodyElsesError

if TYPE_CHECKING:
    import threading

    from flops.manager.intake import Intake
    from flops.manager.kept import Kept
    from flops.manager.projects import Projects
    from flops.ports import Delivery, Subscription

log = logging.getLogger(__name__)

WAIT_S: Final = 0.5
RETRY_S: Final = 1.0
AT_ONCE: Final = 32


def listen(
    intake: Intake, projects: Projects, subscription: Subscription, kept: Kept, stopping: threading.Event
) -> None:
    """Handle messages in their order until stopping; ``kept`` takes those that are another manager's.

    What is there at the same time is handled together, as far as it can be.
    """
    turns = Turns(subscription)
    listener = _Listener(intake, projects, kept, stopping)
    while not stopping.is_set():
        deliveries: list[Delivery] = []
        delivery = turns.receive(WAIT_S)
        while delivery is not None and intake.goes_together(delivery):
            deliveries.append(delivery)
            delivery = turns.receive(0) if len(deliveries) < AT_ONCE else None
        listener.handle_together(deliveries)
        if delivery is not None:
            listener.handle(delivery)
        if kept.is_due():
            listener.settle()


class _Listener:
    def __init__(self, intake: Intake, projects: Projects, kept: Kept, stopping: threading.Event) -> None:
        self._intake, self._projects, self._kept, self._stopping = intake, projects, kept, stopping

    def handle_together(self, deliveries: list[Delivery]) -> None:
        """Handle messages in one durable write; what that is not possible for, one after the other."""
        handled = 0
        if len(deliveries) > 1:
            try:
                with self._projects.together():
                    handled = self._handle_first(deliveries)
            except StoreUnavailableError as error:
                log.warning("messages are handled again", extra={"reason": str(error)})
                handled = 0
        for delivery in deliveries[handled:]:
            self.handle(delivery)

    def _handle_first(self, deliveries: list[Delivery]) -> int:
        """Handle messages as far as nothing is out of order; returns how many."""
        for number, delivery in enumerate(deliveries):
            try:
                self._intake.handle(delivery)
            except SomebodyElsesError:
                self._projects.afterwards(partial(self._kept.keep, delivery))
            except FlopsError:
                return number
        return len(deliveries)

    def handle(self, delivery: Delivery) -> None:
        """Handle a message; while the store is out of order (its disk is full, say) it waits, unacknowledged."""
        while not self._stopping.is_set():
            try:
                self._intake.handle(delivery)
            except SomebodyElsesError:
                self._kept.keep(delivery)
                return
            except FlopsError as error:
                log.error("message waits", extra={"topic": delivery.topic, "reason": str(error)})  # noqa: TRY400
                self._stopping.wait(RETRY_S)
            else:
                return

    def settle(self) -> None:
        """Look again at what is another manager's to handle."""
        try:
            self._kept.settle(self._intake.handle_kept)
        except FlopsError as error:
            log.warning("kept messages wait", extra={"reason": str(error)})
