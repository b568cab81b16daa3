"""The events after which nothing that led to them may be missing in an inbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flops.wire.events import MANAGER, PhaseEntered, ProjectCancelled, ProjectCompleted, ProjectFailed

if TYPE_CHECKING:
    from flops.wire.envelope import Envelope

LAST_WORDS: Final = frozenset({ProjectCompleted.type, ProjectFailed.type, ProjectCancelled.type})


def ends_a_chapter(envelope: Envelope) -> bool:
    """Whether everything that led to this event is in the manager's hands, and some of it may not have been heard.

    Nothing shows that the last events of a source are missing: an observer that was not there yet when they were told
    would end without them.
    """
    return envelope.source == MANAGER and (envelope.type == PhaseEntered.type or is_last_word(envelope))


def is_last_word(envelope: Envelope) -> bool:
    """Whether this event says how the project has ended."""
    return envelope.source == MANAGER and envelope.type in LAST_WORDS
