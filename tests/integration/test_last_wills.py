"""Last wills on MQTT 5 wait a moment, so that a short break of a connection is nobody's concern."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from tests.brokers import BrokerProcess, start_mosquitto, wait_until

from flops.adapters.mqtt.connection import WILL_DELAY_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flops.adapters.mqtt import MqttBus
    from flops.ports import Subscription

TOPIC = "service/x/presence"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    process = start_mosquitto(tmp_path, protocol="5")
    yield process
    process.stop()


@pytest.fixture
def reader(broker: BrokerProcess) -> Iterator[MqttBus]:
    bus = broker.connect("reader")
    yield bus
    bus.close()


@pytest.fixture
def service(broker: BrokerProcess) -> Iterator[MqttBus]:
    bus = broker.connect("service", persistent=True, will=(TOPIC, b"offline"))
    yield bus
    bus.close()


def heard(presences: Subscription, within_s: float) -> list[bytes]:
    """What is said within a time."""
    said: list[bytes] = []
    deadline = time.monotonic() + within_s
    while (delivery := presences.receive(max(0.0, deadline - time.monotonic()))) is not None:
        delivery.acknowledge()
        said.append(delivery.payload)
    return said


def test_a_service_that_is_back_soon_was_never_gone(broker: BrokerProcess, reader: MqttBus, service: MqttBus) -> None:
    presences = reader.subscribe(TOPIC)
    service.publish(TOPIC, b"online", retain=True)
    broker.cut(service)
    wait_until(lambda: service.connection_count == 2)

    assert set(heard(presences, WILL_DELAY_S + 1)) == {b"online"}


def test_a_service_that_stays_away_is_told_of(reader: MqttBus, service: MqttBus) -> None:
    presences = reader.subscribe(TOPIC)
    service._network.stop()  # without a farewell, and without connecting again

    delivery = presences.receive(WILL_DELAY_S + 10)

    assert delivery is not None
    assert delivery.payload == b"offline"
