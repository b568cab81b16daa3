from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from flops.delivery.presence import PRESENCE_TYPE
from flops.observer.inbox import ENTRY_TYPE, STATUS_TYPE
from flops.wire.asyncapi import CLOUD_EVENT, asyncapi, wire_channels
from flops.wire.confirmation import encode_watermarks
from flops.wire.envelope import Envelope
from flops.wire.events import EVENT_TYPES, RoundFinished
from flops.wire.learning import MESSAGES
from flops.wire.question import ANSWER_TYPE, REFUSAL_TYPE, REQUEST_TYPE
from flops.wire.requests import REQUESTS
from flops.wire.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT = asyncapi("1.2.3")


def references(part: Any) -> Iterator[str]:  # noqa: ANN401
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for item in part.values():
            yield from references(item)
    if isinstance(part, list):
        for item in part:
            yield from references(item)


def resolve(reference: str) -> Any:  # noqa: ANN401
    part: Any = DOCUMENT
    for level in reference.removeprefix("#/").split("/"):
        part = part[level]
    return part


def validator(message: str) -> Draft202012Validator:
    payload = DOCUMENT["components"]["messages"][message]["payload"]
    return Draft202012Validator({**payload, "components": DOCUMENT["components"]})


def envelope(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    message = Envelope(id="1", source="/aggregator/aggr.0", type=kind, time=datetime(2026, 1, 1, tzinfo=UTC), data=data)
    decoded: dict[str, Any] = json.loads(message.encode())
    return decoded


def test_it_is_an_asyncapi_3_document_of_this_version() -> None:
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert DOCUMENT["info"]["version"] == "1.2.3"
    assert DOCUMENT["channels"].keys() == DOCUMENT["operations"].keys()
    json.dumps(DOCUMENT, allow_nan=False)


def test_every_reference_leads_somewhere() -> None:
    for reference in set(references(DOCUMENT)):
        assert resolve(reference)


def test_nothing_is_described_that_nobody_says() -> None:
    used = {reference.rsplit("/", 1)[1] for reference in references([DOCUMENT["channels"]])}
    assert used == DOCUMENT["components"]["messages"].keys()


def test_every_parameter_of_an_address_is_described() -> None:
    for channel in DOCUMENT["channels"].values():
        assert set(re.findall(r"\{(\w+)\}", channel["address"])) == channel.get("parameters", {}).keys()


def test_names_say_one_thing_only() -> None:
    channels = wire_channels(Topics())
    assert len({channel.name for channel in channels}) == len(channels)
    assert len({channel.address for channel in channels}) == len(channels)
    meanings: dict[str, object] = {}
    for message in (message for channel in channels for message in channel.messages):
        assert meanings.setdefault(message.name, message) == message


def test_every_event_request_and_learning_message_is_there_with_its_docstring() -> None:
    said = {message["name"]: message["summary"] for message in DOCUMENT["components"]["messages"].values()}
    for name, kind in EVENT_TYPES.items():
        assert said[name] == " ".join((kind.__doc__ or "").split("\n\n")[0].split())
    assert {f"{REQUEST_TYPE}.{name}" for name in REQUESTS} <= said.keys()
    assert MESSAGES.keys() <= said.keys()
    assert {ANSWER_TYPE, REFUSAL_TYPE, ENTRY_TYPE, STATUS_TYPE, PRESENCE_TYPE} <= said.keys()
    assert all(said.values())


@pytest.mark.parametrize(
    ("channel", "is_retained"),
    [
        ("projectStart", False),
        ("projectEvents", False),
        ("projectInbox", False),
        ("projectConfirmed", True),
        ("projectStatus", True),
        ("projectCancel", False),
        ("servicePresence", True),
        ("reply", False),
    ],
)
def test_quality_of_service_and_retention_are_those_of_the_design(channel: str, *, is_retained: bool) -> None:
    binding = DOCUMENT["operations"][channel]["bindings"]["mqtt"]
    assert (binding["qos"], binding["retain"]) == (1, is_retained)


def test_what_is_sent_fits_its_schema() -> None:
    event = RoundFinished(
        round=1, rounds=3, accuracy=0.9, loss=None, duration_s=1.5, participants=[], is_best=True
    )  # fmt: skip
    validator("roundFinished").validate(envelope("round.finished", event.model_dump(mode="json")))
    validator("watermarks").validate(json.loads(encode_watermarks({"/builder/b.0": 3})))


def test_what_does_not_fit_is_refused() -> None:
    assert not validator("roundFinished").is_valid(envelope("round.finished", {"round": "one"}))
    assert not validator("roundFinished").is_valid(envelope("round.ended", {}))


def test_every_envelope_message_names_its_type() -> None:
    for message in DOCUMENT["components"]["messages"].values():
        if message["contentType"] == CLOUD_EVENT:
            assert message["payload"]["allOf"][1]["properties"]["type"] == {"const": message["name"]}
