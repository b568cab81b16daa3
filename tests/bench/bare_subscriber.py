"""The least that a subscriber can be: counts messages at QoS 1 and notes when they came. Run as a process of its own.

Reads one JSON document (host, port, username, password, topic, count) from its standard input, says ``ready``, and in
the end writes, per message, how long after the moment that is written in it as ``at=SECONDS`` it came.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

if TYPE_CHECKING:
    from paho.mqtt.client import MQTTMessage

MOMENT: Final = re.compile(rb"at=([0-9.]+)")
PATIENCE_S: Final = 300.0


def main() -> None:
    """Listen until all messages have come."""
    wanted = json.load(sys.stdin)
    heard: list[tuple[float, bytes]] = []
    ready, done = threading.Event(), threading.Event()

    def hear(_: Client, __: object, message: MQTTMessage) -> None:
        if MOMENT.search(message.payload):
            heard.append((time.monotonic(), bytes(message.payload)))
        if len(heard) >= wanted["count"]:
            done.set()

    client = Client(CallbackAPIVersion.VERSION2)
    client.username_pw_set(wanted["username"], wanted["password"])
    client.on_message = hear
    client.on_subscribe = lambda *_: ready.set()
    client.connect(wanted["host"], wanted["port"])
    client.loop_start()
    client.subscribe(wanted["topic"], qos=1)
    ready.wait(PATIENCE_S)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    done.wait(PATIENCE_S)
    client.disconnect()
    delays = [at - float(found[1]) for at, payload in heard if (found := MOMENT.search(payload))]
    sys.stdout.write(json.dumps({"delays_s": delays, "last": heard[-1][0] if heard else 0.0}))


if __name__ == "__main__":
    main()
