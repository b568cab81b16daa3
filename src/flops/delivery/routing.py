"""How the messages of one connection reach its subscriptions, and when the broker hears that they are done with."""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from flops.delivery.rates import Noise
from flops.wire.limits import MAX_WAITING_BYTES, MAX_WAITING_MESSAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = logging.getLogger(__name__)

UNCLAIMED_S: Final = 30.0
REMEMBERED_FILTERS: Final = 256
REMEMBERED_TOPICS: Final = 1024
OVERLOAD: Final = f"{MAX_WAITING_BYTES:,} bytes or {MAX_WAITING_MESSAGES:,} messages are waiting"


class Message(NamedTuple):
    """What arrived from the broker."""

    topic: str
    payload: bytes
    retained: bool = False
    response_topic: str = ""
    correlation_data: bytes = b""
    redelivered: bool = False
    number: int = 0


class TopicFilter:
    """An MQTT topic filter with the wildcards ``+`` and ``#``."""

    __slots__ = ("_levels", "_subtree", "text")

    def __init__(self, text: str) -> None:
        levels = text.split("/")
        self.text = text
        self._subtree = levels[-1] == "#"
        self._levels = levels[:-1] if self._subtree else levels

    def matches(self, topic: str) -> bool:
        """Whether a message on ``topic`` is asked for; wildcards do not reach the broker's own ``$`` topics."""
        levels = topic.split("/")
        if topic.startswith("$") and self.text[:1] in {"+", "#"}:
            return False
        if len(levels) < len(self._levels) or (len(levels) > len(self._levels) and not self._subtree):
            return False
        return all(wanted in {"+", level} for wanted, level in zip(self._levels, levels, strict=False))


class _Claim:
    """Counts the subscriptions that still have to acknowledge one message."""

    __slots__ = ("_acknowledge", "_lock", "_open")

    def __init__(self, subscriptions: int, acknowledge: Callable[[], None]) -> None:
        self._open, self._acknowledge, self._lock = subscriptions, acknowledge, threading.Lock()

    def release(self) -> None:
        with self._lock:
            self._open -= 1
            settled = self._open == 0
        if settled:
            self._acknowledge()


class RoutedDelivery:
    """A message in the hands of one subscription; the broker hears once all of them have acknowledged."""

    __slots__ = (
        "_consent", "correlation_data", "number", "payload", "redelivered", "response_topic", "retained", "topic",
    )  # fmt: skip

    def __init__(self, message: Message, consent: Callable[[], None]) -> None:
        (
            self.topic,
            self.payload,
            self.retained,
            self.response_topic,
            self.correlation_data,
            self.redelivered,
            self.number,
        ) = message
        self._consent = [consent]

    def acknowledge(self) -> None:
        """Give this subscription's consent. Idempotent, any thread."""
        try:
            consent = self._consent.pop()
        except IndexError:
            return
        consent()


class RoutedSubscription:
    """The queue of the messages that match its filters."""

    def __init__(self, filters: Sequence[str], on_close: Callable[[RoutedSubscription], None]) -> None:
        self.filters = tuple(TopicFilter(text) for text in filters)
        self._on_close = on_close
        self._waiting: queue.SimpleQueue[RoutedDelivery | None] = queue.SimpleQueue()
        self._waiting_bytes = 0
        self._counting = threading.Lock()
        self._ended = threading.Event()

    def receive(self, timeout_s: float | None = None) -> RoutedDelivery | None:
        """The next message, or None when none came in time or the subscription has ended."""
        if self._ended.is_set():
            return None
        try:
            delivery = self._waiting.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if delivery is None:
            self._waiting.put(None)  # wakes the next waiting receiver
        else:
            self._count(-len(delivery.payload))
        return delivery

    def close(self) -> None:
        """Unsubscribe. What was not received yet counts as acknowledged, since nobody will handle it any more."""
        if self._ended.is_set():
            return
        self._on_close(self)

    def matches(self, topic: str) -> bool:
        """Whether one of the filters asks for ``topic``."""
        return any(topic_filter.matches(topic) for topic_filter in self.filters)

    def put(self, delivery: RoutedDelivery) -> bool:
        """Queue a message; False if too much is waiting already."""
        size_bytes = len(delivery.payload)
        is_full = self._waiting_bytes + size_bytes > MAX_WAITING_BYTES or self._waiting.qsize() >= MAX_WAITING_MESSAGES
        if is_full and self._waiting.qsize():
            return False
        self._count(size_bytes)
        self._waiting.put(delivery)
        return True

    def end(self) -> list[RoutedDelivery]:
        """Wake all receivers with None; returns what nobody has received."""
        self._ended.set()
        left = []
        while True:
            try:
                delivery = self._waiting.get_nowait()
            except queue.Empty:
                break
            if delivery is not None:
                left.append(delivery)
        self._waiting.put(None)
        return left

    def _count(self, size_bytes: int) -> None:
        with self._counting:
            self._waiting_bytes += size_bytes


