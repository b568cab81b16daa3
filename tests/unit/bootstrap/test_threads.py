"""Threads that end unexpectedly, in processes of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import threading
from flops.bootstrap.threads import end_with_any_thread

stopping = threading.Event()
end_with_any_thread(stopping)
if {is_stopping}:
    stopping.set()
thread = threading.Thread(target=lambda: 1 / 0, name="network")
thread.start()
thread.join()
print("still here")
"""


@pytest.mark.parametrize(("is_stopping", "exit_code", "output"), [(False, 1, ""), (True, 0, "still here\n")])
def test_a_lost_thread_ends_a_process_that_is_to_go_on(*, is_stopping: bool, exit_code: int, output: str) -> None:
    program = PROGRAM.format(is_stopping=is_stopping)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)

    assert (ended.returncode, ended.stdout) == (exit_code, output)
    assert "ZeroDivisionError" in ended.stderr
