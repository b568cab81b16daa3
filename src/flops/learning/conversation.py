"""The aggregator's side of the learning plane: who takes part, what they were asked, what they answered."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flops.delivery.rates import Noise
from flops.errors import (
    BrokerUnreachableError,
    FlopsError,
    PayloadTooLargeError,
    StoppingError,
    TrainingImpossibleError,
    UndecodableMessageError,
)
from flops.learning.assignment import Assignment
from flops.learning.flower import CLIENT_RAISED
from flops.learning.records import decode_records
from flops.learning.roster import Learner, Roster
from flops.wire.learning import (
    RETAINED,
    Answer,
    Call,
    Chunk,
    Dismissal,
    Joining,
    LearningMessage,
    Leaving,
    Need,
    Task,
    decode_learning,
    encode_learning,
)
from flops.wire.limits import MAX_RESULT_FACTOR, MIN_RESULT_LIMIT_BYTES
from flops.wire.presence import decode_presence

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flops.learning.blobs import Blob
    from flops.learning.flower import Message
    from flops.ports import Bus, Delivery
    from flops.wire.topics import Topics

log = logging.getLogger(__name__)

TICK_S: Final = 0.25
REMIND_AFTER_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Listener:
    """Who hears of learners that begin to take part (again), and of those that did and are gone, with the reason."""

    joined: Callable[[Learner], None]
    lost: Callable[[str, str], None]


class Conversation:
    """Talks to the learners of one project. A thread listens, whatever the caller does.

    ``changed`` guards ``roster`` and the assignments, and is notified whenever one of them changes.
    """

    def __init__(  # noqa: PLR0913, PLR0917  the facts that make a conversation
        self,
        bus: Bus,
        topics: Topics,
        project_id: str,
        learners: Sequence[str],
        listener: Listener,
        stopping: threading.Event,
        chunk_bytes: int,
    ) -> None:
        self.changed = threading.Condition()
        self.roster = Roster(learners)
        self._bus, self._topics, self._project_id = bus, topics, project_id
        self._listener, self._stopping, self._chunk_bytes = listener, stopping, chunk_bytes
        self._assignments: dict[str, Assignment] = {}
        self._global: Blob | None = None
        self._failure: FlopsError | None = None
        self._is_dismissed = False
        self._noise = Noise(log, "message ignored")
        self._closing = threading.Event()
        presences = (topics.presence(instance) for instance in learners)
        self._subscription = bus.subscribe(topics.learning_from(project_id), *presences)
        self._thread = threading.Thread(target=self._listen, name="conversation", daemon=True)
        self._thread.start()
        self._say_to_all(Call())

    def publish_global(self, blob: Blob) -> None:
        """Send the arrays to all learners, unless these very bytes were the last that were sent."""
        if self._global is None or self._global.ref != blob.ref:
            self._global = blob
            for chunk, body in blob.pieces(self._chunk_bytes):
                self._say_to_all(chunk, body)

    def assign(self, learner: str, instruction: Message, task: Task) -> None:
        """Give a learner a task."""
        with self.changed:
            lost_at = None if self.roster.is_joined(learner) else time.monotonic()
            self._assignments[task.id] = Assignment(learner, instruction, task, lost_at=lost_at)
        self._say_to(learner, task)

    def assignment(self, task_id: str) -> Assignment | None:
        """What became of a task, or None if it was settled or never given."""
        return self._assignments.get(task_id)

    def settle(self, task_id: str) -> None:
        """Forget a task; an answer that still comes is ignored."""
        with self.changed:
            self._assignments.pop(task_id, None)

    def await_change(self, deadline: float) -> None:
        """Wait a moment, at most until ``deadline`` (monotonic); the caller holds ``changed``.

        Raises:
            StoppingError: the service was asked to stop.
            FlopsError: what a listener raised, for instance because the disk is full.
        """
        if self._stopping.is_set():
            raise StoppingError
        if self._failure is not None:
            raise self._failure
        self.changed.wait(min(TICK_S, max(deadline - time.monotonic(), 0.0)))

    def dismiss(self) -> None:
        """Tell every learner that it is not needed any more; that they go then is no loss."""
        self._is_dismissed = True
        self._say_to_all(Dismissal())

    def close(self) -> None:
        """Stop listening."""
        self._closing.set()
        self._subscription.close()
        self._thread.join(timeout=5)

    # --- saying ---

    def _say_to_all(self, message: LearningMessage, body: bytes = b"") -> None:
        self._publish(self._topics.learning_all(self._project_id), message, body)

    def _say_to(self, learner: str, message: LearningMessage, body: bytes = b"") -> None:
        self._publish(self._topics.learning_to(self._project_id, learner), message, body)

    def _publish(self, topic: str, message: LearningMessage, body: bytes) -> None:
        try:
            self._bus.publish(topic, encode_learning(message, body))
        except BrokerUnreachableError as error:
            # Said again after the reconnect: tasks by _remind, chunks when a learner asks for them.
            log.warning("message not sent", extra={"topic": topic, "reason": error.reason})

    def _remind(self) -> None:
        """Say again what may have been lost: a learner that has it already ignores it or repeats its short answer."""
        with self.changed:
            unanswered = [item for item in self._assignments.values() if item.reply is None and item.lost_at is None]
            has_absentees = bool(self.roster.pending)
        for item in unanswered:
            self._say_to(item.learner, item.task)
        if has_absentees:
            self._say_to_all(Call())

    # --- hearing ---

    def _listen(self) -> None:
        connection, reminded_at = self._bus.connection_count, time.monotonic()
        while not self._closing.is_set():
            delivery = self._subscription.receive(TICK_S)
            if delivery is not None:
                self._hear(delivery)
                delivery.acknowledge()
            is_reconnected = self._bus.connection_count != connection
            if is_reconnected or time.monotonic() - reminded_at >= REMIND_AFTER_S:
                connection, reminded_at = self._bus.connection_count, time.monotonic()
                self._remind()

    def _hear(self, delivery: Delivery) -> None:
        try:
            instance = self._topics.instance_of(delivery.topic)
            if instance is not None:
                self._hear_presence(instance, delivery)
            else:
                self._hear_learner(delivery)
        except (UndecodableMessageError, PayloadTooLargeError) as error:
            self._noise.hear(delivery.topic, str(error))
        except FlopsError as error:
            self._failure = error
        except Exception as error:  # the end of a thread: whoever waits must hear of it
            log.exception("listening failed")
            self._failure = TrainingImpossibleError(f"The aggregator met an error that it did not expect: {error!r}.")

    def _hear_presence(self, instance: str, delivery: Delivery) -> None:
        if not delivery.payload:
            return
        if decode_presence(delivery.topic, delivery.payload).online:
            with self.changed:
                self.roster.come_online(instance)
                self.changed.notify_all()
        else:
            self._lose(instance, "its process is gone", self.roster.go_offline)

    def _hear_learner(self, delivery: Delivery) -> None:
        learner = self._topics.learner_of(delivery.topic)
        if learner is None or not self.roster.expects(learner):
            self._noise.hear(delivery.topic, "it comes from a stranger")
            return
        if delivery.retained:
            self._noise.hear(delivery.topic, RETAINED)
            return
        message, body = decode_learning(delivery.topic, delivery.payload)
        match message:
            case Joining():
                self._join(Learner(learner, message.node, message.examples, message.example))
            case Leaving():
                reason = message.reason or "it was stopped"
                self._lose(learner, reason, lambda name: self.roster.leave(name, reason))
            case Chunk():
                self._take_chunk(learner, message, body, delivery.topic)
            case Answer():
                self._take_answer(learner, message)
            case Need():
                self._send_again(learner, message)
            case _:
                self._noise.hear(delivery.topic, f"no learner says {message.kind!r}")

    def _join(self, learner: Learner) -> None:
        if not self.roster.is_joined(learner.instance):
            self._listener.joined(learner)
        with self.changed:
            self.roster.join(learner)
            unanswered = [item for item in self._assignments_of(learner.instance) if item.reply is None]
            for item in unanswered:
                item.lost_at = None
            self.changed.notify_all()
        for item in unanswered:
            self._say_to(learner.instance, item.task)

    def _lose(self, instance: str, reason: str, remove: Callable[[str], None]) -> None:
        if self.roster.is_joined(instance) and not self._is_dismissed:
            self._listener.lost(instance, reason)
        with self.changed:
            remove(instance)
            for item in self._assignments_of(instance):
                if item.reply is None and item.lost_at is None:
                    item.lost_at = time.monotonic()
            self.changed.notify_all()

    def _take_chunk(self, learner: str, chunk: Chunk, body: memoryview, topic: str) -> None:
        item = self._current(learner)
        if item is None:
            return
        sent_bytes = self._global.ref.size_bytes if self._global else 0
        item.receiver.add(topic, chunk, body, limit_bytes=max(MIN_RESULT_LIMIT_BYTES, MAX_RESULT_FACTOR * sent_bytes))
        if item.answer is not None:
            self._finish(item, item.answer)

    def _take_answer(self, learner: str, answer: Answer) -> None:
        item = self._current(learner)
        if item is None or item.task.id != answer.task_id:
            return
        item.answer = answer
        if not self._finish(item, answer) and answer.blob is not None:
            self._say_to(learner, item.receiver.need(answer.blob))

    def _finish(self, item: Assignment, answer: Answer) -> bool:
        """Turn an answer into the reply once all its bytes are there."""
        blob = item.receiver.blob(answer.blob) if answer.blob is not None else bytearray()
        if blob is None and not answer.error:
            return False
        error, content = answer.error, None
        if not error:
            try:
                content = decode_records(answer.content, blob or b"")
            except UndecodableMessageError as undecodable:
                error = undecodable.message
        item.receiver.forget()
        with self.changed:
            if content is None:
                item.fail(CLIENT_RAISED, error)
            else:
                item.succeed(content)
            self.changed.notify_all()
        return True

    def _send_again(self, learner: str, need: Need) -> None:
        if self._global is not None and self._global.ref.digest == need.digest:
            for chunk, body in self._global.pieces(self._chunk_bytes, need.missing):
                self._say_to(learner, chunk, body)

    def _current(self, learner: str) -> Assignment | None:
        """The task that a learner has not answered yet."""
        with self.changed:
            return next((item for item in self._assignments_of(learner) if item.reply is None), None)

    def _assignments_of(self, learner: str) -> list[Assignment]:
        return [item for item in self._assignments.values() if item.learner == learner]
