"""Column types that every reader knows: model processes may have an old pyarrow or an old ``datasets``."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.types as kinds


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """The same columns without dictionaries, run-length encoding and views; metadata are kept."""
    return pa.schema([_plain_field(field) for field in schema], metadata=schema.metadata)


def _plain_field(field: pa.Field) -> pa.Field:
    return field.with_type(_plain(field.type))


def _plain(kind: pa.DataType) -> pa.DataType:
    if kinds.is_dictionary(kind) or kinds.is_run_end_encoded(kind):
        return _plain(kind.value_type)
    if kinds.is_string_view(kind):
        return pa.string()
    if kinds.is_binary_view(kind):
        return pa.binary()
    if kinds.is_list(kind) or kinds.is_list_view(kind):
        return pa.list_(_plain_field(kind.value_field))
    if kinds.is_large_list(kind) or kinds.is_large_list_view(kind):
        return pa.large_list(_plain_field(kind.value_field))
    if kinds.is_fixed_size_list(kind):
        return pa.list_(_plain_field(kind.value_field), kind.list_size)
    if kinds.is_struct(kind):
        return pa.struct([_plain_field(field) for field in kind])
    return kind
