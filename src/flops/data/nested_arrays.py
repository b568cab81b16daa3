"""NumPy arrays as Arrow columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAX_CHUNK_VALUES: Final = 2**30


def column_of(array: NDArray[Any]) -> pa.ChunkedArray:
    """A column with one value per entry of the first axis; further axes become nested lists.

    Lists of variable length are what every version of ``datasets`` and of Parquet readers handles. Chunks keep the
    lists' 32-bit offsets from overflowing.
    """
    values_per_row = max(1, int(np.prod(array.shape[1:])))
    rows = max(1, _MAX_CHUNK_VALUES // values_per_row)
    return pa.chunked_array([_nested(array[start : start + rows]) for start in range(0, len(array), rows)])


def _nested(array: NDArray[Any]) -> pa.Array:
    column = pa.array(np.ascontiguousarray(array).reshape(-1))
    for axis in range(array.ndim - 1, 0, -1):
        length, lists = array.shape[axis], int(np.prod(array.shape[:axis]))
        offsets = np.arange(lists + 1, dtype=np.int32) * length
        column = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), column)
    return column
