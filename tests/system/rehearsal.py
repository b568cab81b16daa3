"""A tiny ML repository whose training stops where a test wants it to, and a project that is watched meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import psutil
from tests.ml_repositories import make_repository
from tests.system.installation import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.system.installation import Installation

PATIENCE_S: Final = 180.0
LAST_WORDS: Final = {"project.completed", "project.failed", "project.cancelled"}
REQUIREMENTS: Final = "numpy==2.4.6\nscikit-learn==1.9.1\n"
DATA_MANAGER: Final = """\
import numpy as np
from flops_utils.ml_repo_templates import DataManagerTemplate


class DataManager(DataManagerTemplate):
    def _prepare_data(self):
        return np.zeros((10, 2)), np.zeros(10)

    def get_data(self):
        return self._prepare_data()
"""
MODEL_MANAGER: Final = """\
import os
import time
from pathlib import Path

import numpy as np
from data_manager import DataManager
from flops_utils.ml_repo_templates import ModelManagerTemplate

STAGE = Path({stage!r})


class ModelManager(ModelManagerTemplate):
    def __init__(self):
        self.rounds = np.zeros(2)

    def set_model_data(self):
        self.inputs, self.targets = DataManager().get_data()

    def get_model(self):
        from sklearn.linear_model import LinearRegression

        model = LinearRegression()
        model.coef_, model.intercept_ = self.rounds, 0.0
        return model

    def get_model_parameters(self):
        return [self.rounds]

    def set_model_parameters(self, parameters):
        (self.rounds,) = parameters

    def fit_model(self):
        number = int(self.rounds[0]) + 1
        (STAGE / f"fitting-{{number}}-{{os.getpid()}}").touch()
        while (STAGE / f"hold-{{number}}").exists():
            time.sleep(0.02)
        self.rounds = self.rounds + 1
        return len(self.inputs)

    def evaluate_model(self):
        return 1 / (1 + self.rounds[0]), 0.5, len(self.inputs)
"""
SLOW_GIT: Final = """\
#!/bin/sh
for asked; do :; done
eval "set -- $asked"
stage=$(dirname "$2")
case "$FLOPS_INSTANCE" in
builder*)
    touch "$stage/cloning-$$"
    while [ -e "$stage/hold-clone" ]; do sleep 0.05; done
    ;;
manager*)
    while [ -e "$stage/hold-resolve" ]; do sleep 0.05; done
    ;;
esac
exec "$@"
"""


def until(condition: Callable[[], object], what: str, within_s: float = PATIENCE_S) -> None:
    """Return once a condition holds; otherwise fail and say what did not happen."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {within_s:g} s"
        time.sleep(0.05)


