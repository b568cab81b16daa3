"""A directory for one build alone, while no other build of the same repository is under way."""

from __future__ import annotations

import secrets
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from flops.adapters.images.environments import remove_unfinished_environments
from flops.adapters.images.locks import FileLock
from flops.adapters.images.trees import private_directory, remove_tree
from flops.project.images import BuildStepName

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator
    from pathlib import Path

    from flops.adapters.images.progress import Progress


@contextmanager
def workplace(
    places: Path, lock: Path, environments: Path, progress: Progress, stopping: threading.Event | None
) -> Iterator[Path]:
    """A new directory below ``places``; what killed builds have left behind is removed first."""
    with ExitStack() as held:
        with progress.failures_of(BuildStepName.CLONE):
            file_lock = held.enter_context(FileLock(lock, stopping))
            file_lock.acquire(shared=False)
            held.callback(remove_tree, places)
            remove_tree(places)
            remove_unfinished_environments(environments)
            place = private_directory(places / secrets.token_hex(4))
        yield place
