"""Environments, shared by content: the same interpreter and the same exact packages are installed once."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from flops.adapters.images.locks import FileLock
from flops.adapters.images.resolution import Resolution
from flops.adapters.images.trees import private_directory, remove_tree, size_of
from flops.atomic_file import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from pathlib import Path

    from flops.adapters.images.interpreters import Interpreter
    from flops.adapters.images.uv import Uv

COMPLETE: Final = ".flops-complete"
LAYOUT: Final = "relocatable"
_LOCKS: Final = ".locks"
_RESOLUTIONS: Final = ".resolutions"


class ResolutionMemory:
    """What was resolved before and is still installed.

    So a commit that changes only code gets the environments of the one before it: quickly, and exactly the same.
    """

    def __init__(self, environments: Path) -> None:
        self._environments = environments

    def recall(self, question: str, interpreter: Interpreter) -> Resolution | None:
        """The answer to the same question, if both of its environments are there."""
        try:
            answer = Resolution(**json.loads(self._file(question).read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        digests = (digest_of(interpreter, lock) for lock in (answer.learner, answer.aggregator))
        return answer if all((self._environments / digest / COMPLETE).exists() for digest in digests) else None

    def keep(self, question: str, answer: Resolution) -> None:
        """Remember an answer."""
        private_directory(self._environments / _RESOLUTIONS)
        write_atomically(self._file(question), json.dumps(asdict(answer)))

    def _file(self, question: str) -> Path:
        return self._environments / _RESOLUTIONS / f"{question}.json"


@dataclass(frozen=True, slots=True)
class Environment:
    """A complete environment on disk."""

    digest: str
    size_bytes: int
    was_there: bool


def digest_of(interpreter: Interpreter, lock: str) -> str:
    """What an environment is known by: interpreter, platform, and packages with their hashes."""
    target = interpreter.platform or f"{platform.system()} {platform.machine()}"
    parts = (LAYOUT, str(interpreter.path), interpreter.version, target, lock)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def provide_environment(
    environments: Path, interpreter: Interpreter, lock: str, uv: Uv, held: ExitStack
) -> Environment:
    """Install the environment unless it is there. A shared lock on it is left to ``held``, so that it stays."""
    digest = digest_of(interpreter, lock)
    directory, marker = environments / digest, environments / digest / COMPLETE
    private_directory(environments)
    file_lock = held.enter_context(FileLock(environments / _LOCKS / digest, uv.stopping))
    was_there = True
    while True:
        file_lock.acquire(shared=True)
        if marker.exists():
            os.utime(marker)  # so that it is known when it was last used
            return Environment(digest, int(marker.read_text("utf-8")), was_there)
        file_lock.acquire(shared=False)
        if not marker.exists():
            was_there = False
            _install(directory, interpreter, lock, uv)
            write_atomically(marker, str(size_of(directory)))


def remove_unfinished_environments(environments: Path) -> None:
    """Remove what killed builds have left behind."""
    for directory in environments.glob("[!.]*"):
        if not (directory / COMPLETE).exists():
            with FileLock(environments / _LOCKS / directory.name) as lock:
                if lock.try_acquire(shared=False) and not (directory / COMPLETE).exists():
                    remove_tree(directory)


def remove_unused_environment(environments: Path, digest: str, is_used: Callable[[], bool]) -> None:
    """Remove an environment unless an image or a build uses it; ``is_used`` is asked while nobody can begin to."""
    with FileLock(environments / _LOCKS / digest) as lock:
        if lock.try_acquire(shared=False) and not is_used():
            (environments / digest / COMPLETE).unlink(missing_ok=True)
            remove_tree(environments / digest)


def remove_stale_environments(environments: Path, unused_s: float) -> None:
    """Remove what no build has used for so long, where images do not need it."""
    for marker in environments.glob(f"[!.]*/{COMPLETE}"):
        if time.time() - marker.stat().st_mtime > unused_s:
            remove_unused_environment(environments, marker.parent.name, lambda: False)


def _install(directory: Path, interpreter: Interpreter, lock: str, uv: Uv) -> None:
    remove_tree(directory)
    try:
        uv.create_environment(directory, interpreter)
        uv.install(directory, lock, interpreter.platform)
        directory.chmod(0o700)
    except BaseException:
        remove_tree(directory)
        raise
