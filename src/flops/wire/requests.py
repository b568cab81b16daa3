"""Requests that are not projects, their answers, and what the observer publishes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from flops.wire.limits import MAX_ID, MAX_PAGE

Severity = Literal["info", "success", "warning", "error"]
Phase = Literal[
    "requested",
    "checking",
    "building",
    "deploying",
    "training",
    "packaging",
    "serving",
    "stopping",
    "completed",
    "failed",
    "cancelled",
]

Stage = Literal["checking", "building", "training", "packaging", "serving"]


class Message(BaseModel):
    """The base of everything that travels inside an envelope and is not an event."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Refusal(Message):
    """The answer to a request that cannot be met. ``errors`` lists every fault of an SLA with its path."""

    code: str
    message: str
    remedy: str = ""
    errors: list[dict[str, Any]] = []


class ProjectAnswer(Message):
    """The answer to a project SLA: accepted, with the project's id."""

    project_id: str
    inbox: str


class InboxEntry(Message):
    """One line of a project's inbox. ``sequence`` starts at 1 and has no gaps."""

    project_id: str
    sequence: Annotated[int, Field(ge=1)]
    time: str
    severity: Severity
    text: str
    next_step: str = ""
    details: str = ""
    stage: str = ""
    event_type: str
    event_id: str
    source: str
    data: dict[str, Any] = {}


class ProjectStatus(Message):
    """A project at a glance."""

    project_id: str
    user: str
    phase: Phase
    created: str
    updated: str
    ended: str = ""
    ml_repo_url: str = ""
    commit: str = ""
    round: int = 0
    rounds: int = 0
    accuracy: float | None = None
    loss: float | None = None
    best_accuracy: float | None = None
    reason: str = ""
    tracking_url: str = ""
    model_uri: str = ""
    inference_url: str = ""
    app: str = ""
    entries: int = 0
    last_entry: str = ""


class Presence(Message):
    """Whether an instance is online, and what it offers. The last will has ``online: false``."""

    instance: str
    role: str
    online: bool
    node: str = ""
    url: str = ""
    data_tags: dict[str, int] = {}
    project_id: str = ""
    user: str = ""


class ListProjects(Message):
    """``request/projects``: projects, newest first. Answer: ``{"projects": [ProjectStatus], "next": "…"}``.

    Asked again with ``next`` as ``after``, it goes on from there; an empty ``next`` means that this was all.
    """

    user: str = ""
    after: Annotated[str, Field(max_length=MAX_ID)] = ""
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 500


class ShowProject(Message):
    """``request/project``: one project. Answer: ``{"status": …, "sla": …, "services": […]}``."""

    project_id: str


class ReadInbox(Message):
    """``request/inbox``: entries after ``after``, oldest first. Answer: ``{"entries": […], "more": bool}``."""

    project_id: str
    after: Annotated[int, Field(ge=0)] = 0
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 500


class ReadEvents(Message):
    """``request/events``: what the manager has durable of one project, in its order, after position ``after``.

    Answer: ``{"events": [{"position": n, "envelope": …}], "more": bool}``.
    """

    project_id: str
    after: Annotated[int, Field(ge=0)] = 0
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 500


class ListDeadLetters(Message):
    """``request/dead-letters``: messages that could not be understood, oldest first, after a number.

    Answer: ``{"letters": [{"number", "topic", "time", "reason", "size_bytes"}], "more": bool}``.
    """

    after: Annotated[int, Field(ge=0)] = 0
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 500


class ShowDeadLetter(Message):
    """``request/dead-letter``: one of them with its payload. Answer: as in the list, and ``{"payload": base64}``."""

    number: Annotated[int, Field(ge=1)]


class DropDeadLetters(Message):
    """``request/dead-letters-drop``: forget some of them, or all. Answer: ``{"dropped": how many}``."""

    numbers: Annotated[list[int], Field(max_length=MAX_PAGE)] = []
    all: bool = False


class CancelProject(Message):
    """``request/cancel`` and ``project/<id>/cancel``: stop a project. Answer: ``{"phase": …, "outcome": …}``.

    ``outcome`` is what a stopping project is about to be; what was about to be completed is not cancelled any more.
    """

    project_id: str
    by: str = ""


class RetryProject(Message):
    """``request/retry``: let a failed or cancelled project go on with what it has. Answer: ``{"stage": …}``.

    Without ``from_stage`` it goes on from the stage in which it has ended.
    """

    project_id: str
    from_stage: Stage | Literal[""] = ""
    by: Annotated[str, Field(max_length=128)] = ""


class DeleteProject(Message):
    """``request/delete``: forget an ended project and all it left behind. Answer: ``{}``."""

    project_id: str


class ListApps(Message):
    """``request/apps``. Answer: ``{"apps": [{"name", "user"}]}``."""


class ListServices(Message):
    """``request/services``. Answer: ``{"services": [{"name", "role", "app", "instances": [...]}]}``."""

    app: str = ""


class ReadLogs(Message):
    """``request/logs``: the end of an instance's (or a service's first instance's) output. Answer: ``{"text": …}``."""

    service: str
    tail_lines: Annotated[int, Field(ge=1, le=100_000)] = 200


class ProvideMockData(Message):
    """``request/mock-data``: a mock-data SLA. Answer: ``{"request_id": …}``; events follow on that id's topic."""

    sla: dict[str, Any]


class ShowTracking(Message):
    """``request/tracking``: a user's tracking server, started if it is not there. Answer: ``{"url": …}``."""

    user: str = ""


class ListData(Message):
    """``request/data``: which node holds which tags. Answer: ``{"nodes": {node: {tag: examples}}}``."""


REQUESTS: dict[str, type[Message]] = {
    "projects": ListProjects,
    "project": ShowProject,
    "inbox": ReadInbox,
    "events": ReadEvents,
    "cancel": CancelProject,
    "retry": RetryProject,
    "delete": DeleteProject,
    "apps": ListApps,
    "services": ListServices,
    "logs": ReadLogs,
    "mock-data": ProvideMockData,
    "tracking": ShowTracking,
    "data": ListData,
    "dead-letters": ListDeadLetters,
    "dead-letter": ShowDeadLetter,
    "dead-letters-drop": DropDeadLetters,
}
