"""Pours bad messages on topics, in a process of its own: ``pourer.py HOST PORT USER PASSWORD_FILE PER_S COUNT TOPIC…``.

It says ``pouring`` once it is connected, and ``poured`` when everything has left it.
"""

from __future__ import annotations

import sys
import threading
import time
from itertools import cycle
from pathlib import Path

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

PAYLOADS = (b"\xff\x00garbage", b'{"customerID": 7}', b"[" * 1000, b'{"specversion":"1.0","source":"/poison","id":"x"}')
BATCH_S = 0.01


def main() -> None:
    """Pour."""
    host, port, user, password_file, per_s, count, *topics = sys.argv[1:]
    client = Client(CallbackAPIVersion.VERSION2)
    client.username_pw_set(user, Path(password_file).read_text())
    client.max_queued_messages_set(0)
    client.connect(host, int(port))
    client.loop_start()
    sys.stdout.write("pouring\n")
    sys.stdout.flush()
    started, poured, pace = time.monotonic(), 0, threading.Event()
    messages = cycle((topic, payload) for payload in PAYLOADS for topic in topics)
    while poured < int(count):
        due = min(int(count), int((time.monotonic() - started) * float(per_s)))
        for _ in range(due - poured):
            topic, payload = next(messages)
            client.publish(topic, payload).wait_for_publish(10)
        poured = due
        pace.wait(BATCH_S)
    client.disconnect()
    client.loop_stop()
    sys.stdout.write(f"poured {time.monotonic() - started:.2f}\n")


if __name__ == "__main__":
    main()
