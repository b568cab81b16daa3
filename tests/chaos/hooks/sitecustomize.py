"""Python imports this file first where its folder is on PYTHONPATH: chaos reaches FLOps' services, and nobody else."""

from __future__ import annotations

import os
import select
import sys
import time

if "flops.bootstrap" in sys.orig_argv and "FAKETIME_TIMESTAMP_FILE" in os.environ:
    # libfaketime 0.9.10 refuses the call that Python's own sleep makes (clock_nanosleep with an absolute time).
    def sleep(seconds: float) -> None:
        """Sleep by waiting for nothing."""
        select.select([], [], [], seconds)

    time.sleep = sleep  # type: ignore[assignment]  # positional only in the original

if sys.orig_argv[-2:] == ["flops.bootstrap", "manager"]:
    import killing_store  # type: ignore[import-not-found]  # its folder is on PYTHONPATH

    killing_store.install()
