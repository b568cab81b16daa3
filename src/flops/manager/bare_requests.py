"""SLAs that come without an envelope, and so without an id: two equal ones make two projects, one that comes twice one.

What tells them apart is the broker's word that a message comes again, and its number for it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, TypeAdapter

if TYPE_CHECKING:
    from collections.abc import Callable

    from flops.ports import Delivery, Store

ID_LENGTH: Final = 24
KEPT: Final = 64  # more than may be unacknowledged at once of what is handled together
NUMBERS_MEAN_THE_SAME_S: Final = 24 * 3600.0
COPIES_ARRIVE_WITHIN_S: Final = 60.0


class Made(BaseModel):
    """A project that was made of a bare SLA: of which message of which manager's session, and when."""

    project_id: str
    manager: str
    number: int
    time: float


_LIST: Final = TypeAdapter(list[Made])


class BareRequests:
    """Remembers, before a project begins, which message it is made of. ``now`` is in seconds since the epoch."""

    def __init__(self, store: Store, manager: str, now: Callable[[], float]) -> None:
        self._store, self._manager, self._now = store, manager, now
        self._taken_for_copies: set[str] = set()
        self._tried: OrderedDict[int, tuple[Delivery, str]] = OrderedDict()

    def project_for(self, delivery: Delivery, *, kept_since: float | None = None) -> str:
        """The id of the project that a bare SLA makes, or has made when it was delivered before.

        ``kept_since`` tells of one that another manager should have handled, and may have. What is tried again, because
        the store did not answer, makes what it may have made already.
        """
        key = f"bare:{hashlib.sha256(delivery.payload).hexdigest()[:32]}"
        made = _LIST.validate_json(self._store.recall(key) or "[]")
        new_id = self._id_for(delivery)
        for known in made:
            if known.project_id == new_id:
                return new_id
            if self._is_of(known, delivery, kept_since):
                self._taken_for_copies.add(known.project_id)
                return known.project_id
        new = Made(
            project_id=new_id,
            manager=self._manager,
            number=delivery.number,
            time=self._now(),
        )
        self._store.remember(key, _LIST.dump_json([*made[1 - KEPT :], new]).decode())
        return new.project_id

    def _id_for(self, delivery: Delivery) -> str:
        tried, project_id = self._tried.pop(delivery.number, (None, ""))
        project_id = project_id if tried is delivery else secrets.token_hex(ID_LENGTH // 2)
        self._tried[delivery.number] = delivery, project_id
        if len(self._tried) > KEPT:
            self._tried.popitem(last=False)
        return project_id

    def _is_of(self, known: Made, delivery: Delivery, kept_since: float | None) -> bool:
        """Whether a project was made of this message, or of the copy of it that another manager got."""
        if known.manager == self._manager:
            is_recent = known.time > self._now() - NUMBERS_MEAN_THE_SAME_S
            return delivery.redelivered and known.number == delivery.number and is_recent
        if kept_since is None and not delivery.redelivered:
            return False
        earliest = (self._now() if kept_since is None else kept_since) - COPIES_ARRIVE_WITHIN_S
        return known.time > earliest and known.project_id not in self._taken_for_copies
