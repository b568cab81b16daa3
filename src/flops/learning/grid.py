"""Flower's Grid over the message bus."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

from flops.learning.conversation import Conversation, Listener
from flops.learning.flower import (
    NODE_UNAVAILABLE,
    Grid,
    Message,
    RecordDict,
    Run,
    act_as_aggregator,
    empty_run,
    identify,
    stable_id,
)
from flops.learning.records import encode_records
from flops.wire.learning import Task

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Sequence

    from flops.learning.assignment import Assignment
    from flops.learning.blobs import Blob
    from flops.learning.roster import Learner, Roster
    from flops.ports import Bus
    from flops.wire.topics import Topics

__all__ = ["Listener", "MqttGrid"]


class MqttGrid(Grid):
    """Sends Flower's messages to learners over the bus.

    The arrays of a round travel once for all learners, named by their digest; each learner's task only refers to them.
    """

    def __init__(  # noqa: PLR0913  the facts that make a conversation
        self,
        bus: Bus,
        topics: Topics,
        project_id: str,
        learners: Sequence[str],
        *,
        listener: Listener,
        stopping: threading.Event,
        chunk_bytes: int,
    ) -> None:
        self._run = empty_run(stable_id(project_id))
        self._instances = {stable_id(instance): instance for instance in learners}
        self._eligible: list[int] | None = None
        act_as_aggregator(self._run.run_id)
        self._conversation = Conversation(bus, topics, project_id, learners, listener, stopping, chunk_bytes)

    # --- Flower's interface ---

    @property
    def run(self) -> Run:
        """Flower's description of the run."""
        return self._run

    def set_run(self, run: Run) -> None:
        """Replace Flower's description of the run."""
        self._run = run
        act_as_aggregator(run.run_id)

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Build an instruction."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """The learners to choose from: those of the last ``await_nodes``, else whoever has joined."""
        with self._conversation.changed:
            return self._joined_ids() if self._eligible is None else list(self._eligible)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send each message to its learner; the arrays that they share travel once."""
        encoded: dict[int, tuple[dict[str, Any], Blob | None]] = {}
        message_ids = []
        for message in messages:
            if id(message.content) not in encoded:
                content, blob = encoded[id(message.content)] = encode_records(message.content)
                if blob is not None:
                    self._conversation.publish_global(blob)
            content, blob = encoded[id(message.content)]
            message_ids.append(self._push(message, content, blob))
        return message_ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The replies that are there, each given out once."""
        replies = []
        for message_id in message_ids:
            item = self._conversation.assignment(message_id)
            if item is not None and item.reply is not None:
                replies.append(item.reply)
                self._conversation.settle(message_id)
        return replies

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Send, and wait for every reply; a learner that is lost replies with an error, a late one not at all."""
        message_ids = list(self.push_messages(messages))
        for item in self._await_replies(message_ids, 0, float("inf") if timeout is None else timeout, 0.0):
            if item.reply is None and item.lost_at is not None:
                item.fail(NODE_UNAVAILABLE, f"{item.learner} was lost")
        replies = list(self.pull_messages(message_ids))
        for message_id in message_ids:
            self._conversation.settle(message_id)
        return replies

    # --- what FLOps adds ---

    def exchange(
        self, messages: Iterable[Message], *, minimum: int, timeout_s: float, return_s: float
    ) -> list[Message]:
        """Send, and wait until every learner has replied or is lost; every message gets a reply, if only an error.

        With fewer than ``minimum`` good replies, a lost learner is waited for ``return_s`` and given its task again.

        Raises:
            StoppingError: the service was asked to stop.
        """
        begun = time.monotonic()
        message_ids = list(self.push_messages(messages))
        with self._conversation.changed:
            for item in self._await_replies(message_ids, minimum, timeout_s, return_s):
                if item.reply is None:
                    is_late = time.monotonic() - begun >= timeout_s
                    silence = "did not answer in time" if is_late else "was not waited for, as others failed"
                    item.fail(NODE_UNAVAILABLE, f"{item.learner} {'was lost' if item.lost_at else silence}")
        # In a fixed order, because floating-point sums depend on it.
        return sorted(self.pull_messages(message_ids), key=lambda reply: reply.metadata.src_node_id)

    def await_nodes(self, minimum: int, timeout_s: float) -> bool:
        """Wait for ``minimum`` learners, and let ``get_node_ids`` answer exactly with those that are there then.

        Raises:
            StoppingError: the service was asked to stop.
        """
        with self._conversation.changed:
            self.await_roster(lambda roster: len(roster.joined) >= minimum, timeout_s)
            self._eligible = self._joined_ids()
            return len(self._eligible) >= minimum

    def await_roster(self, condition: Callable[[Roster], bool], timeout_s: float) -> bool:
        """Wait until ``condition`` holds, which must be quick and only read.

        Raises:
            StoppingError: the service was asked to stop.
        """
        deadline = time.monotonic() + timeout_s
        with self._conversation.changed:
            while not condition(self._conversation.roster):
                if time.monotonic() >= deadline:
                    return False
                self._conversation.await_change(deadline)
        return True

    @property
    def roster(self) -> Roster:
        """Who takes part; a live view."""
        return self._conversation.roster

    def joined(self) -> list[Learner]:
        """The learners that take part right now."""
        with self._conversation.changed:
            return self._conversation.roster.joined

    def instance_of(self, node_id: int) -> str:
        """The learner that Flower knows by this number."""
        return self._instances[node_id]

    def dismiss(self) -> None:
        """Tell every learner that it is not needed any more."""
        self._conversation.dismiss()

    def close(self) -> None:
        """Stop listening."""
        self._conversation.close()

    def _push(self, message: Message, content: dict[str, Any], blob: Blob | None) -> str:
        task = Task.model_validate(
            {
                "id": uuid.uuid4().hex,
                "run_id": self._run.run_id,
                "type": message.metadata.message_type,
                "content": content,
                "blob": blob.ref if blob is not None else None,
            }
        )
        identify(message, task.id)
        self._conversation.assign(self._instances[message.metadata.dst_node_id], message, task)
        return task.id

    def _await_replies(
        self, message_ids: list[str], minimum: int, timeout_s: float, return_s: float
    ) -> list[Assignment]:
        """Wait as long as waiting can still change something, and at most ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        assigned = [self._conversation.assignment(message_id) for message_id in message_ids]
        items = [item for item in assigned if item is not None]
        with self._conversation.changed:
            while time.monotonic() < (end := min(deadline, _worth_waiting_until(items, minimum, return_s))):
                self._conversation.await_change(end)
        return items

    def _joined_ids(self) -> list[int]:
        return [learner.node_id for learner in self._conversation.roster.joined]


def _worth_waiting_until(items: list[Assignment], minimum: int, return_s: float) -> float:
    """Until when (monotonic) waiting can still change anything, the overall deadline aside."""
    unanswered = [item for item in items if item.reply is None]
    losses = [item.lost_at for item in unanswered if item.lost_at is not None]
    good = sum(1 for item in items if item.reply is not None and item.reply.has_content())
    if not unanswered or good + len(unanswered) < minimum:
        return 0.0
    if len(losses) < len(unanswered):
        return float("inf")
    return 0.0 if good >= minimum else max(losses) + return_s
