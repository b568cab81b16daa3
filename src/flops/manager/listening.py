"""Handling messages one after the other, in spite of a store that is away and of managers that come and go."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from flops.delivery.fairness import Turns
from flops.errors import FlopsError
from flops.manager.kept import SomebodyElsesError

if TYPE_CHECKING:
    import threading

    from flops.manager.intake import Intake
    from flops.manager.kept import Kept
    from flops.ports import Delivery, Subscription

log = logging.getLogger(__name__)

WAIT_S: Final = 0.5
RETRY_S: Final = 1.0


def listen(intake: Intake, subscription: Subscription, kept: Kept, stopping: threading.Event) -> None:
    """Handle messages in their order until stopping; ``kept`` takes those that are another manager's."""
    turns = Turns(subscription)
    while not stopping.is_set():
        delivery = turns.receive(WAIT_S)
        if delivery is not None:
            _handle(intake, delivery, kept, stopping)
        if kept.is_due():
            _settle(intake, kept)


def _handle(intake: Intake, delivery: Delivery, kept: Kept, stopping: threading.Event) -> None:
    """Handle a message; while the store is out of order (its disk is full, say) it stays unacknowledged and waits."""
    while not stopping.is_set():
        try:
            intake.handle(delivery)
        except SomebodyElsesError:
            kept.keep(delivery)
            return
        except FlopsError as error:
            log.error("message waits", extra={"topic": delivery.topic, "reason": str(error)})  # noqa: TRY400
            stopping.wait(RETRY_S)
        else:
            return


def _settle(intake: Intake, kept: Kept) -> None:
    try:
        kept.settle(intake.handle_kept)
    except FlopsError as error:
        log.warning("kept messages wait", extra={"reason": str(error)})
