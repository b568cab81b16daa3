"""A connected bus. paho's callbacks run in its network thread: they queue and notify, nothing more."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from flops.adapters.mqtt.network import Network
from flops.adapters.mqtt.unacknowledged import Unacknowledged
from flops.delivery.routing import Message, Router
from flops.errors import AccessDeniedError, BrokerUnreachableError, PayloadTooLargeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paho.mqtt.client import ConnectFlags, DisconnectFlags, MQTTMessage
    from paho.mqtt.reasoncodes import ReasonCode

    from flops.delivery.routing import RoutedSubscription

log = logging.getLogger(__name__)

FAREWELL_S: Final = 2.0
CLOSED: Final = "it closes the connection without a word, as some brokers do when the credentials are wrong"
_DENIALS: Final = frozenset({"Bad user name or password", "Not authorized", "Banned", "Bad authentication method"})


@dataclass(frozen=True, slots=True)
class Limits:
    """What one message may weigh, and how long the broker may take to answer a call that waits for it."""

    max_payload_bytes: int
    timeout_s: float


class MqttBus:
    """See ``ports.Bus``; made by ``connect``.

    ``_generation`` changes whenever a connection begins or ends, so that an acknowledgement never reaches a connection
    that its message did not come from: packet numbers are only meaningful within one.
    Locks: ``_changed`` may be held while calling paho's ``subscribe`` and ``ack``, never its ``publish``, which waits
    for a lock that paho holds while it calls ``on_publish``.
    """

    def __init__(self, client: Client, *, url: str, limits: Limits, will_topic: str) -> None:
        self._client, self._url, self._limits, self._will_topic = client, url, limits, will_topic
        self._network = Network(client)
        self._router = Router(self._unsubscribe)
        self._changed = threading.Condition()
        self._publishing = threading.Lock()
        self._unacknowledged = Unacknowledged()
        self._generation = 0
        self._connection_count = 0
        self._is_accepted = False
        self._is_connected = False
        self._is_closed = False
        self._refusal = ""
        self._resubscribing: int | None = None
        self._grants: dict[int, list[ReasonCode]] = {}
        self._presence: bytes | None = None
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message

    @property
    def connection_count(self) -> int:
        """How many times a connection was established, with every subscription granted."""
        return self._connection_count

    @property
    def is_connected(self) -> bool:
        """Whether the broker can be heard right now."""
        return self._is_connected

    @property
    def max_payload_bytes(self) -> int:
        """The largest payload that may be published."""
        return self._limits.max_payload_bytes

    def start(self) -> None:
        """Start the network thread."""
        self._network.start()

    def await_session(self, timeout_s: float) -> str:
        """Wait until the broker accepts the session; returns why it does not, and then the bus is closed.

        Raises:
            AccessDeniedError: it refuses the credentials.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._connection_count or self._refusal, timeout_s)
            if self._connection_count:
                return ""
            refusal = self._refusal or "it does not answer as an MQTT broker does"
        self.close()
        if refusal in _DENIALS:
            message = f"The broker at {self._url} refuses the credentials ({refusal.lower()})."
            raise AccessDeniedError(
                message, remedy="Check FLOPS_BROKER_USERNAME and the file FLOPS_BROKER_PASSWORD_FILE names."
            )
        return refusal

    def subscribe(self, *filters: str) -> RoutedSubscription:
        """See ``ports.Bus``."""
        subscription = self._router.add(filters)
        try:
            self._await_grant(filters)
        except (AccessDeniedError, BrokerUnreachableError):
            subscription.close()
            raise
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
        if len(payload) > self._limits.max_payload_bytes:
            raise PayloadTooLargeError(topic, len(payload), self._limits.max_payload_bytes)
        if retain and topic == self._will_topic:
            self._presence = payload
        if self._is_closed:
            raise BrokerUnreachableError(self._url, "the connection was closed")
        patience_s = self._limits.timeout_s if self._is_connected else 0.0
        if not self._unacknowledged.wait_room(patience_s):
            raise BrokerUnreachableError(self._url, "too much is waiting to be sent")
        self._send(topic, payload, retain=retain, response_topic=response_topic, correlation_data=correlation_data)

    def flush(self, timeout_s: float) -> bool:
        """See ``ports.Bus``."""
        return self._unacknowledged.wait_empty(timeout_s)

    def close(self, farewell: tuple[str, bytes] | None = None) -> None:
        """See ``ports.Bus``. Waits at most ``FAREWELL_S`` for the broker to acknowledge what is on its way."""
        if self._is_closed:
            return
        if farewell is not None:
            topic, payload = farewell
            self.publish(topic, payload, retain=True)
        if self._is_connected:
            self.flush(FAREWELL_S)
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._router.close()
        self._client.disable_logger()  # it calls it an error that its own socket is gone
        self._client.disconnect()
        self._network.stop()

    def _send(self, topic: str, payload: bytes, *, retain: bool, response_topic: str, correlation_data: bytes) -> None:
        properties = self._request_properties(response_topic, correlation_data)
        with self._publishing:
            info = self._client.publish(topic, payload, qos=1, retain=retain, properties=properties)
            if info.rc not in {MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN}:
                raise BrokerUnreachableError(self._url, f"the message could not be queued ({info.rc.name})")
            self._unacknowledged.add(info.mid, len(payload))

    def _request_properties(self, response_topic: str, correlation_data: bytes) -> Properties | None:
        if self._client.protocol != MQTTv5 or not (response_topic or correlation_data):
            return None
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if response_topic:
            properties.ResponseTopic = response_topic
        if correlation_data:
            properties.CorrelationData = correlation_data
        return properties

    def _await_grant(self, filters: Sequence[str]) -> None:
        with self._changed:
            if self._is_closed:
                raise BrokerUnreachableError(self._url, "the connection was closed")
            if not self._is_accepted:
                return
            generation, mid = self._generation, self._request_subscription(filters)
            self._changed.wait_for(
                lambda: mid in self._grants or self._generation != generation, self._limits.timeout_s
            )
            codes = self._grants.pop(mid, None)
            if codes is None and self._generation == generation:
                raise BrokerUnreachableError(self._url, "it does not confirm a subscription")
        denied = [wanted for wanted, code in zip(filters, codes or [], strict=False) if code.is_failure]
        if denied:
            message = f"The broker at {self._url} does not allow these credentials to read {', '.join(denied)}."
            raise AccessDeniedError(message)

    def _request_subscription(self, filters: Sequence[str]) -> int:
        wanted: list[tuple[str, Any]] = [
            (text, SubscribeOptions(qos=1) if self._client.protocol == MQTTv5 else 1) for text in filters
        ]
        _, mid = self._client.subscribe(wanted)
        return mid if mid is not None else 0

    def _unsubscribe(self, filters: list[str]) -> None:
        with self._changed:
            if self._is_accepted:
                self._client.unsubscribe(filters)

    def _acknowledge(self, generation: int, mid: int, qos: int) -> None:
        with self._changed:
            if generation == self._generation:
                self._client.ack(mid, qos)

    def _on_connect(self, _: Client, __: object, ___: ConnectFlags, reason: ReasonCode, ____: object) -> None:
        with self._changed:
            self._generation += 1
            if reason.is_failure:
                self._refusal = str(reason)
                log.warning("the broker refuses the connection", extra={"broker": self._url, "reason": self._refusal})
            else:
                self._is_accepted = True
                filters = self._router.filters()
                self._resubscribing = self._request_subscription(filters) if filters else None
                if not filters:
                    self._count_connection()
            self._changed.notify_all()
            is_reconnected = self._is_accepted and self._connection_count > 0
        if is_reconnected and self._presence is not None:
            self._send(self._will_topic, self._presence, retain=True, response_topic="", correlation_data=b"")

    def _count_connection(self) -> None:
        self._is_connected = True
        self._connection_count += 1
        log.info("connected", extra={"broker": self._url, "connection": self._connection_count})

    def _on_disconnect(self, _: Client, __: object, ___: DisconnectFlags, reason: ReasonCode, ____: object) -> None:
        with self._changed:
            self._generation += 1
            was_connected, self._is_accepted, self._is_connected = self._is_connected, False, False
            self._refusal = self._refusal or CLOSED
            self._grants.clear()
            self._changed.notify_all()
            is_closed = self._is_closed
        if was_connected and not is_closed:
            log.warning("connection lost", extra={"broker": self._url, "reason": str(reason)})

    def _on_subscribe(self, _: Client, __: object, mid: int, codes: list[ReasonCode], ___: object) -> None:
        with self._changed:
            if mid == self._resubscribing:
                self._resubscribing = None
                self._count_connection()
                if any(code.is_failure for code in codes):
                    log.error("the broker refused to renew a subscription", extra={"broker": self._url})
            else:
                self._grants[mid] = codes
            self._changed.notify_all()

    def _on_publish(self, _: Client, __: object, mid: int, reason: ReasonCode, ___: object) -> None:
        self._unacknowledged.remove(mid)
        if reason.is_failure:
            log.error("the broker refused a message", extra={"broker": self._url, "reason": str(reason)})

    def _on_message(self, _: Client, __: object, message: MQTTMessage) -> None:
        properties = message.properties
        arrived = Message(
            topic=message.topic,
            payload=bytes(message.payload),
            retained=bool(message.retain),
            response_topic=getattr(properties, "ResponseTopic", ""),
            correlation_data=getattr(properties, "CorrelationData", b""),
            redelivered=bool(message.dup),
            number=message.mid,
        )
        self._router.route(arrived, partial(self._acknowledge, self._generation, message.mid, message.qos))
