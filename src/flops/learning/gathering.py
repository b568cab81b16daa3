"""Waiting for the learners before the first round."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from flops.errors import TrainingImpossibleError

if TYPE_CHECKING:
    from collections.abc import Callable

    from flops.learning.grid import MqttGrid
    from flops.learning.roster import Learner, Roster

LATECOMER_GRACE_S: Final = 20.0


def gather(
    grid: MqttGrid, minimum: int, *, deadline_s: float, preparation_s: float, is_pointless: Callable[[], bool]
) -> list[Learner]:
    """Wait until every expected learner has joined or will not; those that are there.

    Once ``minimum`` are there the others get a short grace. Learners that do not even run are waited for
    ``deadline_s``, those that run and still prepare their data ``preparation_s``. Nobody is waited for once it
    ``is_pointless``.

    Raises:
        TrainingImpossibleError: fewer than ``minimum`` came.
        StoppingError: the service was asked to stop.
    """
    started = time.monotonic()
    reached_at = float("inf")

    def is_settled(roster: Roster) -> bool:
        if is_pointless() or not roster.pending or len(roster.joined) + len(roster.pending) < minimum:
            return True
        nonlocal reached_at
        now = time.monotonic()
        waited_s = now - started
        reached_at = min(reached_at, now) if len(roster.joined) >= minimum else float("inf")
        if now - reached_at >= min(LATECOMER_GRACE_S, deadline_s):
            return True
        return waited_s >= (preparation_s if roster.preparing else deadline_s)

    grid.await_roster(is_settled, max(deadline_s, preparation_s))
    roster, joined = grid.roster, grid.joined()
    if len(joined) < minimum and not is_pointless():
        raise TrainingImpossibleError(
            f"The training needs {minimum} learners, but {len(joined)} of {len(roster.expected)} joined; "
            f"missing: {roster.absentees()}.",
            remedy="See 'flops logs' of the missing learners, or lower 'min_available_clients' in the SLA.",
        )
    return joined
