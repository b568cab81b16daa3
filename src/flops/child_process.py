"""Runs other programs so that they can be stopped, time out and leave no children behind."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final

from flops.errors import StoppingError

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping, Sequence
    from pathlib import Path

POLL_S: Final = 0.05
GRACE_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class FinishedChild:
    """How a program has ended. ``exit_code`` is None when it ran out of time."""

    exit_code: int | None
    output: str
    errors: str

    @property
    def succeeded(self) -> bool:
        """Whether the program says that it did what it was asked."""
        return self.exit_code == 0

    @property
    def last_line(self) -> str:
        """The last line the program said on its error stream."""
        lines = [line.strip() for line in self.errors.splitlines() if line.strip()]
        return lines[-1] if lines else ""


def run_child(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    timeout_s: float,
    stopping: threading.Event | None = None,
    directory: Path | None = None,
) -> FinishedChild:
    """Run a program to its end in a process group of its own, with nothing to read from.

    Raises:
        StoppingError: ``stopping`` was set; the program and its children are gone.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=dict(environment),
            cwd=directory,
            start_new_session=True,
        )
        try:
            exit_code = _wait(child, timeout_s, stopping)
        finally:
            _end_group(child)
        return FinishedChild(exit_code, _text(output), _text(errors))


def _wait(child: subprocess.Popen[bytes], timeout_s: float, stopping: threading.Event | None) -> int | None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            return child.wait(POLL_S)
        except subprocess.TimeoutExpired:
            if stopping is not None and stopping.is_set():
                raise StoppingError from None
    return None


def _end_group(child: subprocess.Popen[bytes]) -> None:
    """Politely, then by force: the child and whatever it has started."""
    for kind, patience_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
        try:
            os.killpg(child.pid, kind)
        except (ProcessLookupError, PermissionError):
            break
        try:
            child.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue
    child.wait()


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode("utf-8", "replace")
