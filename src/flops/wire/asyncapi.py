"""The AsyncAPI 3 document of the wire: every topic with everything that is said on it."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel

from flops.wire.envelope import Envelope
from flops.wire.events import EVENT_TYPES
from flops.wire.learning import MESSAGES
from flops.wire.requests import REQUESTS, InboxEntry, Presence, ProjectAnswer, ProjectStatus, Refusal
from flops.wire.schemas import schema_of
from flops.wire.sla import ProjectSla
from flops.wire.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Json = dict[str, Any]

CLOUD_EVENT: Final = "application/cloudevents+json"
PLAIN: Final = "application/json"
LEARNING: Final = "application/vnd.flops.learning"

_SCHEMA_REF: Final = "#/components/schemas/{model}"
_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_PARAMETERS: Final = {
    "projectId": "The project's id: 24 hexadecimal characters.",
    "instanceId": "A service's instance, for example 'aggr0123456789ab.0'.",
    "learnerId": "A learner's instance, for example 'flearner0123456789ab.1'.",
    "clientId": "The client that asked.",
}
_INTRODUCTION: Final = """\
Everything that the processes of FLOps say to each other, and that other programs may say to them or hear from them.

A message is a CloudEvents 1.0 envelope in structured JSON mode, published at QoS 1; the learning plane alone has a
format of its own. Delivery is at least once: consumers are idempotent in an envelope's `id`. Schemas evolve by
addition, so readers ignore what they do not know. A prefix for all topics can be configured (`FLOPS_TOPIC_PREFIX`).
"""


class Watermarks(BaseModel):
    """Per source, the last sequence number that the manager has made durable, and which manager that is."""

    confirmed: dict[str, int]
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """Something that can be said; ``type`` is the envelope's, if it travels in one."""

    name: str
    model: type[BaseModel]
    type: str = ""
    content_type: str = CLOUD_EVENT


@dataclass(frozen=True, slots=True)
class Channel:
    """A topic with what FLOps sends or receives on it."""

    name: str
    address: str
    description: str
    action: Literal["send", "receive"]
    messages: tuple[Message, ...]
    is_retained: bool = False
    answers: tuple[str, ...] = ()


def asyncapi(version: str) -> Json:
    """The document for one version of FLOps."""
    channels = wire_channels(Topics())
    messages = {message.name: message for channel in channels for message in channel.messages}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "FLOps",
            "version": version,
            "description": _INTRODUCTION,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": CLOUD_EVENT,
        "servers": {"broker": {"host": "localhost", "protocol": "mqtt", "description": "See FLOPS_BROKER_URL."}},
        "channels": {channel.name: _channel(channel) for channel in channels},
        "operations": {channel.name: _operation(channel) for channel in channels},
        "components": {
            "messages": {name: _message(message) for name, message in messages.items()},
            "schemas": _schemas([Envelope, *(message.model for message in messages.values())]),
        },
    }


def wire_channels(topics: Topics) -> list[Channel]:
    """Every channel of the wire."""
    return [*_project_channels(topics), *_learning_channels(topics), *_service_channels(topics)]


def _project_channels(topics: Topics) -> list[Channel]:
    def channel(name: str, topic: Callable[[str], str], *messages: Message, is_retained: bool = False) -> Channel:
        return Channel(name, topic("{projectId}"), inspect.getdoc(topic) or "", "send", messages, is_retained)

    events = [Message(_camel(name), kind, name) for name, kind in sorted(EVENT_TYPES.items())]
    sla = Message("projectSla", ProjectSla, content_type=PLAIN)
    cancellation = Message("cancelProject", REQUESTS["cancel"], "request.cancel")
    return [
        Channel(
            "projectStart",
            topics.project_start(),
            "Starts a project. The SLA may stand in the `data` of an envelope, which makes the request idempotent.",
            "receive",
            (sla,),
            answers=("projectAnswer", "refusal"),
        ),
        channel("projectEvents", topics.project_events, *events),
        channel("projectInbox", topics.project_inbox, Message("inboxEntry", InboxEntry, "inbox.entry")),
        channel(
            "projectStatus",
            topics.project_status,
            Message("projectStatus", ProjectStatus, "project.status"),
            is_retained=True,
        ),
        channel(
            "projectConfirmed",
            topics.project_confirmed,
            Message("watermarks", Watermarks, content_type=PLAIN),
            is_retained=True,
        ),
        Channel(
            "projectCancel",
            topics.project_cancel("{projectId}"),
            "Stops a project. The envelope may be left out, and so may everything else.",
            "receive",
            (cancellation,),
        ),
    ]


