"""A house for scripted projects: real broker, real manager and real observers; everything else is played."""

from __future__ import annotations

import hashlib
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.brokers import BrokerProcess, wait_until
from tests.chaos.cast import Cast
from tests.chaos.scripted_orchestrator import ScriptedOrchestrator, remove_socket
from tests.ml_repositories import TINY, make_repository

from flops.adapters import embedded_broker
from flops.adapters.mqtt import connect
from flops.bootstrap.installation import MANAGER, _role
from flops.delivery.requests import RequestClient
from flops.errors import FlopsError
from flops.settings import MIB, BrokerAccess, Settings
from flops.wire.requests import Message, ReadInbox, ShowProject
from flops.wire.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flops.adapters.mqtt import MqttBus

HOOKS: Final = Path(__file__).parent / "hooks"
CALL_S: Final = 10.0
READY_S: Final = 30.0
PATIENCE_S: Final = 60.0
LAST_WORDS: Final = {"project.completed", "project.failed", "project.cancelled"}


class ForgetfulBroker(BrokerProcess):
    """A Mosquitto whose persistence is at its worst: a kill -9 takes everything, sessions and retained messages too."""

    def start(self) -> None:
        broker = embedded_broker.prepare(self.settings)
        configuration = Path(broker.command[-1])
        lines = [
            line for line in configuration.read_text().splitlines() if not line.startswith(("persist", "autosave"))
        ]
        configuration.write_text("\n".join([*lines, "persistence false"]) + "\n")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(broker.command, stdout=log, stderr=log)
        embedded_broker.wait_until_ready(broker.access, READY_S)


@dataclass(frozen=True)
class Performance:
    """How one scripted project went."""

    project_id: str
    entries: list[dict[str, Any]]
    status: dict[str, Any]

    @property
    def told(self) -> dict[str, list[str]]:
        """Per source, what the inbox says, with the project's own names left out.

        The manager's own events are sorted: it hears of its services and of its commands' ends in any order. Whether a
        removal is worth an entry depends on that order, too.
        """
        told: dict[str, list[str]] = {}
        for entry in (entry for entry in self.entries if entry["event_type"] != "service.removed"):
            told.setdefault(self._anonymous(entry["source"]), []).append(self._anonymous(entry["text"]))
        return {source: sorted(texts) if source == "/manager" else texts for source, texts in told.items()}

    @property
    def outcome(self) -> dict[str, Any]:
        """The terminal state, without names and times."""
        # How many removals are told, see above, decides which entry is the last.
        left_out = {"project_id", "created", "updated", "ended", "last_entry", "entries"}
        return {name: self._anonymous(str(value)) for name, value in self.status.items() if name not in left_out}

    def assert_whole(self) -> None:
        """No gap, no repeat, one last word."""
        assert [entry["sequence"] for entry in self.entries] == list(range(1, len(self.entries) + 1))
        assert len({entry["event_id"] for entry in self.entries}) == len(self.entries)
        assert [entry["event_type"] in LAST_WORDS for entry in self.entries].count(True) == 1, self.entries[-3:]

    def _anonymous(self, text: str) -> str:
        return re.sub(f"{self.project_id}|{self.project_id[:12]}|{self.project_id[-12:]}", "PROJECT", text)


