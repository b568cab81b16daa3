"""The lock that makes two daemons on one home impossible."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from flops.adapters.local_processes import protocol

if TYPE_CHECKING:
    from pathlib import Path


def acquire_lock(home: Path) -> int | None:
    """Take the lock for as long as the returned descriptor is open, here or in a forked child; None if it is taken."""
    path = protocol.lock_file(home)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
