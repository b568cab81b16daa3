"""Opening a connection: address, credentials, TLS, and which MQTT version the broker speaks."""

from __future__ import annotations

import logging
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from flops.adapters.mqtt.bus import Limits, MqttBus
from flops.adapters.mqtt.light_paho import let_paho_use_tls
from flops.adapters.mqtt.network import BufferedClient
from flops.adapters.mqtt.shared_tables import share_tables
from flops.errors import BrokerUnreachableError

if TYPE_CHECKING:
    from paho.mqtt.client import Client

    from flops.settings import BrokerAccess

log = logging.getLogger(__name__)

KEEPALIVE_S: Final = 20
SESSION_EXPIRY_S: Final = 7 * 24 * 3600
VERSION_5_PATIENCE_S: Final = 3.0
WILL_DELAY_S: Final = 2  # a few attempts to reconnect; who is back by then was never gone
_V5: Final = MQTTProtocolVersion.MQTTv5
_V311: Final = MQTTProtocolVersion.MQTTv311
_VERSIONS: Final = {"5": (_V5,), "3.1.1": (_V311,), "": (_V5, _V311)}


@dataclass(frozen=True, slots=True)
class _Session:
    """What the broker is told about this client when it connects."""

    client_id: str
    persistent: bool
    will: tuple[str, bytes] | None


def connect(  # noqa: PLR0913  each says something of its own about the connection
    access: BrokerAccess,
    client_id: str,
    *,
    persistent: bool,
    will: tuple[str, bytes] | None = None,
    max_payload_bytes: int,
    timeout_s: float,
) -> MqttBus:
    """Connect as ``client_id``; from then on the bus reconnects by itself.

    A persistent session outlives the connection: the broker keeps its subscriptions and what was not acknowledged
    (on MQTT 5 for a week). There, its last will is not sent where it reconnects within ``WILL_DELAY_S``.
    Where ``access.protocol`` is empty, MQTT 5 is tried for at most three seconds, then 3.1.1.

    Raises:
        BrokerUnreachableError: nothing answers there, or not in time, or not as an MQTT broker does.
        AccessDeniedError: the broker refuses the credentials.
        InvalidSettingError: the URL is none.
    """
    session = _Session(client_id, persistent, will)
    limits = Limits(max_payload_bytes, timeout_s)
    versions = _VERSIONS.get(access.protocol, _VERSIONS[""])
    refusal = ""
    for version in versions:
        bus = _open_socket(access, session, limits, version)
        patience_s = timeout_s if version == versions[-1] else min(VERSION_5_PATIENCE_S, timeout_s / 2)
        refusal = bus.await_session(patience_s)
        if not refusal:
            return bus
    raise BrokerUnreachableError(access.url, refusal)


def _open_socket(access: BrokerAccess, session: _Session, limits: Limits, version: MQTTProtocolVersion) -> MqttBus:
    host, port, is_encrypted = access.address()
    client = _client(session, version)
    client.connect_timeout = limits.timeout_s
    if access.username:
        client.username_pw_set(access.username, access.password)
    try:
        if is_encrypted:
            let_paho_use_tls()
            client.tls_set(ca_certs=access.ca_file or None)
        bus = MqttBus(client, url=access.url, limits=limits, will_topic=session.will[0] if session.will else "")
        client.connect(host, port, keepalive=KEEPALIVE_S, **_start(session, version))
    except OSError as error:
        raise BrokerUnreachableError(access.url, _reason(error)) from error
    bus.start()
    return bus


def _client(session: _Session, version: MQTTProtocolVersion) -> Client:
    share_tables()
    is_clean = None if version == _V5 else not session.persistent
    client = BufferedClient(
        CallbackAPIVersion.VERSION2,
        client_id=session.client_id,
        clean_session=is_clean,
        protocol=version,
        manual_ack=True,
    )
    client.suppress_exceptions = True  # raised, they would end paho's network thread
    client.enable_logger(log)
    if session.will is not None:
        topic, payload = session.will
        client.will_set(topic, payload, qos=1, retain=True, properties=_will_properties(session, version))
    return client


def _will_properties(session: _Session, version: MQTTProtocolVersion) -> Properties | None:
    if version != _V5 or not session.persistent:  # a session that ends with its connection cannot return in time
        return None
    properties = Properties(PacketTypes.WILLMESSAGE)  # type: ignore[no-untyped-call]
    properties.WillDelayInterval = WILL_DELAY_S
    return properties


def _start(session: _Session, version: MQTTProtocolVersion) -> dict[str, Any]:
    if version != _V5:
        return {}
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = SESSION_EXPIRY_S if session.persistent else 0
    return {"clean_start": not session.persistent, "properties": properties}


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    if isinstance(error, TimeoutError):
        return "it does not answer"
    return (error.strerror or str(error)).lower().rstrip(".")