@dataclass
class ManagerProcess:
    """The manager as its supervisor keeps it: started again whenever it dies. Deaths and births are monotonic."""

    command: Sequence[str]
    environment: dict[str, str]
    directory: Path
    log: Path
    deaths: list[float] = field(default_factory=list)
    births: list[float] = field(default_factory=list)
    _process: subprocess.Popen[bytes] | None = None
    _closing: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Start it, and keep it running."""
        self._start()
        threading.Thread(target=self._supervise, daemon=True).start()

    @property
    def pid(self) -> int:
        """The process that runs now."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """Kill -9."""
        assert self._process is not None
        self._process.kill()

    def close(self) -> None:
        """End it politely and for good."""
        self._closing.set()
        assert self._process is not None
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(20)
        self._process.kill()

    def _start(self) -> None:
        with self.log.open("ab") as output:
            self.births.append(time.monotonic())
            self._process = subprocess.Popen(
                self.command, cwd=self.directory, env=self.environment, stdout=output, stderr=output
            )

    def _supervise(self) -> None:
        while not self._closing.is_set():
            assert self._process is not None
            self._process.wait()
            if not self._closing.is_set():
                self.deaths.append(time.monotonic())
                self._start()


class Witness:
    """Hears what the manager and the observers say, and when."""

    def __init__(self, bus: MqttBus, topics: Topics) -> None:
        self.heard: list[tuple[float, str, bytes]] = []
        self._bus = bus
        self._subscription = bus.subscribe(
            topics.project_events(), topics.project_inbox(), topics.project_confirmed(), topics.presence()
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def first_after(self, moment: float, is_it: Callable[[str, bytes], bool]) -> float | None:
        """When the first message of a kind was heard after a moment."""
        return next((at for at, topic, payload in list(self.heard) if at > moment and is_it(topic, payload)), None)

    def close(self) -> None:
        """Stop listening."""
        self._bus.close()

    def _listen(self) -> None:
        while (delivery := self._subscription.receive()) is not None:
            self.heard.append((time.monotonic(), delivery.topic, delivery.payload))
            delivery.acknowledge()


class House:
    """Runs scripted projects.

    Args:
        reach: how the services (manager, observers, cast) reach the broker, if not directly.
        pause_s: the pause between two lines of an actor.
        real_roles: the services that are real processes; without "observer" nobody makes inboxes.
        settings: further variables of the environment of manager and observers.
        repository: the ML repository of all projects, if not one of its own.
    """

    def __init__(  # noqa: PLR0913  one keyword per way to make it worse
        self,
        directory: Path,
        broker: BrokerProcess,
        *,
        reach: BrokerAccess | None = None,
        pause_s: float = 0.0,
        real_roles: frozenset[str] = frozenset({"observer"}),
        settings: dict[str, str] | None = None,
        repository: str = "",
    ) -> None:
        self.home, self.broker, self.topics = directory / "home", broker, Topics()
        self.home.mkdir(parents=True)
        self._plan, self._saves = directory / "kill", directory / "saves"
        self._saves.touch()
        self.repository = repository or str(directory / "repository")
        if not repository:
            make_repository(directory / "repository", TINY)
        environment = {**self._environment(directory, reach or broker.access), **(settings or {})}
        self.cast = Cast(self.connect("cast", reach), self.topics, pause_s=pause_s)
        self.orchestrator = ScriptedOrchestrator(self.home, self.cast, environment, real_roles=real_roles)
        self.cast.play("data", _resident("data-local"))
        self._bus = self.connect("audience")
        self._requests = RequestClient(self._bus, self.topics, "audience")
        self.manager = self._manager(environment)
        self.manager.start()

    def connect(self, name: str, access: BrokerAccess | None = None) -> MqttBus:
        """A connection to the broker, past any proxy unless its ``access`` is given."""
        way = access or self.broker.access
        return connect(way, name, persistent=False, max_payload_bytes=8 * MIB, timeout_s=CALL_S)

    def witness(self) -> Witness:
        """Somebody who listens from now on."""
        return Witness(self.connect(f"witness-{os.urandom(4).hex()}"), self.topics)

    def sla(self, *, rounds: int = 3, user: str = "Ada", **changes: Any) -> dict[str, Any]:  # noqa: ANN401  any JSON
        """A project from the request to the served model."""
        return {
            "customerID": user,
            "ml_repo_url": self.repository,
            "ml_model_flavor": "sklearn",
            "training_configuration": {
                "data_tags": ["chaos"],
                "training_rounds": rounds,
                "min_available_clients": 2,
                "min_fit_clients": 2,
                "min_evaluate_clients": 2,
            },
            "post_training_steps": ["build_image_for_trained_model", "deploy_trained_model_image"],
            **changes,
        }

    def start(self, name: str, **changes: Any) -> str:  # noqa: ANN401  any JSON
        """Request a project; the same name is the same request. Returns the project's id."""
        question = self.topics.project_start()
        answer = self._requests.ask_on(
            question, self.sla(**changes), PATIENCE_S, kind="project.request", request_id=name
        )
        return str(answer["project_id"])

    def id_of(self, name: str) -> str:
        """The id that a request's project will have."""
        return hashlib.sha256(f"/client/audience\n{name}".encode()).hexdigest()[:24]

    def kill_at(self, name: str, number: int, moment: str) -> None:
        """Let the manager be killed ``before`` or ``after`` the so-maniest commit of a project."""
        plan = self._plan.with_suffix(".draft")
        plan.write_text(f"{self.id_of(name)} {number} {moment}")
        plan.replace(self._plan)

    def was_killed(self) -> bool:
        """Whether the planned kill has happened; a plan that is left is dropped."""
        is_left = self._plan.exists()
        self._plan.unlink(missing_ok=True)
        return not is_left

    def await_phase(self, project_id: str, phase: str, within_s: float = PATIENCE_S) -> None:
        """Wait until a project is in a phase, as the manager's commits tell."""
        wait_until(lambda: any(at == phase for _, at in self.saves(project_id)), within_s)

    def saves(self, project_id: str) -> list[tuple[float, str]]:
        """When each commit of a project was done, and the phase it was in."""
        lines = [line.split() for line in self._saves.read_text().splitlines()]
        return [(float(at), phase) for project, _, phase, at in lines if project == project_id]

    def entries(self, project_id: str) -> list[dict[str, Any]]:
        """The inbox as the manager has it."""
        entries: list[dict[str, Any]] = []
        more = True
        while more:
            question = ReadInbox(project_id=project_id, after=len(entries), limit=500)
            page = self._requests.ask("inbox", question, CALL_S)
            entries, more = [*entries, *page["entries"]], page["more"] and bool(page["entries"])
        return entries

    def ask(self, name: str, question: Message) -> dict[str, Any]:
        """Ask the manager."""
        return self._requests.ask(name, question, CALL_S)

    def status(self, project_id: str) -> dict[str, Any]:
        """The project at a glance."""
        status: dict[str, Any] = self._requests.ask("project", ShowProject(project_id=project_id), CALL_S)["status"]
        return status

    def end(self, project_id: str, within_s: float = PATIENCE_S) -> Performance:
        """Wait until the inbox has its last word and what is to stay, and nothing else, is deployed."""
        deadline = time.monotonic() + within_s
        entries: list[dict[str, Any]] = []

        def is_over() -> bool:
            with suppress(FlopsError):
                entries[:] = self.entries(project_id)
            return bool(entries) and entries[-1]["event_type"] in LAST_WORDS

        wait_until(is_over, within_s, lambda: f"no last word: {entries[-3:]}\n{self.log()}")
        stays = {"trmodel"} if entries[-1]["data"].get("inference_url") else set()
        wait_until(
            lambda: {name[:-12] for name in self.orchestrator.running(project_id)} == stays,
            max(1.0, deadline - time.monotonic()),
            lambda: f"not only {stays}, but {self.orchestrator.running(project_id)}",
        )
        performance = Performance(project_id, entries, self.status(project_id))
        performance.assert_whole()
        return performance

    def perform(self, name: str, **changes: Any) -> Performance:  # noqa: ANN401  any JSON
        """A whole project, from its request to its end."""
        return self.end(self.start(name, **changes))

    def assert_deployed_once(self, project_id: str) -> None:
        """No stage of the project was deployed twice."""
        own = {
            name: count
            for name, count in self.orchestrator.deployments.items()
            if name.endswith((project_id[:12], project_id[-12:]))
        }
        assert set(own.values()) == {1}, own

    def log(self) -> str:
        """The end of the manager's log."""
        return self.manager.log.read_text()[-4000:]

    def close(self) -> None:
        """End everything."""
        self.manager.close()
        self.orchestrator.close()
        self.cast.close()
        self._requests.close()
        self._bus.close()
        remove_socket(self.home)

    def _environment(self, directory: Path, access: BrokerAccess) -> dict[str, str]:
        password = directory / "broker-password"
        password.write_text(access.password)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FLOPS_")}
        return {
            **inherited,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(HOOKS), inherited.get("PYTHONPATH", "")])),
            "PYTHONUNBUFFERED": "1",
            "FLOPS_HOME": str(self.home),
            "FLOPS_BROKER_URL": access.url,
            "FLOPS_BROKER_USERNAME": access.username,
            "FLOPS_BROKER_PASSWORD_FILE": str(password),
            "CHAOS_KILL": str(self._plan),
            "CHAOS_SAVES": str(self._saves),
        }

    def _manager(self, environment: dict[str, str]) -> ManagerProcess:
        spec = _role(Settings(home=self.home), MANAGER, MANAGER, "")
        directory = Path(spec.directory)
        directory.mkdir(parents=True)
        for file, text in spec.files.items():
            (directory / file).write_text(text)
        command = [sys.executable, *spec.command[1:]]
        return ManagerProcess(command, {**environment, **spec.environment}, directory, self.home / "manager.log")


def _resident(instance: str) -> dict[str, Any]:
    return {
        "service": instance,
        "instance": instance,
        "app": "flops",
        "user": "",
        "node": "local",
        "project_id": "",
        "config": {},
    }


def median_and_worst(seconds: Sequence[float]) -> str:
    """How long recovery took."""
    if not seconds:
        return "nothing to recover from"
    return f"recovery median {statistics.median(seconds):.2f} s, worst {max(seconds):.2f} s"
