"""One task of one learner, from the moment it is given until its reply is there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flops.learning.blobs import Receiver
from flops.learning.flower import Error, Message, RecordDict, identify

if TYPE_CHECKING:
    from flops.wire.learning import Answer, Task


@dataclass(slots=True)
class Assignment:
    """A task that a learner was given: the instruction, how it travels, and what came of it."""

    learner: str
    instruction: Message
    task: Task
    answer: Answer | None = None
    reply: Message | None = None
    lost_at: float | None = None
    receiver: Receiver = field(default_factory=Receiver)

    def succeed(self, content: RecordDict) -> None:
        """Reply with records."""
        self._reply(Message(content, reply_to=self.instruction))

    def fail(self, code: int, reason: str) -> None:
        """Reply with an error."""
        self._reply(Message(Error(code, reason), reply_to=self.instruction))

    def _reply(self, reply: Message) -> None:
        identify(reply, f"{self.task.id}/reply")
        self.reply = reply
