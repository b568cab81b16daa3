"""Starting one process so that nothing of it can get lost."""

from __future__ import annotations

import os
import subprocess
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from flops.adapters.local_processes import kernel
from flops.adapters.local_processes.environment import HOME_MARKER, INSTANCE_MARKER, for_a_service
from flops.atomic_file import write_atomically

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping

    from flops.adapters.local_processes.process import ProcessSpec


class StartError(Exception):
    """A process could not be started; the message is the reason."""


def launch(
    spec: ProcessSpec, home: Path, inherited: Mapping[str, str], cpus: frozenset[int]
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own that ends when this process does.

    Raises:
        StartError: with the reason.
    """
    try:
        log_file = _prepare(spec)
        reaching = for_a_service(inherited) if spec.group else inherited
        return _start(spec, log_file, {**reaching, **spec.environment, **_markers(spec, home)}, cpus)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        message = f"it cannot be started: {place}{error.strerror or error}"
        raise StartError(message) from error
    except (ValueError, subprocess.SubprocessError) as error:
        message = f"it cannot be started: {error}"
        raise StartError(message) from error


def choose_cpus(vcpus: float, used: Counter[int], available: set[int]) -> frozenset[int]:
    """The processors that an instance may use: as many as it asks for, the least used first; empty for all."""
    count = ceil(vcpus)
    if not 0 < count < len(available):
        return frozenset()
    return frozenset(sorted(available, key=lambda cpu: (used[cpu], cpu))[:count])


def available_cpus() -> set[int]:
    """The processors that this process may use."""
    return set(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else set()


def _prepare(spec: ProcessSpec) -> Path:
    directory = Path(spec.directory)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, text in spec.files.items():
        write_atomically(directory / name, text, durably=False)
    log_file = Path(spec.log_file)
    log_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return log_file


def _markers(spec: ProcessSpec, home: Path) -> dict[str, str]:
    return {HOME_MARKER: str(home), INSTANCE_MARKER: spec.id}


def _start(
    spec: ProcessSpec, log_file: Path, environment: Mapping[str, str], cpus: frozenset[int]
) -> subprocess.Popen[bytes]:
    parent = os.getpid()

    def in_child() -> None:
        kernel.die_with_parent(parent)
        if cpus:
            os.sched_setaffinity(0, cpus)

    kernel.load()
    with log_file.open("ab") as log:
        return subprocess.Popen(
            spec.command,
            cwd=spec.directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=in_child,  # noqa: PLW1509  the daemon has one thread
        )
