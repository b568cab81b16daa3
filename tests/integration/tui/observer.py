"""Publishes an inbox as an observer does, in a process of its own.

``observer.py HOST PORT USER PASSWORD_FILE TOPIC PER_S COUNT``; it begins as soon as it is connected.
"""

from __future__ import annotations

import sys
import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from tests.doubles.tui import entry

from flops.wire.envelope import Envelope

BATCH_S = 0.01


def main() -> None:
    """Tell."""
    host, port, user, password_file, topic, per_s, count = sys.argv[1:]
    client = Client(CallbackAPIVersion.VERSION2)
    client.username_pw_set(user, Path(password_file).read_text())
    client.connect(host, int(port))
    client.loop_start()
    begun, told, pace = time.monotonic(), 0, threading.Event()
    while told < int(count):
        due = min(int(count), int((time.monotonic() - begun) * float(per_s)))
        for number in range(told + 1, due + 1):
            data, at = entry(number), datetime.now(UTC)
            envelope = Envelope(id=str(uuid.uuid4()), source="/observer/o", type="entry", time=at, data=data)
            message = client.publish(topic, envelope.encode(), qos=1)
        told = due
        pace.wait(BATCH_S)
    message.wait_for_publish(30)
    client.disconnect()
    client.loop_stop()


if __name__ == "__main__":
    main()
