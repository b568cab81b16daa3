"""What every command prints with ``--json``: the contract that scripts rely on. It grows, but nothing in it changes.

No command loads this module: the reference is written from it, and tests hold what commands print against it.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from flops.wire.events import MockDataProvided
from flops.wire.requests import InboxEntry, Phase, ProjectStatus, Stage

Json = dict[str, Any]
Severity = Literal["ok", "advice", "fault"]


class Result(BaseModel):
    """The base of all of them."""

    model_config = ConfigDict(extra="forbid")


class Started(Result):
    """What runs on this machine."""

    broker_url: str
    broker_kind: Literal["mosquitto", "amqtt", "external"]
    nodes: list[str]
    home: str


class Stopped(Result):
    """Whether there was anything to stop."""

    was_running: bool


class Finding(Result):
    """One thing that was looked at."""

    level: Severity
    subject: str
    found: str
    remedy: Annotated[str, Field(description="what to do; empty where all is well")]


class Address(Result):
    """Where something is."""

    url: str


class Sample(Result):
    """A prediction beside the truth."""

    predicted: int
    true: int


class Demonstration(Result):
    """How the demo's project went."""

    status: ProjectStatus
    samples: list[Sample]


class StartedProject(Result):
    """A project that was accepted. With --watch it is one line, and the entries of its inbox follow, one per line."""

    project_id: str
    inbox: Annotated[str, Field(description="the MQTT topic of its inbox")]


class Instance(Result):
    """One running part of a service."""

    id: str
    node: str
    state: str
    restarts: int
    reason: Annotated[str, Field(description="why it does not run")]


class Service(Result):
    """A service with its instances."""

    name: str
    role: str
    app: str
    user: str
    project_id: str
    instances: list[Instance]


class ShownProject(Result):
    """A project at a glance."""

    status: ProjectStatus
    sla: Json
    services: list[Service]


class CancelledProject(Result):
    """What comes of a cancellation."""

    project_id: str
    phase: Phase
    outcome: Annotated[str, Field(description="what it is about to be, or is already")]


class RetriedProject(Result):
    """Where a project goes on."""

    project_id: str
    stage: Stage


class DeletedProject(Result):
    """A project that is gone."""

    project_id: str
    deleted: Literal[True]


class Report(Result):
    """A report, or the file it was written to."""

    project_id: str
    format: Literal["html", "md"]
    file: Annotated[str, Field(description="empty without --output")]
    report: Annotated[str, Field(description="empty with --output")]


class StoredData(Result):
    """A partition of training data on a node."""

    node: str
    tag: str
    name: str
    examples: int
    size_bytes: int
    replaced_examples: int


class Predictions(Result):
    """One prediction per row."""

    predictions: list[Any]


class App(Result):
    """A group of services."""

    name: str
    user: str


class Output(Result):
    """The end of a service's output. With --follow it is one document per line: {service, line}."""

    service: str
    text: str


class DeadLetter(Result):
    """A message that could not be understood."""

    number: int
    topic: str
    time: str
    reason: str
    size_bytes: int


class OpenedDeadLetter(DeadLetter):
    """The same with its payload, as text where it is UTF-8, else in hexadecimal digits."""

    text: str | None
    hex: str | None


class Dropped(Result):
    """How many were forgotten."""

    dropped: int


class Reset(Result):
    """What was forgotten."""

    deleted: list[str]
    dropped_dead_letters: int
    put_aside: Annotated[str, Field(description="where a damaged store is kept, if there was one")]


class Cleared(Result):
    """Which images are gone, and which are not."""

    deleted: list[str]
    kept: list[str]


class Restarted(Result):
    """Which processes were started anew."""

    restarted: list[str]
    broker_url: str


class Script(Result):
    """What a shell should read."""

    shell: Literal["bash", "zsh", "fish"]
    script: str


class Setting(Result):
    """A setting, and who says so: a flag, a variable, a line of a file, or nobody."""

    setting: str
    value: str
    origin: Annotated[str, Field(alias="from")]


class Context(Result):
    """A named group of settings."""

    name: str
    current: bool
    files: list[str]


class Broker(Result):
    """How the broker is reached."""

    url: str
    username: str
    ca_file: str
    clients: Annotated[str, Field(description="the folder for XDG_CONFIG_HOME")]


class SlaFile(Result):
    """A shipped SLA file."""

    kind: Literal["projects", "mocks"]
    name: str
    path: str


class ValidSla(Result):
    """An SLA without a fault; those of one that has some are in the error."""

    file: str
    kind: Literal["projects", "mocks"]
    valid: Literal[True]


class NewSla(Result):
    """An SLA that was asked for."""

    file: str
    sla: Json


class Example(Result):
    """An example ML repository."""

    name: str
    ml_repo_url: str
    url: str


class Error(Result):
    """What is on the last line of stderr, below ``error``, when a command fails."""

    code: str
    message: str
    remedy: str
    errors: Annotated[list[Json], Field(description="every fault of an SLA")]


RESULTS: Final[dict[str, Any]] = {
    "up": Started,
    "down": Stopped,
    "doctor": list[Finding],
    "tui": Address,
    "demo": Demonstration,
    "p": StartedProject,
    "project report": Report,
    "project start": StartedProject,
    "project list": list[ProjectStatus],
    "project show": ShownProject,
    "project inbox": InboxEntry,
    "project cancel": CancelledProject,
    "project retry": RetriedProject,
    "project delete": DeletedProject,
    "mock-data": MockDataProvided,
    "data put": StoredData,
    "data list": dict[str, dict[str, int]],
    "predict": Predictions,
    "tracking": Address,
    "apps": list[App],
    "services": list[Service],
    "logs": Output,
    "dead-letters list": list[DeadLetter],
    "dead-letters show": OpenedDeadLetter,
    "dead-letters drop": Dropped,
    "reset-database": Reset,
    "clear-registry": Cleared,
    "restart-management": Restarted,
    "completion": Script,
    "config show": list[Setting],
    "config contexts": list[Context],
    "broker": Broker,
    "sla new": NewSla,
    "sla list": list[SlaFile],
    "sla show": Json,
    "sla validate": ValidSla,
    "sla schema": Json,
    "examples": list[Example],
}


def schema_of(command: str) -> Json:
    """The JSON Schema of what a command prints with ``--json``."""
    return TypeAdapter(RESULTS[command]).json_schema(mode="serialization")
