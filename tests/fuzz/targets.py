"""One function per decoder: takes any bytes, and raises only if the decoder breaks its promise.

A decoder either returns something that can be used and written again, or raises its one documented error.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ValidationError

from flops.errors import InvalidSlaError, PayloadTooLargeError, UndecodableMessageError
from flops.learning.blobs import Receiver
from flops.observer.rendering import line_of
from flops.project.glance import first_status, follow
from flops.project.state import Project
from flops.project.workflow import step
from flops.wire import training_data
from flops.wire.confirmation import decode_confirmation, decode_watermarks, encode_watermarks
from flops.wire.envelope import decode_envelope
from flops.wire.json_text import decode_json, encode_json
from flops.wire.learning import Chunk, decode_learning, encode_learning
from flops.wire.limits import CONTROL, EVENT
from flops.wire.requests import REQUESTS, InboxEntry, Presence, ProjectStatus, Refusal
from flops.wire.sla import parse_mock_data_sla, parse_project_sla
from flops.wire.topics import Topics, may_answer

if TYPE_CHECKING:
    from collections.abc import Callable

TOPIC: Final = "topic"
ID: Final = "0" * 24
LIMIT_BYTES: Final = 1 << 20
DATA_MESSAGES: Final = tuple(training_data.DataMessage.__subclasses__())


def decode_any_json(data: bytes) -> None:
    """What is read can be written, and read again as the same."""
    with suppress(UndecodableMessageError):
        value = decode_json(TOPIC, data, CONTROL)
        assert decode_json(TOPIC, encode_json(value)) == value


def decode_any_envelope(data: bytes) -> None:
    """An envelope travels again as the same, and its event can be shown, followed and stepped with."""
    with suppress(UndecodableMessageError):
        envelope = decode_envelope(TOPIC, data, EVENT)
        assert decode_envelope(TOPIC, envelope.encode()) == envelope
        envelope.time.astimezone()
        event = envelope.event()
        if event is None:
            return
        for verbose in (False, True):
            line = line_of(event, verbose=verbose)
            assert line is None or line.text
        follow(first_status(ID, "2026-01-01T00:00:00+00:00"), event, datetime.now(UTC).isoformat())
        step(Project(ID), event)


def decode_any_request(data: bytes) -> None:
    """Whatever is asked is one of the requests, or refused."""
    with suppress(UndecodableMessageError):
        envelope = decode_envelope(TOPIC, data, CONTROL)
        kinds: list[type[BaseModel]] = [*REQUESTS.values(), Presence, InboxEntry, ProjectStatus, Refusal]
        for kind in kinds:
            with suppress(ValidationError):
                kind.model_validate(envelope.data).model_dump_json()


def decode_any_confirmation(data: bytes) -> None:
    """Watermarks are sources and numbers, and travel again."""
    with suppress(UndecodableMessageError):
        watermarks, _ = decode_confirmation(TOPIC, data)
        assert decode_watermarks(TOPIC, encode_watermarks(watermarks)) == watermarks
        assert all(0 <= number < 2**53 for number in watermarks.values())


def decode_any_learning_message(data: bytes) -> None:
    """A message travels again; a chunk is put where it belongs, or refused."""
    with suppress(UndecodableMessageError, PayloadTooLargeError):
        message, body = decode_learning(TOPIC, data)
        again, body_again = decode_learning(TOPIC, encode_learning(message, body))
        assert (again, bytes(body_again)) == (message, bytes(body))
        if isinstance(message, Chunk):
            receiver = Receiver()
            receiver.add(TOPIC, message, body, limit_bytes=LIMIT_BYTES)


def decode_any_sla(data: bytes) -> None:
    """Every fault of an SLA is told as one; the same from its text and from its value."""
    for parse in (parse_project_sla, parse_mock_data_sla):
        with suppress(InvalidSlaError):
            parse(data).to_document()
    with suppress(UndecodableMessageError, InvalidSlaError):
        value = decode_json(TOPIC, data, CONTROL)
        if isinstance(value, dict):
            parse_project_sla(value)


def decode_any_data_message(data: bytes) -> None:
    """What clients and data servers tell each other."""
    for kind in DATA_MESSAGES:
        with suppress(UndecodableMessageError):
            message = kind.decode(data)
            assert kind.decode(message.encode()) == message


def read_any_topic(data: bytes) -> None:
    """Topics come from outside, too."""
    text = data.decode("utf-8", "replace")
    for topics in (Topics(), Topics("a/b")):
        for topic in (text, topics.presence(text), topics.project_events(text), topics.request(text)):
            project = topics.project_of(topic)
            assert project is None or len(project) == len(ID)
            for read in (topics.instance_of, topics.learner_of, topics.tail_of):
                read(topic)
            may_answer(topic, text)


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "json": decode_any_json,
    "envelope": decode_any_envelope,
    "request": decode_any_request,
    "confirmation": decode_any_confirmation,
    "learning": decode_any_learning_message,
    "sla": decode_any_sla,
    "data": decode_any_data_message,
    "topic": read_any_topic,
}
