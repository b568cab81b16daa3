"""Property lists that share their tables are what they were."""

from __future__ import annotations

import pytest
from paho.mqtt import MQTTException
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from flops.adapters.mqtt.shared_tables import share_tables

share_tables()


def publish_properties() -> Properties:
    made = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    made.ResponseTopic, made.CorrelationData = "reply/here", b"\x00\x01"
    made.UserProperty = ("a", "1")
    return made


def test_what_is_packed_is_unpacked() -> None:
    found = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    packed = publish_properties().pack()  # type: ignore[no-untyped-call]
    assert found.unpack(packed)[1] == len(packed)  # type: ignore[no-untyped-call]
    assert found.json() == publish_properties().json()  # type: ignore[no-untyped-call]
    assert not found.isEmpty()  # type: ignore[no-untyped-call]


def test_lists_do_not_share_what_is_in_them() -> None:
    publish_properties()
    assert Properties(PacketTypes.PUBLISH).isEmpty()  # type: ignore[no-untyped-call]


def test_a_list_that_is_read_again_forgets_what_it_had() -> None:
    made = publish_properties()
    made.unpack(b"\x00")  # type: ignore[no-untyped-call]
    assert made.isEmpty()  # type: ignore[no-untyped-call]


def test_a_property_is_still_refused_where_it_does_not_belong() -> None:
    with pytest.raises(MQTTException, match="does not apply"):
        Properties(PacketTypes.PUBLISH).ReceiveMaximum = 10  # type: ignore[no-untyped-call]
