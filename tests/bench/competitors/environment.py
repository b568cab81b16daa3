"""An environment for one competitor, made by uv, that nothing of FLOps is in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
MARKER = "FLOPS_BENCH"
INSTALL_TIMEOUT_S = 600
STOP_S = 10


@dataclass(frozen=True)
class Competitor:
    """A program under a directory of its own, which is also its home."""

    directory: Path
    extra: dict[str, str] = field(default_factory=dict)
    _services: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """The user's environment with another home and the competitor's programs first."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FLOPS_", "VIRTUAL_ENV"))}
        path = f"{self.directory / 'venv' / 'bin'}{os.pathsep}{kept['PATH']}"
        return {**kept, "PATH": path, "HOME": str(self.directory), MARKER: str(self.directory), **self.extra}

    def install(self, *packages: str) -> None:
        """Install packages, or skip the benchmark with the reason."""
        python = self.directory / "venv" / "bin" / "python"
        uv = [sys.executable, "-m", "uv", "--quiet"]
        for arguments in (
            ["venv", "--python", sys.executable, str(python.parents[1])],
            ["pip", "install", "--compile-bytecode", "--python", str(python), *packages],
        ):
            done = subprocess.run(
                [*uv, *arguments], capture_output=True, text=True, check=False, timeout=INSTALL_TIMEOUT_S
            )
            if done.returncode:
                pytest.skip(f"{' '.join(packages)} cannot be installed: {done.stderr.strip()[-500:]}")

    def copy(self, *names: str, into: str) -> Path:
        """Copy files of this folder to where the competitor expects its code."""
        target = self.directory / into
        target.mkdir(parents=True, exist_ok=True)
        for name in names:
            source = HERE / name
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        return target

    def run(self, *command: str, cwd: Path | None = None, timeout_s: float = 600) -> str:
        """Run a command to its end; returns what it printed."""
        done = subprocess.run(
            command,
            env=self.environment,
            cwd=cwd or self.directory,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def start(self, *command: str) -> Path:
        """Start a service; returns its log."""
        log = self.directory / f"{Path(command[0]).name}-{time.monotonic_ns()}.log"
        with log.open("wb") as file:
            self._services.append(
                subprocess.Popen(command, env=self.environment, cwd=self.directory, stdout=file, stderr=file)
            )
        return log

    def stop(self) -> None:
        """Kill every process that was started in this environment, and their children."""
        mine = []
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.environ().get(MARKER) == str(self.directory):
                    process.kill()
                    mine.append(process)
        for service in self._services:
            service.wait(STOP_S)
        psutil.wait_procs(mine, STOP_S)


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 120) -> None:
    """Wait for a condition, or fail."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:g} s"
        time.sleep(0.1)
