"""``flops`` alone: for whoever sits at a terminal it is ``flops tui``."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = (sys.executable, "-m", "flops")


def test_in_a_pipe_it_is_the_help() -> None:
    done = subprocess.run(COMMAND, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: flops ")


def test_in_a_terminal_it_is_the_terminal_interface(tmp_path: Path) -> None:
    pytest.importorskip("textual")
    terminal, side = pty.openpty()
    environment = {**os.environ, "FLOPS_HOME": str(tmp_path / "home"), "TERM": "xterm"}
    try:
        done = subprocess.run(
            COMMAND, stdin=side, stdout=side, stderr=subprocess.PIPE, text=True, env=environment, check=False
        )
    finally:
        os.close(side)
        os.close(terminal)
    assert "flops up" in done.stderr, "it needs a broker, which the help does not"
    assert done.returncode
