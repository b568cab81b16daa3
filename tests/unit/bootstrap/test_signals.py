"""A process that is asked to stop does so, also in the middle of waiting for just that."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

INTERRUPTED_WHILE_LOCKED = """
import os, signal, sys, threading
from flops.bootstrap.signals import stop_when_asked

stopping = threading.Event()
stop_when_asked(stopping)
with stopping._cond:
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
    for _ in range(1000):
        pass
sys.exit(0 if stopping.wait(10) else 1)
"""
ASKED_OFTEN = """
import os, signal, threading
from flops.bootstrap.signals import stop_when_asked

stopping = threading.Event()
stop_when_asked(stopping)
for _ in range(5):
    os.kill(os.getpid(), signal.SIGTERM)
stopping.wait(10)
"""


@pytest.mark.parametrize("name", [signal.SIGTERM.name, signal.SIGINT.name])
def test_a_signal_that_comes_while_the_event_is_locked_blocks_nothing(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED_WHILE_LOCKED, name], timeout=20, check=False)

    assert done.returncode == 0


def test_further_signals_do_no_harm() -> None:
    done = subprocess.run([sys.executable, "-c", ASKED_OFTEN], timeout=20, check=False)

    assert done.returncode == 0
