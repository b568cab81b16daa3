"""Flower's records over the wire: the same come out, and what is not right is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flops.errors import UndecodableMessageError
from flops.learning.flower import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flops.learning.records import decode_records, encode_records
from flops.wire.json_text import decode_json, encode_json

ARRAYS = hnp.arrays(
    dtype=st.sampled_from(["float64", "float32", "float16", "int64", "uint8", "bool", ">f4", "<U3"]),
    shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)


def there_and_back(records: RecordDict) -> RecordDict:
    content, blob = encode_records(records)
    travelled = decode_json("topic", encode_json(content))
    assert isinstance(travelled, dict)
    data = b"".join(body for _, body in blob.pieces(7)) if blob else b""
    return decode_records(travelled, data)


@given(st.lists(ARRAYS, max_size=4))
def test_arrays_of_every_type_and_shape_come_back_bit_by_bit(arrays: list[np.ndarray[Any, Any]]) -> None:
    records = there_and_back(RecordDict({"arrays": ArrayRecord(numpy_ndarrays=arrays)}))
    back = records.array_records["arrays"].to_numpy_ndarrays()
    for left, right in zip(arrays, back, strict=True):
        assert left.dtype == right.dtype
        assert left.shape == right.shape
        assert left.tobytes() == right.tobytes()


def test_metrics_and_configuration_come_back() -> None:
    metrics: dict[str, Any] = {"n": 3, "loss": math.inf, "many": [0.5, -math.inf]}
    config: dict[str, Any] = {"key": b"\x00\xff", "flag": True, "names": ["a", "b"], "parts": [b"1", b"2"]}
    records = there_and_back(RecordDict({"m": MetricRecord(metrics), "c": ConfigRecord(config)}))
    assert dict(records.metric_records["m"]) == metrics
    assert dict(records.config_records["c"]) == config


def test_a_loss_that_is_no_number_comes_back() -> None:
    records = there_and_back(RecordDict({"m": MetricRecord({"loss": math.nan})}))
    loss = records.metric_records["m"]["loss"]
    assert isinstance(loss, float)
    assert math.isnan(loss)


def faulty(**changes: object) -> tuple[dict[str, Any], bytes]:
    content, blob = encode_records(RecordDict({"arrays": ArrayRecord(numpy_ndarrays=[np.zeros((2, 3))])}))
    assert blob is not None
    content["arrays"]["arrays"][0].update(changes)
    return content, b"".join(body for _, body in blob.pieces(1000))


@pytest.mark.parametrize(
    "changes",
    [{"shape": [3, 2]}, {"dtype": "float32"}, {"size_bytes": 10}, {"size_bytes": 10_000}, {"size_bytes": -1},
     {"key": 7}],
)  # fmt: skip
def test_a_description_that_does_not_fit_the_bytes_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(UndecodableMessageError):
        decode_records(*faulty(**changes))


@pytest.mark.parametrize("content", [{"x": 5}, {"x": {"arrays": 5}}, {"x": {"metrics": {"a": "text"}}}, {"x": {}}])
def test_what_is_no_record_is_refused(content: dict[str, Any]) -> None:
    with pytest.raises(UndecodableMessageError):
        decode_records(content, b"")


def test_a_pickle_is_refused() -> None:
    objects = np.array([{"a": 1}], dtype=object)
    with pytest.raises(ValueError, match="allow_pickle"):
        ArrayRecord(numpy_ndarrays=[objects])


def test_an_array_whose_header_promises_more_than_there_is_is_refused() -> None:
    content, data = faulty()
    lying = data.replace(b"(2, 3)", b"(9, 9)")
    content["arrays"]["arrays"][0]["shape"] = [9, 9]
    with pytest.raises(UndecodableMessageError):
        decode_records(content, lying)


@pytest.mark.parametrize("header", [b"{'descr': '<f4', 'shape': (1,", b"(((((", b"'''", b"L" * 50])
def test_an_array_whose_header_is_no_header_is_refused(header: bytes) -> None:
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    array = {"key": "0", "dtype": "float32", "shape": [1], "size_bytes": len(data)}
    with pytest.raises(UndecodableMessageError):
        decode_records({"arrays": {"arrays": [array]}}, data)
