"""What every ``TrainingData`` does, shown on the real Arrow Flight server."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from flops.adapters.flight import connect
from flops.data.catalogue import Catalogue
from flops.data.server import DataServer, write_address
from flops.errors import DataUnavailableError, InvalidDataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flops.ports import TrainingData


@pytest.fixture
def training_data(tmp_path: Path) -> Iterator[TrainingData]:
    with DataServer(Catalogue(tmp_path / "data"), on_change=lambda: None) as server:
        write_address(server.address, tmp_path)
        yield connect(tmp_path)


def _numbers(start: int, stop: int) -> pa.Table:
    return pa.table({"x": list(range(start, stop))})


def _values(table: pa.Table) -> list[int]:
    values: list[int] = table["x"].to_pylist()
    return values


def test_what_was_put_is_listed_and_fetched(training_data: TrainingData) -> None:
    stored = training_data.put("digits", "p0", _numbers(0, 10))

    assert (stored.tag, stored.name, stored.examples) == ("digits", "p0", 10)
    assert stored.size_bytes > 0
    assert training_data.partitions() == [stored]
    assert training_data.fetch(["digits"], share=0, shares=1).equals(_numbers(0, 10))


def test_the_list_is_sorted_and_filtered_by_tag(training_data: TrainingData) -> None:
    for tag, name in [("b", "1"), ("a", "2"), ("a", "1"), ("c", "0")]:
        training_data.put(tag, name, _numbers(0, 1))

    def listed(tags: list[str] | None) -> list[tuple[str, str]]:
        return [(partition.tag, partition.name) for partition in training_data.partitions(tags)]

    assert listed(None) == [("a", "1"), ("a", "2"), ("b", "1"), ("c", "0")]
    assert listed(["c", "a"]) == [("a", "1"), ("a", "2"), ("c", "0")]
    assert listed(["unknown"]) == []
    assert listed([]) == []


def test_putting_the_same_name_replaces(training_data: TrainingData) -> None:
    training_data.put("t", "p", _numbers(0, 10))
    training_data.put("t", "p", _numbers(5, 7))

    assert _values(training_data.fetch(["t"], share=0, shares=1)) == [5, 6]
    assert len(training_data.partitions()) == 1


@pytest.mark.parametrize("partitions", [1, 2, 5])
@pytest.mark.parametrize("shares", [1, 2, 3, 4])
def test_shares_are_disjoint_and_complete(training_data: TrainingData, partitions: int, shares: int) -> None:
    for index in range(partitions):
        training_data.put("t", f"p{index}", _numbers(index * 100, index * 100 + 50 + index))

    fetched = [_values(training_data.fetch(["t"], share=share, shares=shares)) for share in range(shares)]

    assert sorted(value for share in fetched for value in share) == sorted(
        _values(training_data.fetch(["t"], share=0, shares=1))
    )
    assert all(fetched)
    assert sum(map(len, fetched)) == len({value for share in fetched for value in share})


def test_a_tag_that_is_asked_for_twice_counts_once(training_data: TrainingData) -> None:
    training_data.put("t", "p", _numbers(0, 3))

    assert _values(training_data.fetch(["t", "t"], share=0, shares=1)) == [0, 1, 2]


def test_data_of_several_tags_are_joined(training_data: TrainingData) -> None:
    training_data.put("a", "p", _numbers(0, 3))
    training_data.put("b", "p", _numbers(3, 5))

    assert _values(training_data.fetch(["b", "a", "unknown"], share=0, shares=1)) == [0, 1, 2, 3, 4]


def test_fetching_what_is_not_there_says_so(training_data: TrainingData) -> None:
    with pytest.raises(DataUnavailableError, match="no data under the tags 'unknown'"):
        training_data.fetch(["unknown"], share=0, shares=1)


def test_fetching_parts_with_different_columns_names_them(training_data: TrainingData) -> None:
    training_data.put("t", "p0", pa.table({"x": [1]}))
    training_data.put("t", "p1", pa.table({"x": ["1"]}))

    with pytest.raises(DataUnavailableError, match=r"t/p0 and t/p1 have different columns: x \(int64\).*x \(string\)"):
        training_data.fetch(["t"], share=0, shares=1)


def test_fewer_examples_than_learners_is_an_error_for_those_that_would_get_none(training_data: TrainingData) -> None:
    training_data.put("t", "p", _numbers(0, 2))

    with pytest.raises(DataUnavailableError, match="too few examples"):
        training_data.fetch(["t"], share=0, shares=3)


@pytest.mark.parametrize("bad", ["", "..", "../../etc", "a/b", ".x", "a\0b", "x" * 65])
def test_names_that_could_leave_the_directory_are_refused(
    training_data: TrainingData, bad: str, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))

    with pytest.raises(InvalidDataError, match="data tag"):
        training_data.put(bad, "p", _numbers(0, 1))
    with pytest.raises(InvalidDataError, match="partition name"):
        training_data.put("t", bad, _numbers(0, 1))
    with pytest.raises(InvalidDataError, match="data tag"):
        training_data.fetch([bad], share=0, shares=1)
    with pytest.raises(InvalidDataError, match="data tag"):
        training_data.partitions([bad])
    with pytest.raises(InvalidDataError, match="data tag"):
        training_data.delete(bad)
    with pytest.raises(InvalidDataError, match="partition name"):
        training_data.delete("t", bad)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "table", [pa.table({"x": pa.array([], pa.int64())}), pa.table({})], ids=["no-rows", "no-columns"]
)
def test_an_empty_table_is_refused(training_data: TrainingData, table: pa.Table) -> None:
    with pytest.raises(InvalidDataError, match="is empty"):
        training_data.put("t", "p", table)
    assert training_data.partitions() == []


def test_a_table_that_cannot_be_stored_leaves_the_old_content(training_data: TrainingData) -> None:
    training_data.put("t", "p", _numbers(0, 3))
    unstorable = pa.table({"x": pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])})

    with pytest.raises(InvalidDataError, match="cannot be stored as Parquet"):
        training_data.put("t", "p", unstorable)
    assert _values(training_data.fetch(["t"], share=0, shares=1)) == [0, 1, 2]


def test_delete_removes_one_partition_or_a_tag_and_is_idempotent(training_data: TrainingData) -> None:
    for name in ("p0", "p1", "p2"):
        training_data.put("t", name, _numbers(0, 1))

    assert training_data.delete("t", "p1") == 1
    assert training_data.delete("t", "p1") == 0
    assert [partition.name for partition in training_data.partitions()] == ["p0", "p2"]
    assert training_data.delete("t") == 2
    assert training_data.delete("t") == 0
    assert training_data.partitions() == []


def test_types_and_schema_metadata_survive(training_data: TrainingData) -> None:
    schema = pa.schema(
        [
            pa.field("image", pa.list_(pa.list_(pa.uint8()))),
            pa.field("photo", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            pa.field("label", pa.int64(), metadata={"unit": "class"}),
            pa.field("text", pa.string()),
            pa.field("vector", pa.list_(pa.float32(), 2)),
        ],
        metadata={"huggingface": '{"info": {"features": {}}}', "other": "kept"},
    )
    row = {"image": [[1, 2]], "photo": {"bytes": b"x", "path": None}, "label": 3, "text": "a", "vector": [1.0, 2.0]}
    table = pa.Table.from_pylist([row, row], schema=schema)

    training_data.put("t", "p", table)
    fetched = training_data.fetch(["t"], share=1, shares=2)

    assert fetched.to_pylist() == [row]
    assert fetched.schema.metadata == schema.metadata
    assert fetched.schema.equals(schema)


def test_a_large_partition_arrives_whole_and_in_order(training_data: TrainingData) -> None:
    values = np.random.default_rng(0).random((60_000, 64), dtype=np.float32)
    rows = pa.FixedSizeListArray.from_arrays(values.reshape(-1), 64)
    training_data.put("t", "p", pa.table({"x": rows}))

    parts = [training_data.fetch(["t"], share=share, shares=3)["x"] for share in range(3)]

    fetched = np.concatenate([chunk.flatten().to_numpy() for part in parts for chunk in part.chunks])
    assert np.array_equal(fetched.reshape(-1, 64), values)


def test_a_reader_sees_the_old_content_or_the_new_but_nothing_between(training_data: TrainingData) -> None:
    """Each version holds one value only; a mixture or a wrong length would show."""
    rows = 20_000
    training_data.put("t", "p", pa.table({"x": [0] * rows}))
    finished = threading.Event()
    seen: list[tuple[set[int], int]] = []

    def read() -> None:
        while not finished.is_set():
            column = training_data.fetch(["t"], share=0, shares=1)["x"]
            seen.append((set(column.to_pylist()), len(column)))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for version in range(1, 20):
        training_data.put("t", "p", pa.table({"x": [version] * rows}))
    finished.set()
    for reader in readers:
        reader.join()

    assert len(seen) >= 3
    assert all(len(values) == 1 and count == rows for values, count in seen)


def test_concurrent_puts_under_one_tag_are_all_kept(training_data: TrainingData) -> None:
    def put(index: int) -> None:
        training_data.put("t", f"p{index}", _numbers(index, index + 1))

    writers = [threading.Thread(target=put, args=(index,)) for index in range(12)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert sorted(_values(training_data.fetch(["t"], share=0, shares=1))) == list(range(12))


def test_a_damaged_partition_is_an_error_for_its_reader_and_no_other(
    training_data: TrainingData, tmp_path: Path
) -> None:
    training_data.put("bad", "p", _numbers(0, 100_000))
    training_data.put("good", "p", _numbers(0, 10))
    path = tmp_path / "data" / "bad" / "p.parquet"
    content = bytearray(path.read_bytes())
    content[200:260] = bytes(60)
    path.write_bytes(content)

    with pytest.raises(DataUnavailableError, match="stored partition is damaged"):
        training_data.fetch(["bad"], share=0, shares=1)
    assert training_data.fetch(["good"], share=0, shares=1).num_rows == 10


def test_a_half_written_file_is_skipped_and_breaks_nobody(training_data: TrainingData, tmp_path: Path) -> None:
    training_data.put("t", "p", _numbers(0, 10))
    (tmp_path / "data" / "t" / "half.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "data" / "t" / ".p.1.unfinished").write_bytes(b"PAR1")

    assert [partition.name for partition in training_data.partitions()] == ["p"]
    assert training_data.fetch(["t"], share=0, shares=1).num_rows == 10


def test_columns_come_back_in_types_that_every_reader_knows(training_data: TrainingData) -> None:
    schema = pa.schema(
        [
            ("category", pa.dictionary(pa.int8(), pa.string())),
            ("view", pa.string_view()),
            ("categories", pa.list_(pa.dictionary(pa.int32(), pa.string()))),
            ("struct", pa.struct([("kind", pa.dictionary(pa.int32(), pa.string()))])),
        ]
    )
    row = {"category": "a", "view": "b", "categories": ["c", "d"], "struct": {"kind": "e"}}
    training_data.put("t", "p", pa.Table.from_pylist([row], schema=schema))

    fetched = training_data.fetch(["t"], share=0, shares=1)

    assert fetched.to_pylist() == [row]
    assert fetched.schema.types == [
        pa.string(),
        pa.string(),
        pa.list_(pa.string()),
        pa.struct([("kind", pa.string())]),
    ]