@dataclass(frozen=True)
class Stage:
    """Where a rehearsal is directed: learners wait in a round for as long as it is held."""

    directory: Path

    @property
    def repository(self) -> str:
        """The URL of the ML repository."""
        return str(self.directory / "repository")

    @property
    def slow_url(self) -> str:
        """The repository's URL for an installation with ``slow_git``."""
        return f"ssh://stage{self.repository}"

    def set_up(self, files: dict[str, str | None] | None = None) -> Stage:
        """Make the repository; ``files`` replaces some of its files, or leaves them out."""
        self.directory.mkdir(parents=True)
        script = {
            "model_manager.py": MODEL_MANAGER.format(stage=str(self.directory)),
            "data_manager.py": DATA_MANAGER,
            "requirements.txt": REQUIREMENTS,
            **(files or {}),
        }
        make_repository(
            self.directory / "repository", {name: text for name, text in script.items() if text is not None}
        )
        return self

    def sla(self, *, learners: int = 2, minimum: int = 0, rounds: int = 3, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
        """A project over this repository."""
        minimum = minimum or learners
        return {
            "customerID": "Ada",
            "ml_repo_url": self.repository,
            "ml_model_flavor": "sklearn",
            "training_configuration": {
                "data_tags": ["rehearsal"],
                "training_rounds": rounds,
                "min_available_clients": learners,
                "min_fit_clients": minimum,
                "min_evaluate_clients": minimum,
            },
            **changes,
        }

    def hold(self, number: int | str) -> None:
        """Let learners wait in a round from now on, or the builder in its "clone", or the manager in its "resolve"."""
        (self.directory / f"hold-{number}").touch()

    def release(self, number: int | str) -> None:
        """Let them go on."""
        (self.directory / f"hold-{number}").unlink()

    def fitting(self, number: int) -> list[int]:
        """The model processes that have begun to fit in a round."""
        return [int(path.name.rpartition("-")[2]) for path in self.directory.glob(f"fitting-{number}-*")]

    def await_cloning(self, builders: int = 1) -> None:
        """Return once a builder clones, for the so-maniest time."""
        until(lambda: len(list(self.directory.glob("cloning-*"))) >= builders, f"clone {builders} begins")

    def await_fitting(self, number: int, learners: int = 2) -> None:
        """Return once so many learners fit in a round."""
        until(lambda: len(self.fitting(number)) >= learners, f"{learners} learners fit in round {number}")


@dataclass
class Rehearsal:
    """A project under way, followed as a user does with ``flops project inbox -f``."""

    installation: Installation
    project_id: str
    inbox: Path
    follower: subprocess.Popen[bytes] = field(repr=False)

    @property
    def entries(self) -> list[dict[str, Any]]:
        """What the user has seen so far."""
        whole = self.inbox.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def service(self, prefix: str) -> str:
        """The first instance of the project's service of a kind."""
        return f"{prefix}{self.project_id[:12]}.0"

    def await_entry(self, event_type: str, text: str = "") -> dict[str, Any]:
        """Return the first entry of a type with a text in it, once it is there."""
        found: list[dict[str, Any]] = []

        def is_there() -> bool:
            found[:] = [e for e in self.entries if e["event_type"] == event_type and text in e["text"]]
            return bool(found) or self.follower.poll() is not None

        until(is_there, f"an entry {event_type} {text}")
        assert found, self.told
        return found[0]

    def kill(self, instance: str) -> None:
        """Kill -9 an instance of the project."""
        kill_instance(self.installation, instance)

    def end(self, within_s: float = PATIENCE_S) -> Outcome:
        """Wait for the project's end and check what holds for every end."""
        try:
            exit_code = self.follower.wait(within_s)
        except subprocess.TimeoutExpired:
            self.follower.kill()
            raise AssertionError(f"the project does not end:\n{self.told}") from None
        outcome = Outcome(self.project_id, exit_code, self.entries)
        assert_clean_end(self.installation, outcome)
        return outcome

    @property
    def told(self) -> str:
        """The inbox as text, for messages of failed tests."""
        return "\n".join(f"{entry['sequence']:3} {entry['event_type']}: {entry['text']}" for entry in self.entries)


def rehearse(installation: Installation, sla: dict[str, Any], directory: Path) -> Rehearsal:
    """Start a project and follow it."""
    name = os.urandom(4).hex()
    file = directory / f"sla-{name}.json"
    file.write_text(json.dumps(sla))
    project_id = installation.ok("project", "start", str(file))["project_id"]
    return follow(installation, project_id, directory / f"inbox-{name}.jsonl")


def follow(installation: Installation, project_id: str, inbox: Path) -> Rehearsal:
    """Follow a project that is under way."""
    command = [sys.executable, "-m", "flops", "project", "inbox", project_id, "-f", "--json"]
    with inbox.open("wb") as output:
        follower = subprocess.Popen(command, env={**installation.environment, "PYTHONUNBUFFERED": "1"}, stdout=output)
    return Rehearsal(installation, project_id, inbox, follower)


def put_rows(installation: Installation, directory: Path) -> None:
    """Give the node a few examples with the tag that rehearsals ask for."""
    file = directory / "rows.csv"
    file.write_text("x,label\n" + "".join(f"{row},{row % 2}\n" for row in range(20)))
    installation.ok("data", "put", "rehearsal", str(file))


def kill_instance(installation: Installation, instance: str) -> int:
    """Kill -9 the main process of an instance or of a part of FLOps itself; returns its id."""
    running = installation.instances(instance)
    assert running, f"{instance} does not run"
    running[0].kill()
    return running[0].pid


def kill_and_await(installation: Installation, instance: str) -> None:
    """Kill -9 an instance and wait until it has been started again."""
    killed = kill_instance(installation, instance)
    until(
        lambda: any(process.pid != killed for process in installation.instances(instance)),
        f"{instance} is started again",
    )


def assert_clean_end(installation: Installation, outcome: Outcome) -> None:
    """An inbox without gap or repeat and with one last word; nothing of the project left but its server."""
    entries = outcome.entries
    assert [entry["sequence"] for entry in entries] == list(range(1, len(entries) + 1))
    assert len({entry["event_id"] for entry in entries}) == len(entries)
    attempts = 1 + [entry["event_type"] for entry in entries].count("retry.requested")
    assert [entry["event_type"] in LAST_WORDS for entry in entries].count(True) == attempts
    assert entries == list(inbox_of(installation, outcome.project_id))
    shown = installation.ok("project", "show", outcome.project_id)
    assert f"project.{shown['status']['phase']}" == outcome.last["event_type"]
    until(lambda: not left_over(installation, outcome.project_id), "nothing of the project runs any more", 30)
    assert installation.ok("project", "show", outcome.project_id)["services"] == []


def inbox_of(installation: Installation, project_id: str) -> Iterator[dict[str, Any]]:
    """The inbox as somebody reads it who comes later."""
    yield from installation.flops("project", "inbox", project_id, "--json").lines


def left_over(installation: Installation, project_id: str) -> list[psutil.Process]:
    """Processes of a project: its instances, and whatever works in the directory of one."""
    found = []
    for process in installation.processes():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            names = (process.environ().get("FLOPS_INSTANCE", ""), process.cwd())
            if any(part in name for name in names for part in (project_id[:12], project_id[-12:])):
                found.append(process)
    return found


def slow_git(directory: Path) -> dict[str, str]:
    """Settings that let git fetch from ``Stage.slow_url``, which takes for as long as the stage holds the clone."""
    command = directory / "ssh"
    command.write_text(SLOW_GIT)
    command.chmod(0o700)
    return {"GIT_SSH_COMMAND": str(command), "GIT_SSH_VARIANT": "simple"}
