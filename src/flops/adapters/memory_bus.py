"""A broker inside the process, for unit tests: sessions, retained messages, last wills, lost connections."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from flops.delivery.routing import Message, Router, TopicFilter
from flops.errors import BrokerUnreachableError, PayloadTooLargeError
from flops.settings import MIB

if TYPE_CHECKING:
    from flops.delivery.routing import RoutedSubscription

MAX_PAYLOAD_BYTES: Final = 8 * MIB
MAX_WAITING_MESSAGES: Final = 20_000


@dataclass(slots=True)
class _Session:
    """What the broker knows of one client. ``unacknowledged`` holds messages in the order of their arrival."""

    is_persistent: bool
    filters: dict[str, TopicFilter] = field(default_factory=dict)
    unacknowledged: dict[int, Message] = field(default_factory=dict)
    bus: MemoryBus | None = None


class MemoryBroker:
    """Delivers at least once. All that it holds is lost with the process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._is_running = True
        self._numbers = itertools.count(1)
        self._sessions: dict[str, _Session] = {}
        self._retained: dict[str, Message] = {}
        self._buses: list[MemoryBus] = []

    def connect(
        self,
        client_id: str,
        *,
        persistent: bool = False,
        will: tuple[str, bytes] | None = None,
        max_payload_bytes: int = MAX_PAYLOAD_BYTES,
    ) -> MemoryBus:
        """Connect as ``client_id``; whoever was connected under this name loses its connection for good.

        Raises:
            BrokerUnreachableError: the broker is stopped.
        """
        with self.lock:
            if not self._is_running:
                raise BrokerUnreachableError("memory:", "it is stopped")
            for former in [bus for bus in self._buses if bus.client_id == client_id]:
                former.lose_connection()
                self.forget(former)
            bus = MemoryBus(self, client_id, persistent=persistent, will=will, max_payload_bytes=max_payload_bytes)
            self._buses.append(bus)
            bus.restore_connection()
            return bus

    def stop(self) -> None:
        """Go away: every connection is lost."""
        with self.lock:
            self._is_running = False
            for bus in self._buses:
                bus.lose_connection()

    def start(self) -> None:
        """Come back with everything persistent: every bus reconnects."""
        with self.lock:
            self._is_running = True
            for bus in self._buses:
                bus.restore_connection()

    def attach(self, bus: MemoryBus) -> None:
        """Begin or continue the session of a bus; what it has not acknowledged comes again."""
        known = self._sessions.get(bus.client_id)
        session = known if known is not None and bus.is_persistent else _Session(bus.is_persistent)
        session.bus = bus
        self._sessions[bus.client_id] = session
        for number, message in list(session.unacknowledged.items()):
            self._deliver(session, number, message)

    def detach(self, bus: MemoryBus) -> None:
        """End the connection of a bus, and its session unless it is persistent."""
        session = self._sessions[bus.client_id]
        session.bus = None
        if not session.is_persistent:
            del self._sessions[bus.client_id]

    def forget(self, bus: MemoryBus) -> None:
        """A bus was closed and will not reconnect."""
        if bus in self._buses:
            self._buses.remove(bus)

    def subscribe(self, bus: MemoryBus, filters: list[str]) -> None:
        """Add filters to a session and send it the retained messages that match."""
        session = self._sessions[bus.client_id]
        wanted = [TopicFilter(text) for text in filters]
        session.filters.update({topic_filter.text: topic_filter for topic_filter in wanted})
        for message in list(self._retained.values()):
            if any(topic_filter.matches(message.topic) for topic_filter in wanted):
                self._enqueue(session, message)

    def unsubscribe(self, bus: MemoryBus, filters: list[str]) -> None:
        """Take filters out of a session."""
        for text in filters:
            self._sessions[bus.client_id].filters.pop(text, None)

    def publish(self, message: Message) -> None:
        """Hand a message to every session that asks for it; a retained one is kept, an empty retained one clears."""
        if message.retained and message.payload:
            self._retained[message.topic] = message
        elif message.retained:
            self._retained.pop(message.topic, None)
        sent = Message(
            message.topic,
            message.payload,
            response_topic=message.response_topic,
            correlation_data=message.correlation_data,
        )
        for session in list(self._sessions.values()):
            if any(topic_filter.matches(message.topic) for topic_filter in session.filters.values()):
                self._enqueue(session, sent)

    def _enqueue(self, session: _Session, message: Message) -> None:
        number = next(self._numbers)
        session.unacknowledged[number] = message._replace(number=number)
        self._deliver(session, number, session.unacknowledged[number])

    def _deliver(self, session: _Session, number: int, message: Message) -> None:
        if session.bus is not None:
            session.unacknowledged[number] = message._replace(redelivered=True)
            session.bus.router.route(message, partial(self._acknowledge, session, number))

    def _acknowledge(self, session: _Session, number: int) -> None:
        with self.lock:
            session.unacknowledged.pop(number, None)