def _learning_channels(topics: Topics) -> list[Channel]:
    def channel(name: str, address: str, description: str, *kinds: str) -> Channel:
        said = (Message(f"learning{kind.capitalize()}", MESSAGES[kind], kind, LEARNING) for kind in kinds)
        return Channel(name, address, description, "send", tuple(said))

    project, learner = "{projectId}", "{learnerId}"
    to_all, to_one, from_one = topics.learning_all, topics.learning_to, topics.learning_from
    return [
        channel("learningAll", to_all(project), inspect.getdoc(to_all) or "", "call", "chunk", "dismissal"),
        channel("learningTo", to_one(project, learner), inspect.getdoc(to_one) or "", "task", "chunk", "need"),
        channel(
            "learningFrom",
            from_one(project, learner),
            inspect.getdoc(from_one) or "",
            "joining",
            "leaving",
            "answer",
            "chunk",
            "need",
        ),
    ]


def _service_channels(topics: Topics) -> list[Channel]:
    presence = Message("presence", Presence, "presence")
    answers = (
        Message("projectAnswer", ProjectAnswer, "answer"),
        Message("answer", AnyAnswer, "answer"),
        Message("refusal", Refusal, "refusal"),
    )
    requests = [
        Channel(
            _camel(f"request.{name}"),
            topics.request(name),
            inspect.getdoc(kind) or "",
            "receive",
            (Message(_camel(f"request.{name}"), kind, f"request.{name}"),),
            answers=("answer", "refusal"),
        )
        for name, kind in REQUESTS.items()
    ]
    about = "Retained, and the last will: whether an instance is online."
    return [
        Channel("servicePresence", topics.presence("{instanceId}"), about, "send", (presence,), is_retained=True),
        *requests,
        Channel("reply", topics.reply("{clientId}"), "Answers to one client.", "send", answers),
    ]


class AnyAnswer(BaseModel):
    """The answer to a request; what is in it is said where the request is described."""


def _camel(dotted: str) -> str:
    first, *rest = re.split(r"[.-]", dotted)
    return first + "".join(word.capitalize() for word in rest)


def _channel(channel: Channel) -> Json:
    parameters = {name: {"description": _PARAMETERS[name]} for name in _PARAMETER.findall(channel.address)}
    return {
        "address": channel.address,
        "description": channel.description,
        "messages": {item.name: {"$ref": f"#/components/messages/{item.name}"} for item in channel.messages},
        **({"parameters": parameters} if parameters else {}),
    }


def _operation(channel: Channel) -> Json:
    operation: Json = {
        "action": channel.action,
        "channel": {"$ref": f"#/channels/{channel.name}"},
        "bindings": {"mqtt": {"qos": 1, "retain": channel.is_retained, "bindingVersion": "0.2.0"}},
        "messages": [{"$ref": f"#/channels/{channel.name}/messages/{item.name}"} for item in channel.messages],
    }
    if channel.answers:
        operation["reply"] = {
            "address": {
                "location": "$message.payload#/replyto",
                "description": "A client of MQTT 5 may give a response topic instead.",
            },
            "channel": {"$ref": "#/channels/reply"},
            "messages": [{"$ref": f"#/channels/reply/messages/{name}"} for name in channel.answers],
        }
    return operation


def _message(message: Message) -> Json:
    data = {"$ref": _SCHEMA_REF.format(model=message.model.__name__)}
    summary, _, description = (inspect.getdoc(message.model) or "").partition("\n\n")
    said: Json = {"name": message.type or message.name, "summary": " ".join(summary.split())}
    if description:
        said["description"] = description
    if message.content_type == LEARNING:
        said["description"] = "One line of JSON with this schema and `kind`, then the bytes that it describes."
        kind = {"properties": {"kind": {"const": message.type}}, "required": ["kind"]}
        return {**said, "contentType": LEARNING, "payload": {"allOf": [data, kind]}}
    if message.content_type == PLAIN:
        return {**said, "contentType": PLAIN, "payload": data}
    inside = {"properties": {"type": {"const": message.type}, "data": data}, "required": ["data"]}
    envelope = {"$ref": _SCHEMA_REF.format(model=Envelope.__name__)}
    return {**said, "contentType": CLOUD_EVENT, "payload": {"allOf": [envelope, inside]}}


def _schemas(models: Iterable[type[BaseModel]]) -> Json:
    schemas: Json = {}
    for model in models:
        schema = schema_of(model, _SCHEMA_REF)
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    return dict(sorted(schemas.items()))
