"""No decoder falls over whatever comes: it returns something usable or raises its one documented error, and quickly."""

from __future__ import annotations

import json
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings, target
from hypothesis import strategies as st
from tests.fuzz.poison import BOMBS, FOREIGN, LEARNING, NO_JSON, POISON, enveloped
from tests.fuzz.seeds import sample, seeds
from tests.fuzz.targets import TARGETS

from flops.errors import PayloadTooLargeError, UndecodableMessageError
from flops.learning.blobs import Receiver
from flops.wire.envelope import decode_envelope
from flops.wire.events import EVENT_TYPES
from flops.wire.learning import MESSAGES, Chunk, decode_learning
from flops.wire.limits import EVENT, MIB
from flops.wire.requests import REQUESTS
from flops.wire.training_data import DataMessage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel

QUICK_S = 0.1
HARMLESS = {"a tiny number", "a float of 100,000 digits", "NULs in a text", "a manager's word"}
BOMBS_REFUSED = sorted(set(BOMBS) - HARMLESS)
FOREIGN_REFUSED = sorted(set(FOREIGN) - {"a manager's word", "a phase that there is not", "a text that is too long"})

numbers = st.one_of(st.integers(), st.integers(-3, 3), st.floats(allow_nan=False, allow_infinity=False))
texts = st.one_of(st.text(max_size=40), st.sampled_from(["", "\x00", "\x1b[0m", "a" * 300, "é", "\u202e", "/manager"]))
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=20,
)


def some_of(models: Iterable[type[BaseModel]]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with the fields of a model, and anything in them."""
    names = sorted({name for model in models for name in model.model_fields})
    return st.dictionaries(st.one_of(st.sampled_from(names), texts), anything, max_size=8)


def dumped(value: object) -> bytes:
    return json.dumps(value).encode()


ATTRIBUTES = ["id", "source", "subject", "time", "sequence", "causationid", "correlationid", "replyto", "specversion"]
SHAPED = {
    "json": anything.map(dumped),
    "envelope": st.builds(
        lambda kind, data, attributes: enveloped(data, type=kind, **attributes),
        st.sampled_from(sorted(EVENT_TYPES)),
        some_of(EVENT_TYPES.values()),
        st.dictionaries(st.sampled_from(ATTRIBUTES), anything, max_size=2),
    ),
    "request": some_of(REQUESTS.values()).map(enveloped),
    "confirmation": st.dictionaries(texts, anything, max_size=4).map(lambda marks: dumped({"confirmed": marks})),
    "learning": st.builds(
        lambda kind, fields, body: dumped({**fields, "kind": kind}) + b"\n" + body,
        st.sampled_from(sorted(MESSAGES)),
        some_of(MESSAGES.values()),
        st.binary(max_size=20),
    ),
    "sla": anything.map(dumped),
    "data": some_of(DataMessage.__subclasses__()).map(dumped),
    "topic": st.text().map(lambda text: text.encode("utf-8", "replace")),
}


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.binary(max_size=400))
def test_any_bytes(name: str, data: bytes) -> None:
    TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(drawn=st.data())
def test_what_has_the_right_shape_and_anything_in_it(name: str, drawn: st.DataObject) -> None:
    payload = drawn.draw(SHAPED[name])
    target(float(len(payload)))
    TARGETS[name](payload)


def test_fuzzing_starts_with_one_valid_message_of_every_kind() -> None:
    for name, kind in EVENT_TYPES.items():
        assert (
            decode_envelope("topic", enveloped(sample(kind), type=name, source="/manager"), EVENT).event() is not None
        )
    others: list[type[BaseModel]] = [*REQUESTS.values(), *MESSAGES.values(), *DataMessage.__subclasses__()]
    for other in others:
        other.model_validate(sample(other))
    for name in TARGETS:
        for seed in seeds(name):
            TARGETS[name](seed)


@pytest.mark.parametrize("poison", [*POISON, *LEARNING])
@pytest.mark.parametrize("name", TARGETS)
def test_poison(name: str, poison: str) -> None:
    TARGETS[name]({**POISON, **LEARNING}[poison])


@pytest.mark.parametrize("poison", [*NO_JSON, *BOMBS_REFUSED, *FOREIGN_REFUSED])
def test_poison_is_refused_as_an_event_in_a_tenth_of_a_second(poison: str) -> None:
    started = time.process_time()
    with pytest.raises(UndecodableMessageError):
        decode_envelope("topic", POISON[poison], EVENT)
    assert time.process_time() - started < QUICK_S


def test_a_bomb_is_refused_in_a_few_words() -> None:
    for poison in BOMBS_REFUSED:
        with pytest.raises(UndecodableMessageError) as refused:
            decode_envelope("topic", POISON[poison], EVENT)
        assert len(refused.value.reason) < 200


@pytest.mark.parametrize("poison", sorted(LEARNING))
def test_no_piece_takes_memory_for_what_it_only_announces(poison: str) -> None:
    receiver = Receiver()
    tracemalloc.start()
    try:
        message, body = decode_learning("topic", LEARNING[poison])
        if isinstance(message, Chunk):
            receiver.add("topic", message, body, limit_bytes=2**63)
    except (UndecodableMessageError, PayloadTooLargeError):
        pass
    finally:
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak_bytes < 8 * MIB
