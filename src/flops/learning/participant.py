"""The learner's side of the learning plane: joins, does its tasks one after the other, answers."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psutil

from flops.delivery.rates import Noise
from flops.errors import BrokerUnreachableError, PayloadTooLargeError, UndecodableMessageError
from flops.learning.blobs import Blob, Receiver
from flops.learning.flower import Message, instruction, stable_id
from flops.learning.records import decode_records, encode_records
from flops.wire.learning import (
    MAX_REASON,
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
from flops.wire.limits import MAX_MODEL_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from flops.ports import Bus, Delivery
    from flops.wire.topics import Topics

log = logging.getLogger(__name__)

TICK_S: Final = 0.25
ASK_AGAIN_AFTER_S: Final = 2.0


@dataclass(slots=True)
class _Answered:
    """The last answer, kept because the aggregator may ask for it again."""

    answer: Answer
    blob: Blob | None


class Participant:
    """One learner in the conversation with its aggregator.

    Messages are heard on the caller's thread, tasks done on another, so that a learner at work still answers.

    Args:
        perform: does one instruction; what it raises must be turned into a message with an error by it.
        greeting: what to tell the aggregator of this learner: that it joins, or why it cannot.
    """

    def __init__(  # noqa: PLR0913  one keyword per fact about the learner
        self,
        bus: Bus,
        topics: Topics,
        project_id: str,
        learner: str,
        *,
        greeting: Joining | Leaving,
        perform: Callable[[Message], Message],
        chunk_bytes: int,
    ) -> None:
        self._bus, self._topics, self._project_id, self._learner = bus, topics, project_id, learner
        self._greeting, self._perform, self._chunk_bytes = greeting, perform, chunk_bytes
        self._noise = Noise(log, "message ignored")
        self._model = Receiver()
        self._model_limit_bytes = min(MAX_MODEL_BYTES, psutil.virtual_memory().total // 2)
        self._changed = threading.Condition()
        self._wanted: Task | None = None
        self._ready: Task | None = None
        self._working: Task | None = None
        self._answered: _Answered | None = None
        self._closing = False
        self._asked_at = 0.0

    def take_part(self, stopping: threading.Event) -> bool:
        """Greet and do tasks until dismissed (True) or ``stopping`` is set (False)."""
        to_me = self._topics.learning_to(self._project_id, self._learner)
        subscription = self._bus.subscribe(self._topics.learning_all(self._project_id), to_me)
        worker = threading.Thread(target=self._work, name="tasks", daemon=True)
        worker.start()
        connection = self._bus.connection_count
        self._say(self._greeting)
        is_dismissed = False
        while not stopping.is_set() and not is_dismissed:
            delivery = subscription.receive(TICK_S)
            if self._bus.connection_count != connection:
                connection = self._bus.connection_count
                self._say(self._greeting)
            if delivery is None:
                self._ask_again()
                continue
            is_dismissed = self._hear(delivery)
            delivery.acknowledge()
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if not is_dismissed:
            self._say(Leaving(reason="it was stopped"))
        subscription.close()
        return is_dismissed

    # --- hearing ---

    def _hear(self, delivery: Delivery) -> bool:
        """Take one message; True if it was the dismissal."""
        if delivery.retained:
            self._noise.hear(delivery.topic, RETAINED)
            return False
        try:
            message, body = decode_learning(delivery.topic, delivery.payload)
            self._take(message, body, delivery.topic)
        except (UndecodableMessageError, PayloadTooLargeError) as error:
            self._noise.hear(delivery.topic, str(error))
            return False
        return isinstance(message, Dismissal)

    def _take(self, message: LearningMessage, body: memoryview, topic: str) -> None:
        match message:
            case Task():
                self._take_task(message)
            case Chunk():
                self._model.add(topic, message, body, limit_bytes=self._model_limit_bytes)
                self._start_if_ready()
            case Call():
                self._say(self._greeting)
            case Need():
                self._send_again(message)
            case _:
                pass

    def _take_task(self, task: Task) -> None:
        with self._changed:
            if self._answered is not None and self._answered.answer.task_id == task.id:
                self._say(self._answered.answer)
                return
            if self._working is not None and self._working.id == task.id:
                return
            self._wanted = task
        if not self._start_if_ready() and task.blob is not None:
            self._ask(task)

    def _start_if_ready(self) -> bool:
        """Hand the wanted task over once the model it refers to is there."""
        with self._changed:
            task = self._wanted
            if task is None or (task.blob is not None and self._model.blob(task.blob) is None):
                return task is None
            self._wanted, self._ready = None, task
            self._changed.notify_all()
            return True

    def _ask_again(self) -> None:
        task = self._wanted
        if task is not None and task.blob is not None and time.monotonic() - self._asked_at >= ASK_AGAIN_AFTER_S:
            self._ask(task)

    def _ask(self, task: Task) -> None:
        if task.blob is not None:
            self._asked_at = time.monotonic()
            self._say(self._model.need(task.blob))

    # --- doing ---

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ready is not None or self._closing)
                task, self._ready = self._ready, None
                if self._closing or task is None:
                    return
                self._working = task
                model = self._model.blob(task.blob) if task.blob is not None else b""
            try:
                answered = self._do(task, b"" if model is None else model)
            except Exception as error:  # the end of a thread: the aggregator must hear of it
                log.exception("task failed")
                answered = _failed(task, f"the learner met an error that it did not expect: {error!r}")
            with self._changed:
                self._answered, self._working = answered, None
                is_wanted = not self._closing
            if is_wanted:
                self._send(answered)

    def _do(self, task: Task, model: bytes | bytearray) -> _Answered:
        try:
            content = decode_records(task.content, model)
        except UndecodableMessageError as error:
            return _failed(task, str(error))
        message = instruction(
            content, task.type, message_id=task.id, run_id=task.run_id, node_id=stable_id(self._learner)
        )
        reply = self._perform(message)
        if reply.has_error():
            return _failed(task, reply.error.reason or "it did not say why")
        records, blob = encode_records(reply.content)
        return _Answered(Answer(task_id=task.id, content=records, blob=blob.ref if blob else None), blob)

    # --- saying ---

    def _send(self, answered: _Answered) -> None:
        """The pieces first: the aggregator asks for what it misses when the answer comes."""
        if answered.blob is not None:
            for chunk, body in answered.blob.pieces(self._chunk_bytes):
                self._say(chunk, body)
        self._say(answered.answer)

    def _send_again(self, need: Need) -> None:
        with self._changed:
            blob = self._answered.blob if self._answered is not None else None
        if blob is not None and blob.ref.digest == need.digest:
            for chunk, body in blob.pieces(self._chunk_bytes, need.missing):
                self._say(chunk, body)

    def _say(self, message: LearningMessage, body: bytes = b"") -> None:
        topic = self._topics.learning_from(self._project_id, self._learner)
        try:
            self._bus.publish(topic, encode_learning(message, body))
        except BrokerUnreachableError as error:
            # The aggregator repeats its task after a reconnect, and then asks for what it misses.
            log.warning("message not sent", extra={"topic": topic, "reason": error.reason})


def _failed(task: Task, reason: str) -> _Answered:
    return _Answered(Answer(task_id=task.id, error=reason[:MAX_REASON]), None)
