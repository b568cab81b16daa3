"""Datasets by name through flwr-datasets, on small local ones, and their way to the ML repository's interpreter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from flops.adapters.flight import connect
from flops.data.catalogue import Catalogue
from flops.data.datasets import labels_of, load_dataset
from flops.data.server import DataServer, write_address
from flops.errors import DataUnavailableError
from flops.learning.arrow_file import write_arrow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa

datasets = pytest.importorskip("datasets", reason="the extra 'datasets' is not installed")
images = pytest.importorskip("PIL.Image", reason="Pillow is not installed")


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """An image folder: splits train and test, classes cat and dog, each image one colour."""
    folder = tmp_path / "photos"
    for split, count in (("train", 4), ("test", 2)):
        for index in range(count):
            target = folder / split / ("cat", "dog")[index % 2] / f"{index}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            images.new("RGB", (3, 2), color=(index * 10, 0, 0)).save(target)
    return folder


@pytest.fixture
def node_directory(tmp_path: Path) -> Iterator[Path]:
    with DataServer(Catalogue(tmp_path / "data"), on_change=lambda: None) as server:
        write_address(server.address, tmp_path)
        yield tmp_path


def _from_node(node_directory: Path, table: pa.Table) -> Any:  # noqa: ANN401  a datasets.Dataset
    """The table after its whole way: put, stored, fetched, handed over, mapped into memory."""
    training_data = connect(node_directory)
    training_data.put("t", "p", table)
    path = node_directory / "data.arrow"
    write_arrow(training_data.fetch(["t"], share=0, shares=1), path)
    return datasets.Dataset.from_file(str(path))


@pytest.mark.parametrize(("split", "count"), [("train", 4), ("test", 2)])
def test_an_image_folder_arrives_as_images_with_class_names(
    photos: Path, node_directory: Path, split: str, count: int
) -> None:
    table = load_dataset(str(photos), cache=node_directory / "cache", split=split)
    for file in photos.rglob("*.png"):
        file.unlink()

    dataset = _from_node(node_directory, table)

    assert len(dataset) == count
    assert dataset.features == datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    )
    colours = {(np.array(example["image"])[0, 0, 0] // 10, example["label"]) for example in dataset}
    assert colours == {(index, index % 2) for index in range(count)}
    assert sorted(labels_of(table).tolist()) == sorted(index % 2 for index in range(count))


def test_a_parquet_dataset_with_an_array_feature_keeps_it(tmp_path: Path, node_directory: Path) -> None:
    features = datasets.Features({"x": datasets.Array2D((2, 3), "float32"), "y": datasets.Value("int64")})
    source = datasets.Dataset.from_dict({"x": np.arange(24).reshape(4, 2, 3).tolist(), "y": range(4)}, features)
    (tmp_path / "arrays").mkdir()
    source.to_parquet(str(tmp_path / "arrays" / "train.parquet"))

    dataset = _from_node(node_directory, load_dataset(str(tmp_path / "arrays"), cache=tmp_path / "cache"))

    assert dataset.with_format("numpy")["x"][:].shape == (4, 2, 3)
    assert dataset["y"][:] == [0, 1, 2, 3]


def test_digits_arrive_as_arrays_with_class_names(node_directory: Path) -> None:
    dataset = _from_node(node_directory, load_dataset("digits", cache=node_directory / "cache"))

    assert dataset.with_format("numpy")["image"][:].shape == (1797, 8, 8)
    assert dataset.features["label"].int2str(3) == "3"
    assert dataset.cache_files == [{"filename": str(node_directory / "data.arrow")}]


def test_an_unknown_split_is_named(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataUnavailableError, match=r"split.*validation.*train.*test"):
        load_dataset(str(photos), cache=tmp_path / "cache", split="validation")


def test_a_dataset_that_cannot_be_fetched_is_named_with_what_to_try(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailableError, match=r"'nobody/nothing'.*Check the name") as caught:
        load_dataset("nobody/nothing", cache=tmp_path / "cache")

    assert "\n" not in str(caught.value)
