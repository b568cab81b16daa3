"""Payloads made to do harm: what JSON, MQTT and Python allow and no decoder may fall over."""

from __future__ import annotations

import json
from typing import Any, Final

TIME: Final = "2026-01-01T00:00:00Z"
DIGEST: Final = "0" * 64
OTHER_DIGEST: Final = "f" * 64


def enveloped(data: object = None, **attributes: Any) -> bytes:  # noqa: ANN401  any JSON
    """An envelope, attributes changed, or left out where None."""
    fields = {
        "specversion": "1.0",
        "id": "poison",
        "source": "/x",
        "type": "service.warned",
        "time": TIME,
        "data": {"message": "hm"} if data is None else data,
        **attributes,
    }
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


def inside(json_text: str) -> bytes:
    """An envelope whose data are written as they are."""
    return enveloped({"message": "HERE"}).replace(b'"HERE"', json_text.encode("utf-8", "surrogatepass"))


def header(**fields: Any) -> bytes:  # noqa: ANN401  any JSON
    """A message of the learning plane without a body."""
    return json.dumps(fields).encode() + b"\n"


NO_JSON: Final[dict[str, bytes]] = {
    "nothing": b"",
    "a NUL": b"\x00",
    "binary": bytes(range(256)),
    "no UTF-8": b"\xff\xfe{}",
    "UTF-16": "{}".encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "half of an object": b'{"id": ',
    "two documents": b"{}{}",
    "a comment": b"{/**/}",
    "Python": b"{'id': None}",
    "an overlong encoding": b'{"id": "\xc0\xaf"}',
    "a raw surrogate": b'{"id": "\xed\xa0\x80"}',
}
BOMBS: Final[dict[str, bytes]] = {
    "deep arrays": b"[" * 100_000,
    "deep closed arrays": b"[" * 900 + b"]" * 900,
    "deep objects": b'{"a":' * 100_000,
    "deep data": inside("[" * 200 + "]" * 200),
    "wide data": inside("[" + "0," * 400_000 + "0]"),
    "many keys": inside("{" + ",".join(f'"{number}":0' for number in range(60_000)) + "}"),
    "many empty arrays": inside("[" + "[]," * 300_000 + "[]]"),
    "a huge exponent": inside("1e400"),
    "a huge negative exponent": inside("-1e400"),
    "a tiny number": inside("1e-400"),
    "an integer of 100,000 digits": inside("9" * 100_000),
    "an integer of 4,000 digits": inside("9" * 4_000),
    "an integer of 65 bits": inside(str(2**64)),
    "a float of 100,000 digits": inside("0." + "9" * 100_000),
    "NaN": inside("NaN"),
    "infinity": inside("-Infinity"),
    "a key twice": b'{"id": "a", "id": "b"}',
    "a key twice in the data": inside('{"a": 1, "a": 2}'),
    "half of a surrogate pair": inside('"\\ud800"'),
    "a surrogate as a key": inside('{"\\udfff": 1}'),
    "NULs in a text": inside('"a\\u0000b"'),
    "a NUL in a text": inside('"a\x00b"'),
    "a text of 3 MiB": inside('"' + "x" * 3 * 1024 * 1024 + '"'),
}
FOREIGN: Final[dict[str, bytes]] = {
    "null": b"null",
    "a text": b'"text"',
    "a number": b"7",
    "an array": b"[]",
    "an empty object": b"{}",
    "another specification": enveloped(specversion="0.3"),
    "another content": enveloped(datacontenttype="text/plain"),
    "data that are no object": enveloped([1, 2]),
    "data that are a text": enveloped("x"),
    "an id that is a number": enveloped(id=7),
    "an id that is an object": enveloped(id={}),
    "an empty id": enveloped(id=""),
    "an id of 10,000 characters": enveloped(id="x" * 10_000),
    "an id with a NUL": enveloped(id="a\x00b"),
    "an id with an escape sequence": enveloped(id="\x1b[31m"),
    "a source with a line end": enveloped(source="/x\n/manager"),
    "a type with a C1 control": enveloped(type="\x9b31m"),
    "a negative sequence": enveloped(sequence=-1),
    "a sequence of 64 bits": enveloped(sequence=2**63),
    "a sequence beyond exactness": enveloped(sequence=2**53),
    "a sequence that is true": enveloped(sequence=True),
    "a sequence that is a text": enveloped(sequence="1"),
    "a sequence that is a fraction": enveloped(sequence=1.0),
    "a time without a zone": enveloped(time="2026-01-01T00:00:00"),
    "a time that is a date": enveloped(time="2026-01-01"),
    "a time that is a number": enveloped(time=1_700_000_000),
    "a time that is a number as a text": enveloped(time="1700000000"),
    "a time before all clocks": enveloped(time="0001-01-01T00:00:00+23:59"),
    "a time after all clocks": enveloped(time="9999-12-31T23:59:59-23:59"),
    "no time": enveloped(time=None),
    "a reply to everybody": enveloped(replyto="#", sequence=-1),
    "a manager's word": enveloped({"stage": "x", "reason": "x"}, type="project.failed"),
    "a phase that there is not": enveloped({"phase": "x"}, type="phase.entered"),
    "a text that is too long": enveloped({"message": "x" * 20_000}),
}
POISON: Final[dict[str, bytes]] = {**NO_JSON, **BOMBS, **FOREIGN}

