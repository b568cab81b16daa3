"""What the ML repository's code prints: passed on to the actor's own log, its end kept to explain a crash."""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import IO, Final

TAIL_BYTES: Final = 8 * 1024


class Output:
    """Passes on a process's output, line by line, until the process and its children have closed it."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._tail = b""
        self._thread = threading.Thread(target=self._pass_on, name="model-output", daemon=True)
        self._thread.start()

    def tail(self, timeout_s: float) -> str:
        """The end of what was printed, after waiting up to ``timeout_s`` for the rest of it."""
        self._thread.join(timeout_s)
        return self._tail.decode(errors="replace")

    def _pass_on(self) -> None:
        with self._pipe:
            for line in iter(lambda: self._pipe.readline(TAIL_BYTES), b""):
                self._tail = (self._tail + line)[-TAIL_BYTES:]
                with contextlib.suppress(OSError):  # a full disk; unread, the process would stand still
                    sys.stderr.write(line.decode(errors="replace"))
                    sys.stderr.flush()
