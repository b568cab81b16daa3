"""A process that has lost one of its threads is ended, so that the orchestrator starts it again."""

from __future__ import annotations

import logging
import os
import threading

log = logging.getLogger(__name__)

EXIT_CODE = 1


def end_with_any_thread(stopping: threading.Event) -> None:
    """End the process at once when a thread ends with an exception, unless it is being stopped anyway.

    A service without its network thread, say, would look alive and hear nothing for ever. There is no farewell: the
    broker publishes the last will, and what is unconfirmed is in the outbox.
    """

    def end(lost: threading.ExceptHookArgs) -> None:
        name = lost.thread.name if lost.thread else ""
        log.critical("a thread was lost", extra={"thread_name": name}, exc_info=lost.exc_value)
        if not stopping.is_set():
            logging.shutdown()
            os._exit(EXIT_CODE)

    threading.excepthook = end
