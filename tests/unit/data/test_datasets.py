from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_digits

from flops.data.datasets import labels_of, load_dataset
from flops.data.features import class_label, features_of, with_features
from flops.errors import DataUnavailableError, InvalidDataError

if TYPE_CHECKING:
    from pathlib import Path


def test_digits_are_scikit_learns(tmp_path: Path) -> None:
    bundled = load_digits()

    table = load_dataset("digits", cache=tmp_path)

    assert table.column_names == ["image", "label"]
    assert np.array_equal(np.array(table["image"].to_pylist()), bundled.images)
    assert np.array_equal(table["label"].to_numpy(), bundled.target)
    assert table.schema.types == [pa.list_(pa.list_(pa.uint8())), pa.int64()]
    assert features_of(table.schema)["label"] == class_label([str(digit) for digit in range(10)])
    assert list(tmp_path.iterdir()) == []


def test_digits_have_one_split(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailableError, match="only the split 'train'"):
        load_dataset("digits", cache=tmp_path, split="test")


def test_labels_become_numbers_by_class() -> None:
    assert labels_of(pa.table({"x": [1, 2, 3], "label": ["cat", "dog", "cat"]})).tolist() == [0, 1, 0]
    assert labels_of(pa.table({"y": [5, None, 5]})).tolist() == [0, 1, 0]


def test_labels_are_found_by_their_feature() -> None:
    table = with_features(pa.table({"x": [1, 2], "kind": [7, 9]}), {"kind": class_label(["a", "b"])})

    assert labels_of(table).tolist() == [0, 1]


def test_without_labels_the_error_says_what_columns_there_are() -> None:
    with pytest.raises(InvalidDataError, match="no label column, only height, weight"):
        labels_of(pa.table({"height": [1], "weight": [2]}))


def test_features_are_written_as_datasets_before_version_4_reads_them() -> None:
    value = {"dtype": "uint8", "_type": "Value"}
    features = {"x": {"feature": {"feature": value, "_type": "List"}, "length": 3, "_type": "List"}}

    table = with_features(pa.table({"x": [[[1]]]}), features)

    inner = {"feature": value, "length": -1, "_type": "Sequence"}
    described = json.loads(table.schema.metadata[b"huggingface"])
    assert described == {"info": {"features": {"x": {"feature": inner, "length": 3, "_type": "Sequence"}}}}


@pytest.mark.parametrize(
    "metadata", [None, {"huggingface": "no json"}, {"huggingface": "[]"}, {"huggingface": '{"info": 1}'}]
)
def test_features_that_cannot_be_read_are_none(metadata: dict[str, str] | None) -> None:
    assert features_of(pa.schema([("x", pa.int64())], metadata=metadata)) == {}
