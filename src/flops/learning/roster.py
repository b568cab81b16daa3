"""Who takes part: the learners of one project as the aggregator knows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flops.learning.flower import stable_id

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Learner:
    """A learner that has its data and hears its tasks. ``example`` describes one input of its model."""

    instance: str
    node: str = ""
    examples: int | None = None
    example: dict[str, Any] = field(default_factory=dict)

    @property
    def node_id(self) -> int:
        """What Flower calls it."""
        return stable_id(self.instance)


class Roster:
    """The expected learners and what is known of each; not thread-safe by itself."""

    def __init__(self, expected: Sequence[str]) -> None:
        self.expected = tuple(expected)
        self._joined: dict[str, Learner] = {}
        self._online: set[str] = set()
        self._left: dict[str, str] = {}

    def expects(self, instance: str) -> bool:
        """Whether a learner of this name may take part."""
        return instance in self.expected

    def join(self, learner: Learner) -> None:
        """Note that a learner takes part."""
        self._joined[learner.instance] = learner
        self._online.add(learner.instance)
        self._left.pop(learner.instance, None)

    def come_online(self, instance: str) -> None:
        """Note that a learner's process runs."""
        self._online.add(instance)

    def go_offline(self, instance: str) -> None:
        """Note that a learner's process is gone."""
        self._online.discard(instance)
        self._joined.pop(instance, None)

    def leave(self, instance: str, reason: str) -> None:
        """Note that a learner does not want to take part."""
        self._left[instance] = reason
        self._joined.pop(instance, None)

    def is_joined(self, instance: str) -> bool:
        """Whether a learner takes part right now."""
        return instance in self._joined

    @property
    def joined(self) -> list[Learner]:
        """Those that take part, in the order in which they are expected."""
        return [self._joined[instance] for instance in self.expected if instance in self._joined]

    @property
    def pending(self) -> list[str]:
        """Those that may still join."""
        return [name for name in self.expected if name not in self._joined and name not in self._left]

    @property
    def preparing(self) -> list[str]:
        """Those that run but have not joined yet."""
        return [name for name in self.pending if name in self._online]

    def absentees(self) -> str:
        """Who is missing and why, as one sentence part for a person."""
        reasons = [f"{name} ({self._left[name]})" for name in self.expected if name in self._left]
        reasons += [f"{name} ({'not ready' if name in self._online else 'offline'})" for name in self.pending]
        return ", ".join(reasons)
