"""How a service ends: not before the manager has everything it said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from flops.delivery.service import ServiceContext

STEP_S: Final = 0.5


def await_confirmation(context: ServiceContext) -> bool:
    """Wait until the manager has confirmed every event, however long it is away; False if the service must stop."""
    while not context.events.wait_confirmed(STEP_S):
        if context.stopping.is_set():
            return False
    return True