CHUNK: Final = {"kind": "chunk", "digest": DIGEST, "size_bytes": 10, "piece_bytes": 4, "index": 0}
LEARNING: Final[dict[str, bytes]] = {
    **NO_JSON,
    "no header line": b"{}",
    "a header of 2 MiB": b'{"kind": "' + b"x" * 2**21 + b'"}\n',
    "an unknown kind": header(kind="bomb"),
    "a kind that is a number": header(kind=7),
    "a chunk of 8 EiB": header(**{**CHUNK, "size_bytes": 2**63 - 1}) + b"xxxx",
    "a chunk of 4 GiB in one piece": header(**{**CHUNK, "size_bytes": 2**32, "piece_bytes": 2**32}) + b"xxxx",
    "a chunk cut into single bytes": header(**{**CHUNK, "size_bytes": 2**31, "piece_bytes": 1}) + b"x",
    "a chunk of no size": header(**{**CHUNK, "size_bytes": 0}),
    "a chunk of negative size": header(**{**CHUNK, "size_bytes": -1}),
    "a chunk of pieces of no size": header(**{**CHUNK, "piece_bytes": 0}),
    "a chunk before the first": header(**{**CHUNK, "index": -1}) + b"xxxx",
    "a chunk after the last": header(**{**CHUNK, "index": 7}) + b"xxxx",
    "a chunk whose index is true": header(**{**CHUNK, "index": True}) + b"xxxx",
    "a chunk that is too short": header(**CHUNK) + b"x",
    "a chunk that is too long": header(**CHUNK) + b"x" * 1000,
    "a chunk of another digest": header(**{**CHUNK, "digest": OTHER_DIGEST}) + b"xxxx",
    "a chunk without a digest": header(**{**CHUNK, "digest": "../../x"}),
    "a foreign blob in one piece": header(**{**CHUNK, "size_bytes": 4}) + b"evil",
    "a need of everything": header(kind="need", digest=DIGEST, missing=[0] * 100_000),
    "a need of the impossible": header(kind="need", digest=DIGEST, missing=[-1, 2**40]),
    "an answer to nothing": header(kind="answer", task_id="nobody's"),
    "an answer with nonsense": header(kind="answer", task_id="x", content={"a": {"arrays": [{"size_bytes": -1}]}}),
    "an answer with an endless reason": header(kind="answer", task_id="x", error="x" * 100_000),
    "a task for nobody": header(kind="task", id="", run_id=1, type="train", content={}),
    "a task of another kind": header(kind="task", id="x", run_id=1, type="explode", content={}),
    "a task with a run of 100 bits": header(kind="task", id="x", run_id=2**100, type="train", content={}),
    "a task with nonsense": header(kind="task", id="x", run_id=1, type="train", content={"a": 7}),
    "a learner with fewer than no examples": header(kind="joining", examples=-5),
    "a learner with too many examples": header(kind="joining", examples=2**70),
    "a learner with a deep example": b'{"kind":"joining","example":' + b'{"a":' * 500 + b"1" + b"}" * 501 + b"\n",
}
