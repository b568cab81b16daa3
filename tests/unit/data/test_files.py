from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flops.data.files import read_file
from flops.errors import InvalidDataError

if TYPE_CHECKING:
    from pathlib import Path


def test_parquet_comes_as_it_is(tmp_path: Path) -> None:
    table = pa.table({"x": [[1.0], [2.0]], "y": ["a", "b"]}).replace_schema_metadata({"huggingface": "{}"})
    pq.write_table(table, tmp_path / "data.parquet")

    read = read_file(tmp_path / "data.parquet")

    assert read.equals(table)
    assert read.schema.metadata[b"huggingface"] == b"{}"


def test_csv_columns_have_the_names_of_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "data.CSV"
    path.write_text("height,species\n1.5,a\n2.5,b\n")

    assert read_file(path).to_pydict() == {"height": [1.5, 2.5], "species": ["a", "b"]}


def test_npz_arrays_become_columns_with_nested_lists(tmp_path: Path) -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    np.savez(tmp_path / "data.npz", x=x, y=np.array([0, 1, 2]), name=np.array(["a", "b", "c"]))

    table = read_file(tmp_path / "data.npz")

    assert table.schema.field("x").type == pa.list_(pa.list_(pa.float32()))
    assert table.to_pydict() == {"x": x.tolist(), "y": [0, 1, 2], "name": ["a", "b", "c"]}


def test_half_precision_and_foreign_byte_order_become_what_arrow_has(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "data.npz", a=np.ones(2, dtype=np.float16), b=np.arange(2, dtype=">i4"))

    table = read_file(tmp_path / "data.npz")

    assert table.schema.types == [pa.float32(), pa.int32()]
    assert table.to_pydict() == {"a": [1.0, 1.0], "b": [0, 1]}


def _npz(path: Path, **arrays: object) -> Path:
    np.savez(path / "data.npz", **arrays)  # type: ignore[arg-type]  # on purpose
    return path / "data.npz"


def test_npz_arrays_of_different_length_are_named(tmp_path: Path) -> None:
    path = _npz(tmp_path, x=np.zeros((3, 2)), y=np.zeros(4))

    with pytest.raises(InvalidDataError, match=r"data\.npz have different first dimensions: x has 3, y has 4"):
        read_file(path)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.array([{"a": 1}], dtype=object), "holds Python objects"),
        (np.array(1.0), "is a single value"),
        (np.zeros(2, dtype=np.complex64), "has the dtype complex64"),
        (np.zeros(2, dtype=[("a", "i4")]), "has the dtype"),
    ],
)
def test_npz_arrays_that_cannot_be_columns_are_named(tmp_path: Path, array: object, reason: str) -> None:
    with pytest.raises(InvalidDataError, match=f"array 'bad' in .*data.npz {reason}|'bad' in .*: it {reason}"):
        read_file(_npz(tmp_path, bad=array))


def test_a_faulty_csv_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a,b\n1,2\n3\n")

    with pytest.raises(InvalidDataError, match=r"data\.csv cannot be read: .*Row #3: Expected 2 columns, got 1"):
        read_file(path)


def test_a_column_name_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a,a\n1,2\n")

    with pytest.raises(InvalidDataError, match="several columns named 'a'"):
        read_file(path)


@pytest.mark.parametrize("name", ["data.parquet", "data.npz", "data.csv"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe no such thing \x00", b"PK\x03\x04 broken"])
def test_a_broken_file_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(InvalidDataError, match=name):
        read_file(tmp_path / name)


def test_a_bare_npy_array_under_the_name_of_an_npz_is_explained(tmp_path: Path) -> None:
    with (tmp_path / "data.npz").open("wb") as file:
        np.save(file, np.zeros(3))

    with pytest.raises(InvalidDataError, match=r"one bare array.*numpy\.savez"):
        read_file(tmp_path / "data.npz")


@pytest.mark.parametrize("name", ["missing.csv", "missing.parquet", "missing.npz"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidDataError, match=f"There is no file .*{name}"):
        read_file(tmp_path / name)


def test_another_kind_of_file_is_refused_with_the_known_kinds(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataError, match=r"\.parquet, \.csv, \.npz"):
        read_file(tmp_path / "data.xlsx")


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a,b\n")

    with pytest.raises(InvalidDataError, match="has no examples"):
        read_file(tmp_path / "data.csv")


def test_a_header_that_is_not_utf_8_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes("größe,art\n1,2\n".encode("latin-1"))

    with pytest.raises(InvalidDataError, match="is not UTF-8"):
        read_file(path)


def test_many_columns_are_checked_at_once(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text(",".join([*(f"c{index}" for index in range(20_000)), "c0"]) + "\n" + ",".join("1" * 20_001) + "\n")

    with pytest.raises(InvalidDataError, match="several columns named 'c0'"):
        read_file(path)


def test_no_control_character_of_a_file_reaches_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a,b\n1,2\n\x1b[31mred\n")

    with pytest.raises(InvalidDataError) as caught:
        read_file(path)

    assert "\x1b" not in str(caught.value)
    assert "\\x1b[31mred" in str(caught.value)
