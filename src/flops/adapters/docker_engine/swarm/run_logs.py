"""The output of runs that have ended: their containers go with the service, and with the node."""

from __future__ import annotations

import re
import shutil
from collections import deque
from typing import TYPE_CHECKING, Final

from flops.atomic_file import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from flops.adapters.docker_engine.swarm.members import Task

MAX_LINES: Final = 100_000
MAX_RUNS: Final = 20
_SUFFIX: Final = ".log"


class RunLogs:
    """A directory for each instance, with a file for each run: whoever keeps a run twice keeps it once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keep(self, instance: str, task: Task, text: str) -> None:
        """Keep the output of a run, and forget the oldest where there are too many."""
        directory = self._of(instance)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(directory / _name(task), last_lines(text, MAX_LINES), durably=False)
        for oldest in self._files(instance)[:-MAX_RUNS]:
            oldest.unlink(missing_ok=True)

    def has(self, instance: str, task: Task) -> bool:
        """Whether the output of a run is kept."""
        return (self._of(instance) / _name(task)).exists()

    def read(self, instance: str) -> str:
        """All that is kept of an instance, the oldest first."""
        texts = []
        for file in self._files(instance):
            try:
                texts.append(file.read_text(errors="replace"))
            except FileNotFoundError:
                continue
        return "".join(texts)

    def remove(self, instance: str) -> None:
        """Forget an instance. Idempotent."""
        shutil.rmtree(self._of(instance), ignore_errors=True)

    def _files(self, instance: str) -> list[Path]:
        return sorted(self._of(instance).glob(f"*{_SUFFIX}"))

    def _of(self, instance: str) -> Path:
        return self._directory / re.sub(r"[^A-Za-z0-9_.-]", "_", instance).lstrip(".")


def last_lines(text: str, count: int) -> str:
    """The end of a text."""
    return "".join(deque(text.splitlines(keepends=True), maxlen=count))


def _name(task: Task) -> str:
    return f"{task.created:020.6f}-{task.id}{_SUFFIX}"
