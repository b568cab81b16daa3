from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from flops.child_process import FinishedChild, run_child
from flops.errors import StoppingError

if TYPE_CHECKING:
    from pathlib import Path

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}
# Starts a child of its own that ignores SIGTERM, tells its id, and waits for ever.
STUBBORN_FAMILY = """
import subprocess, sys, time
ignore = "import signal, time; signal.signal(15, signal.SIG_IGN); print('x', flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", ignore], stdout=subprocess.PIPE)
child.stdout.readline()
open(sys.argv[1], "w").write(str(child.pid))
time.sleep(600)
"""


def run(program: str, *arguments: str, timeout_s: float = 30) -> FinishedChild:
    return run_child([sys.executable, "-c", program, *arguments], environment=ENVIRONMENT, timeout_s=timeout_s)


def is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def wait_until_gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    gone = threading.Event()
    while is_running(pid) and time.monotonic() < deadline:
        gone.wait(0.02)
    return not is_running(pid)


def test_what_a_program_says_and_how_it_ends_is_kept() -> None:
    child = run("import sys; print('out'); print('one\\n\\ntwo', file=sys.stderr); sys.exit(3)")
    assert (child.exit_code, child.output, child.last_line) == (3, "out\n", "two")
    assert not child.succeeded


def test_more_output_than_a_pipe_holds_does_not_block() -> None:
    assert len(run("print('x' * 10_000_000)").output) == 10_000_001


def test_a_program_can_ask_nothing_and_sees_only_its_environment() -> None:
    child = run("import os, sys; print(repr(sys.stdin.read()), sorted(os.environ.keys() - {'LC_CTYPE'}))")
    assert child.output == "'' ['PATH']\n"


def test_a_program_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    child = run(STUBBORN_FAMILY, str(tmp_path / "pid"), timeout_s=1.5)
    assert child.exit_code is None
    assert wait_until_gone(int((tmp_path / "pid").read_text()))


def test_stopping_ends_a_program_at_once() -> None:
    stopping = threading.Event()
    threading.Timer(0.2, stopping.set).start()
    begun = time.monotonic()
    with pytest.raises(StoppingError):
        run_child(["sleep", "60"], environment=ENVIRONMENT, timeout_s=60, stopping=stopping)
    assert time.monotonic() - begun < 2
