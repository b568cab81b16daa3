"""Locks between processes that vanish with the process that holds them."""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING, Final, Self

from flops.adapters.images.trees import private_directory
from flops.errors import StoppingError

if TYPE_CHECKING:
    import threading
    from pathlib import Path
    from types import TracebackType

POLL_S: Final = 0.05


class FileLock:
    """An advisory lock on a file that stays in place. Several may share it, or one may have it alone."""

    def __init__(self, path: Path, stopping: threading.Event | None = None) -> None:
        private_directory(path.parent)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._stopping = stopping

    def acquire(self, *, shared: bool) -> None:
        """Wait for the lock; one that is held already is converted.

        Raises:
            StoppingError: the process was asked to stop while it waited.
        """
        while not self.try_acquire(shared=shared):
            if self._stopping is None:
                time.sleep(POLL_S)
            elif self._stopping.wait(POLL_S):
                raise StoppingError

    def try_acquire(self, *, shared: bool) -> bool:
        """Take the lock if it is free."""
        try:
            fcntl.flock(self._file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Release the lock."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
