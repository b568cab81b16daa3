"""Being asked to stop, wherever the main thread happens to be."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType


def stop_when_asked(stopping: threading.Event) -> threading.Event:
    """Set ``stopping`` on SIGTERM and SIGINT, and before it the event that is returned, which nobody else sets.

    A handler runs in the middle of whatever the main thread does. Setting the event there would wait for ever for a
    lock that the interrupted thread holds, so the handler only writes to a pipe, and a thread of its own sets it.
    """
    was_asked = threading.Event()
    asked, ask = os.pipe()
    os.set_blocking(ask, False)

    def handle(_number: int, _frame: FrameType | None) -> None:
        os.write(ask, b".")

    def wait() -> None:
        os.read(asked, 1)
        was_asked.set()
        stopping.set()

    threading.Thread(target=wait, name="stop-when-asked", daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    return was_asked