class Router:
    """Hands each message to every subscription that asks for it.

    A persistent session may deliver before anybody has subscribed. Such messages wait, unacknowledged, for
    ``UNCLAIMED_S``; after that they are left over from an older program and are dropped with a warning.
    Acknowledgements are passed on without holding the router's lock.

    What comes while far too much is waiting is dropped, so that no flood takes all memory: as after any other loss,
    whoever relies on it sends it again.
    """

    def __init__(self, unsubscribe: Callable[[list[str]], None]) -> None:
        self._unsubscribe = unsubscribe
        self._lock = threading.Lock()
        self._subscriptions: list[RoutedSubscription] = []
        self._unclaimed: list[tuple[Message, Callable[[], None]]] = []
        self._timer: threading.Timer | None = None
        self._forgotten: deque[TopicFilter] = deque(maxlen=REMEMBERED_FILTERS)
        self._unclaimed_bytes = 0
        self._takers: dict[str, list[RoutedSubscription]] = {}
        self._overload = Noise(log, "messages are dropped because too many are waiting")

    def add(self, filters: Sequence[str]) -> RoutedSubscription:
        """A new subscription; it gets first whatever is waiting unclaimed for it."""
        subscription = RoutedSubscription(filters, self._remove)
        dropped: list[RoutedDelivery] = []
        with self._lock:
            self._subscriptions.append(subscription)
            self._takers.clear()
            waiting, self._unclaimed, self._unclaimed_bytes = self._unclaimed, [], 0
            for message, acknowledge in waiting:
                if not self._hand_over(message, acknowledge, dropped):
                    self._leave_unclaimed(message, acknowledge)
        self._drop(dropped)
        return subscription

    def route(self, message: Message, acknowledge: Callable[[], None]) -> None:
        """Queue a message for everybody who asks for it; ``acknowledge`` is called once all of them have."""
        dropped: list[RoutedDelivery] = []
        with self._lock:
            is_kept = self._hand_over(message, acknowledge, dropped) or (
                not any(topic_filter.matches(message.topic) for topic_filter in self._forgotten)
                and self._leave_unclaimed(message, acknowledge)
            )
        self._drop(dropped)
        if not is_kept:
            acknowledge()

    def filters(self) -> list[str]:
        """Every filter that is subscribed to, each once."""
        with self._lock:
            return self._filters()

    def close(self) -> None:
        """End every subscription. Nothing is acknowledged: a persistent session delivers it again."""
        with self._lock:
            subscriptions, self._subscriptions, self._unclaimed = self._subscriptions, [], []
            self._takers.clear()
            if self._timer is not None:
                self._timer.cancel()
        for subscription in subscriptions:
            subscription.end()

    def _filters(self) -> list[str]:
        return list(dict.fromkeys(wanted.text for taker in self._subscriptions for wanted in taker.filters))

    def _hand_over(self, message: Message, acknowledge: Callable[[], None], dropped: list[RoutedDelivery]) -> bool:
        takers = self._takers_of(message.topic)
        consent = acknowledge if len(takers) == 1 else _Claim(len(takers), acknowledge).release
        for taker in takers:
            delivery = RoutedDelivery(message, consent)
            if not taker.put(delivery):
                dropped.append(delivery)
        return bool(takers)

    def _takers_of(self, topic: str) -> list[RoutedSubscription]:
        """Who asks for a topic; remembered, since most messages are on a topic that was used before."""
        takers = self._takers.get(topic)
        if takers is None:
            if len(self._takers) >= REMEMBERED_TOPICS:
                self._takers.clear()
            takers = self._takers[topic] = [taker for taker in self._subscriptions if taker.matches(topic)]
        return takers

    def _leave_unclaimed(self, message: Message, acknowledge: Callable[[], None]) -> bool:
        if self._unclaimed_bytes + len(message.payload) > MAX_WAITING_BYTES:
            return False
        self._unclaimed.append((message, acknowledge))
        self._unclaimed_bytes += len(message.payload)
        self._start_timer()
        return True

    def _drop(self, deliveries: list[RoutedDelivery]) -> None:
        for delivery in deliveries:
            self._overload.hear(delivery.topic, OVERLOAD)
            delivery.acknowledge()

    def _remove(self, subscription: RoutedSubscription) -> None:
        with self._lock:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)
            self._takers.clear()
            left = subscription.end()
            still_used = set(self._filters())
            unused = [wanted for wanted in subscription.filters if wanted.text not in still_used]
            self._forgotten.extend(unused)
        if unused:
            self._unsubscribe([wanted.text for wanted in unused])
        for delivery in left:
            delivery.acknowledge()

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(UNCLAIMED_S, self._give_up)
            self._timer.daemon = True
            self._timer.start()

    def _give_up(self) -> None:
        with self._lock:
            unclaimed, self._unclaimed, self._timer, self._unclaimed_bytes = self._unclaimed, [], None, 0
        for topic in {message.topic for message, _ in unclaimed}:
            log.warning("messages that nobody subscribes to were dropped", extra={"topic": topic})
        for _, acknowledge in unclaimed:
            acknowledge()
