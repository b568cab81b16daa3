"""Flower's records as JSON and one blob, without pickle.

Metrics and configuration become JSON; of each array JSON says key, dtype, shape and size, and the blob holds the bytes
(npy) of all of them in that order.
"""

from __future__ import annotations

import base64
import io
import math
import tokenize
from typing import TYPE_CHECKING, Any, Final

import numpy.lib.format as npy

from flops.errors import UndecodableMessageError
from flops.learning.blobs import Blob
from flops.learning.flower import NUMPY, Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

if TYPE_CHECKING:
    from collections.abc import Mapping

_WHAT: Final = "the records"
# numpy reads an npy header with Python's tokenizer and parser.
_NPY_MISFITS: Final = (SyntaxError, tokenize.TokenError, RecursionError, MemoryError, OverflowError)
_MISFITS: Final = (KeyError, TypeError, ValueError, AttributeError, *_NPY_MISFITS)


def encode_records(records: RecordDict) -> tuple[dict[str, Any], Blob | None]:
    """Records as a JSON object, and the blob of their arrays if there are any."""
    content: dict[str, Any] = {}
    segments: list[bytes] = []
    for name, record in records.items():
        if isinstance(record, ArrayRecord):
            content[name] = {"arrays": [_describe(key, array) for key, array in record.items()]}
            segments.extend(array.data for array in record.values())
        elif isinstance(record, MetricRecord | ConfigRecord):
            kind = "metrics" if isinstance(record, MetricRecord) else "config"
            content[name] = {kind: {key: _to_json(value) for key, value in record.items()}}
    return content, Blob(segments) if segments else None


def decode_records(content: Mapping[str, Any], blob: bytes | bytearray) -> RecordDict:
    """The records that ``encode_records`` made.

    Raises:
        UndecodableMessageError: they are not, or blob and description do not fit.
    """
    view, position = memoryview(blob), 0
    records = RecordDict()
    try:
        for name, description in content.items():
            if "arrays" in description:
                record = ArrayRecord()
                for item in description["arrays"]:
                    size_bytes = _positive(item["size_bytes"])
                    record[item["key"]] = _array(item, bytes(view[position : position + size_bytes]))
                    position += size_bytes
                records[name] = record
            elif "metrics" in description:
                records[name] = MetricRecord(_plain(description["metrics"]))
            else:
                records[name] = ConfigRecord(_plain(description["config"]))
    except _MISFITS as error:
        raise UndecodableMessageError(_WHAT, f"they do not fit their description ({error!r})") from error
    if position != len(view):
        raise UndecodableMessageError(_WHAT, f"{position:,} bytes are described but {len(view):,} came")
    return records


def _describe(key: str, array: Array) -> dict[str, Any]:
    return {"key": key, "dtype": array.dtype, "shape": list(array.shape), "size_bytes": len(array.data)}


def _array(item: Mapping[str, Any], data: bytes) -> Array:
    """One array, after a look at its npy header: a claim that does not fit its bytes must not reach numpy later."""
    stream = io.BytesIO(data)
    version = npy.read_magic(stream)
    shape, _, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(stream)
    if dtype.hasobject or stream.tell() + math.prod(shape) * dtype.itemsize != len(data):
        message = f"the array {item['key']!r} is not what its header says"
        raise ValueError(message)
    if list(shape) != item["shape"] or str(dtype) != item["dtype"]:
        message = f"the array {item['key']!r} is {dtype}{list(shape)}, not {item['dtype']}{item['shape']}"
        raise ValueError(message)
    return Array(dtype=str(dtype), shape=shape, stype=NUMPY, data=data)


def _positive(size_bytes: object) -> int:
    if not isinstance(size_bytes, int) or size_bytes < 1:
        message = f"{size_bytes!r} is no size"
        raise ValueError(message)
    return size_bytes


def _to_json(value: Any) -> Any:  # noqa: ANN401  Flower's scalars are a wide union
    """JSON knows neither bytes nor the numbers that are none; both become an object."""
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(float(value))}
    return [_to_json(item) for item in value] if isinstance(value, list) else value


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _from_json(value) for key, value in values.items()}


def _from_json(value: Any) -> Any:  # noqa: ANN401  the inverse of _to_json
    if isinstance(value, dict):
        return base64.b64decode(value["bytes"], validate=True) if "bytes" in value else float(value["float"])
    return [_from_json(item) for item in value] if isinstance(value, list) else value
