"""Where fuzzing starts: one valid message of every kind, poison, and the words that messages are made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.fuzz.poison import DIGEST, LEARNING, POISON, enveloped

from flops.wire.events import EVENT_TYPES
from flops.wire.learning import MESSAGES
from flops.wire.requests import REQUESTS
from flops.wire.training_data import DataMessage

if TYPE_CHECKING:
    from pydantic import BaseModel

SIMPLE: Final[dict[str, Any]] = {"string": "x", "integer": 1, "number": 0.5, "boolean": True, "null": None}
SLAS: Final = Path(__file__).parents[2] / "slas"
SPECIAL: Final = ("1e400", "-1", "9223372036854775808", "NaN", "\\\\ud800", "\\\\u0000", "[[[[", "{}", "null", "true")


def sample(model: type[BaseModel]) -> dict[str, Any]:
    """A valid object of a model, as its schema has it."""
    schema = model.model_json_schema()
    return {name: _value(part, schema) for name, part in schema.get("properties", {}).items()}


def seeds(target: str) -> list[bytes]:
    """Messages that a decoder takes, and poison that it does not."""
    events = [enveloped(sample(kind), type=name, sequence=1) for name, kind in EVENT_TYPES.items()]
    valid: dict[str, list[bytes]] = {
        "json": events[:3],
        "envelope": events,
        "request": [enveloped(sample(kind), type=f"request.{name}") for name, kind in REQUESTS.items()],
        "confirmation": [b'{"confirmed":{"/builder/b.0":1},"owner":"manager"}'],
        "learning": [_said({"kind": name, **sample(kind)}) for name, kind in MESSAGES.items()],
        "sla": [file.read_bytes() for file in sorted(SLAS.glob("*/*.json"))],
        "data": [json.dumps(sample(kind)).encode() for kind in DataMessage.__subclasses__()],
        "topic": [b"project/" + b"0" * 24 + b"/learning/from/x", b"service/x/presence", b"reply/x"],
    }
    return [*valid[target], *POISON.values(), *LEARNING.values()]


def words() -> list[str]:
    """The names of all fields and kinds, and what JSON has of oddities, for the fuzzer to put anywhere."""
    models = (*EVENT_TYPES.values(), *REQUESTS.values(), *MESSAGES.values(), *DataMessage.__subclasses__())
    names = {name for model in models for name in model.model_fields}
    return sorted(names | {*EVENT_TYPES, *MESSAGES} | set(SPECIAL))


def _said(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\nbody"


def _value(part: dict[str, Any], schema: dict[str, Any]) -> Any:  # noqa: ANN401  any JSON
    if "$ref" in part:
        inner = schema["$defs"][part["$ref"].rpartition("/")[2]]
        return {name: _value(item, schema) for name, item in inner["properties"].items()}
    if "anyOf" in part:
        return _value(part["anyOf"][0], schema)
    if "enum" in part or "const" in part:
        return part.get("const", part.get("enum", [None])[0])
    if part.get("type") == "array":
        return [_value(part.get("items", {}), schema)]
    if part.get("type") == "string" and "pattern" in part:
        return DIGEST
    return SIMPLE.get(part.get("type", ""), {})