class MemoryBus:
    """See ``ports.Bus``; made by ``MemoryBroker.connect``."""

    def __init__(
        self,
        broker: MemoryBroker,
        client_id: str,
        *,
        persistent: bool,
        will: tuple[str, bytes] | None,
        max_payload_bytes: int,
    ) -> None:
        self.client_id, self.is_persistent = client_id, persistent
        self.router = Router(self._unsubscribe)
        self._broker, self._will, self._max_payload_bytes = broker, will, max_payload_bytes
        self._flushed = threading.Condition(broker.lock)
        self._outgoing: deque[Message] = deque()
        self._presence: Message | None = None
        self._connection_count = 0
        self._is_connected = False
        self._is_closed = False

    @property
    def connection_count(self) -> int:
        """How many times a connection was established."""
        return self._connection_count

    @property
    def is_connected(self) -> bool:
        """Whether the broker can be heard right now."""
        return self._is_connected

    @property
    def max_payload_bytes(self) -> int:
        """The largest payload that may be published."""
        return self._max_payload_bytes

    def subscribe(self, *filters: str) -> RoutedSubscription:
        """See ``ports.Bus``."""
        with self._broker.lock:
            self._refuse_if_closed()
            subscription = self.router.add(filters)
            if self._is_connected:
                self._broker.subscribe(self, list(filters))
        return subscription

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        response_topic: str = "",
        correlation_data: bytes = b"",
    ) -> None:
        """See ``ports.Bus``."""
        if len(payload) > self._max_payload_bytes:
            raise PayloadTooLargeError(topic, len(payload), self._max_payload_bytes)
        message = Message(topic, payload, retain, response_topic, correlation_data)
        with self._broker.lock:
            self._refuse_if_closed()
            if retain and self._will is not None and topic == self._will[0]:
                self._presence = message
            if self._is_connected:
                self._broker.publish(message)
                return
            if len(self._outgoing) >= MAX_WAITING_MESSAGES:
                raise BrokerUnreachableError("memory:", "too much is waiting to be sent")
            self._outgoing.append(message)

    def flush(self, timeout_s: float) -> bool:
        """See ``ports.Bus``."""
        with self._flushed:
            return self._flushed.wait_for(lambda: not self._outgoing, timeout_s)

    def close(self, farewell: tuple[str, bytes] | None = None) -> None:
        """See ``ports.Bus``."""
        with self._broker.lock:
            if self._is_closed:
                return
            if farewell is not None:
                self.publish(*farewell, retain=True)
            self._is_closed = True
            if self._is_connected:
                self._is_connected = False
                self._broker.detach(self)
            self._broker.forget(self)
        self.router.close()

    def drop_connection(self) -> None:
        """Lose the connection, as when a cable is pulled, and reconnect at once."""
        with self._broker.lock:
            self.lose_connection()
            self.restore_connection()

    def lose_connection(self) -> None:
        """Lose the connection: the broker sends the last will; what is published from now on waits."""
        with self._broker.lock:
            if not self._is_connected:
                return
            self._is_connected = False
            self._broker.detach(self)
            if self._will is not None:
                self._broker.publish(Message(*self._will, retained=True))

    def restore_connection(self) -> None:
        """Connect again, subscribe again, send what has been waiting."""
        with self._broker.lock:
            if self._is_connected or self._is_closed:
                return
            self._broker.attach(self)
            self._broker.subscribe(self, self.router.filters())
            self._is_connected = True
            self._connection_count += 1
            if self._presence is not None and self._connection_count > 1:
                self._broker.publish(self._presence)
            while self._outgoing:
                self._broker.publish(self._outgoing.popleft())
            self._flushed.notify_all()

    def _unsubscribe(self, filters: list[str]) -> None:
        with self._broker.lock:
            if self._is_connected:
                self._broker.unsubscribe(self, filters)

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise BrokerUnreachableError("memory:", "the connection was closed")
