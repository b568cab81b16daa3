"""A whole installation of FLOps as a user has it: driven by the command line, looked at from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

COMMAND_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def result(self) -> Any:  # noqa: ANN401  any JSON
        """The JSON document on stdout."""
        return json.loads(self.stdout)

    @property
    def error(self) -> Any:  # noqa: ANN401  any JSON
        """The error on the last line of stderr."""
        return json.loads(self.stderr.splitlines()[-1])["error"]

    @property
    def lines(self) -> list[Any]:
        """One JSON document per line of stdout."""
        return [json.loads(line) for line in self.stdout.splitlines()]


@dataclass(frozen=True)
class Installation:
    """One ``FLOPS_HOME`` and the environment that commands run in, perhaps ``inside`` of something else."""

    home: Path
    extra: dict[str, str] = field(default_factory=dict)
    inside: tuple[str, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        """The user's environment, without any other installation's settings."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FLOPS_")}
        return {**inherited, "FLOPS_HOME": str(self.home), **self.extra}

    def flops(self, *arguments: str, timeout_s: float = COMMAND_TIMEOUT_S) -> Finished:
        """Run ``flops …`` to its end."""
        done = subprocess.run(
            [*self.inside, sys.executable, "-m", "flops", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    def ok(self, *arguments: str, timeout_s: float = COMMAND_TIMEOUT_S) -> Any:  # noqa: ANN401  any JSON
        """The JSON result of a command that has to succeed."""
        done = self.flops(*arguments, "--json", timeout_s=timeout_s)
        assert done.exit_code == 0, f"{arguments} ended with {done.exit_code}:\n{done.stdout}\n{done.stderr}"
        return done.result if done.stdout.strip() else None

    def run_project(self, sla: dict[str, Any], directory: Path, *, timeout_s: float = COMMAND_TIMEOUT_S) -> Outcome:
        """Start a project, follow it to its end, and return its whole inbox."""
        file = directory / f"sla-{os.urandom(4).hex()}.json"
        file.write_text(json.dumps(sla))
        project_id = self.ok("project", "start", str(file))["project_id"]
        done = self.flops("project", "inbox", project_id, "-f", "--json", timeout_s=timeout_s)
        return Outcome(project_id, done.exit_code, done.lines)

    def processes(self) -> list[psutil.Process]:
        """Everything that runs with this home in its environment or works below it, oldest first."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                is_ours = process.environ().get("FLOPS_HOME") == str(self.home)
                is_here = Path(process.cwd()).is_relative_to(self.home)
                if (is_ours or is_here) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return sorted(found, key=lambda process: (process.create_time(), process.pid))

    def instances(self, instance: str) -> list[psutil.Process]:
        """The processes of an instance, or of a part of FLOps itself, its main one first."""
        found = []
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                if process.environ().get("FLOPS_INSTANCE") == instance:
                    found.append(process)
        return found


@dataclass(frozen=True)
class Outcome:
    """How a project went, as its inbox tells."""

    project_id: str
    exit_code: int
    entries: list[dict[str, Any]]

    def of_type(self, event_type: str) -> list[dict[str, Any]]:
        """The entries made of events of one type."""
        return [entry for entry in self.entries if entry["event_type"] == event_type]

    @property
    def last(self) -> dict[str, Any]:
        """The last entry."""
        return self.entries[-1]


def digits_sla(**changes: Any) -> dict[str, Any]:  # noqa: ANN401  any JSON
    """The shipped base case with some keys changed; ``training`` changes the training configuration."""
    path = Path(__file__).parents[2] / "slas" / "projects" / "digits_sklearn_small.json"
    sla: dict[str, Any] = json.loads(path.read_text())
    sla["training_configuration"] |= changes.pop("training", {})
    return sla | changes
