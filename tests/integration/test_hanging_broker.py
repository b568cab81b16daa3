"""A broker that hangs keeps nobody from ending."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from tests.brokers import start_mosquitto

from flops.adapters.mqtt.bus import FAREWELL_S
from flops.adapters.mqtt.network import FAREWELL_S as LAST_PACKET_S

if TYPE_CHECKING:
    from pathlib import Path


def test_a_connection_is_closed_although_the_broker_takes_nothing(tmp_path: Path) -> None:
    broker = start_mosquitto(tmp_path)
    try:
        bus = broker.connect("writer")
        assert broker._process is not None
        os.kill(broker._process.pid, signal.SIGSTOP)
        for _ in range(64):
            bus.publish("t", b"x" * 1_000_000)
        begun = time.monotonic()
        bus.close((("t"), b"farewell"))
        assert time.monotonic() - begun < FAREWELL_S + LAST_PACKET_S + 3
    finally:
        broker.kill()
