"""A user's own file as a table: Parquet, CSV, or NumPy's npz."""

from __future__ import annotations

import zipfile
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from flops.data.nested_arrays import column_of
from flops.errors import InvalidDataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

_STORABLE_KINDS: Final = "biufUSMm"


def read_file(path: Path) -> pa.Table:
    """The content of a ``.parquet``, ``.csv`` or ``.npz`` file.

    A CSV file begins with a line of column names. The arrays of an npz file become columns of their names: all need
    the same first dimension, further ones become nested lists.

    Raises:
        InvalidDataError: names the file, the line or array, and why.
    """
    read = _READERS.get(path.suffix.lower())
    if read is None:
        kinds = ", ".join(_READERS)
        raise InvalidDataError(f"{path} is of no known kind.", remedy=f"Use a file that ends with {kinds}.")
    try:
        table = read(path)
        names: list[str] = table.column_names
    except FileNotFoundError as error:
        raise InvalidDataError(f"There is no file {path}.") from error
    except UnicodeDecodeError as error:
        remedy = "Save it as UTF-8, with 'iconv -f LATIN1 -t UTF-8' for instance."
        raise InvalidDataError(f"{path} cannot be read: it is not UTF-8.", remedy=remedy) from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, pa.ArrowException) as error:
        raise InvalidDataError(f"{path} cannot be read: {_reason(error)}.") from error
    if not table.num_rows or not table.num_columns:
        raise InvalidDataError(f"{path} has no examples.", remedy="Give at least one row and one column.")
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise InvalidDataError(f"{path} has several columns named {twice[0]!r}.", remedy="Rename all but one.")
    return table


def _reason(error: Exception) -> str:
    """The first line of what a library says, which may quote any byte of the file, fit for a terminal."""
    line = str(error).partition("\n")[0].rstrip(".")
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in line)


def _read_parquet(path: Path) -> pa.Table:
    return pq.ParquetFile(path).read()


def _read_csv(path: Path) -> pa.Table:
    options = pa.csv.ReadOptions(use_threads=False)  # only then does an error say in which row it is
    return pa.csv.read_csv(path, read_options=options)


def _read_npz(path: Path) -> pa.Table:
    columns: dict[str, pa.ChunkedArray] = {}
    rows: dict[str, int] = {}
    with path.open("rb") as file:  # numpy leaves a broken file open
        arrays = np.load(file, allow_pickle=False)
        if not isinstance(arrays, np.lib.npyio.NpzFile):
            raise InvalidDataError(f"{path} holds one bare array.", remedy="Write it with numpy.savez(FILE, x=…, y=…).")
        for name in arrays.files:
            array = _array(path, arrays, name)
            columns[name], rows[name] = column_of(array), len(array)
    if len(set(rows.values())) > 1:
        lengths = ", ".join(f"{name} has {count:,}" for name, count in rows.items())
        remedy = "Every array needs one entry per example."
        raise InvalidDataError(f"The arrays in {path} have different first dimensions: {lengths}.", remedy=remedy)
    return pa.table(columns)


def _array(path: Path, arrays: np.lib.npyio.NpzFile, name: str) -> NDArray[Any]:
    """One array, in a dtype that Arrow has.

    Raises:
        InvalidDataError: it cannot become a column.
    """
    try:
        array: NDArray[Any] = arrays[name]
    except ValueError as error:
        reason = "it holds Python objects" if "allow_pickle" in str(error) else _reason(error)
        raise InvalidDataError(f"The array {name!r} in {path} cannot be read: {reason}.") from error
    if array.ndim == 0:
        raise InvalidDataError(f"The array {name!r} in {path} is a single value, not one per example.")
    if array.dtype.kind not in _STORABLE_KINDS:
        remedy = "Use booleans, integers, floats, text, bytes, dates or durations."
        raise InvalidDataError(f"The array {name!r} in {path} has the dtype {array.dtype}.", remedy=remedy)
    if array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8):
        array = array.astype(np.float32 if array.dtype.itemsize < np.float32().itemsize else np.float64)
    return array.astype(array.dtype.newbyteorder("="))


_READERS: Final[dict[str, Callable[[Path], pa.Table]]] = {
    ".parquet": _read_parquet,
    ".csv": _read_csv,
    ".npz": _read_npz,
}
