"""Which learner nodes hold which data: heard from the presence of their data servers."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from flops.errors import StoppingError
from flops.project.deployment import Role
from flops.wire import events as e
from flops.wire.limits import MAX_PRESENT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flops.wire.requests import Presence

GRACE_S: Final = 5.0


class Placements:
    """Remembers who is online, and chooses nodes for learners."""

    def __init__(self, *, grace_s: float = GRACE_S) -> None:
        self._grace_s = grace_s
        self._present: dict[str, Presence] = {}
        self._changed = threading.Condition()
        self._is_closing = False

    def hear(self, presence: Presence) -> None:
        """Remember what an instance says of itself."""
        with self._changed:
            if presence.instance not in self._present and len(self._present) >= MAX_PRESENT:
                return
            self._present[presence.instance] = presence
            self._changed.notify_all()

    def forget(self, service: str) -> list[str]:
        """Forget a service that is gone; returns the instances that had announced themselves."""
        with self._changed:
            gone = [instance for instance in self._present if instance.rpartition(".")[0] == service]
            for instance in gone:
                del self._present[instance]
            return gone

    def url_of(self, instance: str, *, timeout_s: float = 0.0) -> str:
        """Where an instance that is online can be reached, or an empty string; waits for it if asked to."""
        with self._changed:
            self._changed.wait_for(lambda: self._url(instance) or self._is_closing, timeout_s)
            return self._url(instance)

    def close(self) -> None:
        """Let nobody wait for a URL any more."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()

    def data_tags(self) -> dict[str, dict[str, int]]:
        """Per node, its tags and how many examples each has."""
        with self._changed:
            return {
                presence.node: dict(presence.data_tags)
                for presence in self._present.values()
                if presence.online and presence.role == Role.DATA
            }

    def find(self, data_tags: Sequence[str], learners: int) -> e.PlacementDecided | e.PlacementFailed:
        """One node per learner, spread evenly over the nodes that hold data with any of the tags.

        A data server that has just been started is given a moment to say what it has.

        Raises:
            StoppingError: the manager stops, so nobody can say.
        """
        deadline = time.monotonic() + self._grace_s
        with self._changed:
            while not (nodes := self._nodes_with(data_tags)):
                if self._is_closing:
                    raise StoppingError
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    break
        if nodes:
            return e.PlacementDecided(nodes=[nodes[index % len(nodes)] for index in range(learners)])
        known = ", ".join(sorted({tag for tags in self.data_tags().values() for tag in tags})) or "none at all"
        return e.PlacementFailed(
            reason=f"no learner node holds data with the tags {', '.join(data_tags)}",
            where="training_configuration.data_tags",
            remedy=f"Tags that exist: {known}. Add data with 'flops data put TAG FILE' or 'flops mock-data FILE'.",
        )

    def _url(self, instance: str) -> str:
        presence = self._present.get(instance)
        return presence.url if presence and presence.online else ""

    def _nodes_with(self, data_tags: Sequence[str]) -> list[str]:
        wanted = set(data_tags)
        return sorted(
            presence.node
            for presence in self._present.values()
            if presence.online
            and presence.role == Role.DATA
            and any(count > 0 for tag, count in presence.data_tags.items() if tag in wanted)
        )
