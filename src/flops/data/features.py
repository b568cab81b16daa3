"""Hugging Face's description of columns, which travels in an Arrow schema's metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flops.data.stored_table import HF_METADATA
from flops.errors import UndecodableMessageError
from flops.wire.json_text import decode_json, encode_json

if TYPE_CHECKING:
    import pyarrow as pa


def features_of(schema: pa.Schema) -> dict[str, Any]:
    """The features by column, or nothing where a schema has none that can be read."""
    try:
        described = decode_json("features", (schema.metadata or {}).get(HF_METADATA, b"{}"))
    except UndecodableMessageError:
        return {}
    info = described.get("info") if isinstance(described, dict) else None
    features = info.get("features") if isinstance(info, dict) else None
    return features if isinstance(features, dict) else {}


def with_features(table: pa.Table, features: dict[str, Any]) -> pa.Table:
    """The table with these features, written so that ``datasets`` before version 4 reads them, too.

    Version 4 calls a list ``List``, the versions before call it ``Sequence``; version 4 reads both.
    """
    described = encode_json({"info": {"features": _before_version_4(features)}})
    return table.replace_schema_metadata({**(table.schema.metadata or {}), HF_METADATA: described})


def class_label(names: list[str]) -> dict[str, Any]:
    """The feature of a column of class numbers."""
    return {"names": names, "_type": "ClassLabel"}


def nested_list(dtype: str, depth: int) -> dict[str, Any]:
    """The feature of a column of lists, nested ``depth`` times."""
    feature: dict[str, Any] = {"dtype": dtype, "_type": "Value"}
    for _ in range(depth):
        feature = {"feature": feature, "length": -1, "_type": "Sequence"}
    return feature


def _before_version_4(feature: Any) -> Any:  # noqa: ANN401  any JSON
    if isinstance(feature, list):
        return [_before_version_4(item) for item in feature]
    if not isinstance(feature, dict):
        return feature
    if feature.get("_type") == "List":
        length = feature.get("length", -1)
        return {"feature": _before_version_4(feature["feature"]), "length": length, "_type": "Sequence"}
    return {key: _before_version_4(value) for key, value in feature.items()}
