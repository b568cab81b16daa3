"""Datasets by name, as Arrow tables: ``digits`` is at hand, any other name is fetched from Hugging Face."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from flops.data.features import class_label, features_of, nested_list, with_features
from flops.data.nested_arrays import column_of
from flops.errors import DataUnavailableError, InvalidDataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

DIGITS: Final = "digits"
_SHORT_NAMES: Final = {"mnist": "ylecun/mnist", "cifar10": "uoft-cs/cifar10"}
_LABEL_COLUMNS: Final = ("label", "labels", "fine_label", "target", "class", "y")


def load_dataset(name: str, *, cache: Path, split: str = "train", subset: str | None = None) -> pa.Table:
    """The dataset as one table, with Hugging Face's features in the schema's metadata.

    Args:
        name: ``digits``, the name of a dataset on the Hugging Face hub, or the path of a local dataset.
        cache: where downloads are kept, for the next time.
        split: which split; ``digits`` has only ``train``.
        subset: which configuration of a dataset that has several.

    Raises:
        DataUnavailableError: no such dataset or split, or it cannot be reached.
    """
    if name != DIGITS:
        return _hugging_face(name, cache=cache, split=split, subset=subset)
    if split != "train" or subset is not None:
        raise DataUnavailableError(f"The dataset 'digits' has no {subset or ''} {split!r}, only the split 'train'.")
    return _digits()


def labels_of(table: pa.Table) -> NDArray[np.int64]:
    """The class of each example, as a number, from the table's label column.

    Raises:
        InvalidDataError: no column looks like labels.
    """
    features = features_of(table.schema)
    classes = [name for name in table.column_names if features.get(name, {}).get("_type") == "ClassLabel"]
    found = [name for name in _LABEL_COLUMNS if name in table.column_names] or classes
    if not found:
        message = f"The dataset has no label column, only {', '.join(table.column_names)}."
        raise InvalidDataError(message, remedy="Use the partitioner 'iid', which needs none.")
    encoded = table[found[0]].combine_chunks().dictionary_encode(null_encoding="encode")
    return np.asarray(encoded.indices.to_numpy(zero_copy_only=False), dtype=np.int64)


def _digits() -> pa.Table:
    """1,797 handwritten digits: ``image`` is 8 x 8 of uint8 from 0 to 16, ``label`` the digit.

    Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998; bundled with scikit-learn.
    """
    from sklearn.datasets import load_digits  # noqa: PLC0415  takes over a second

    bundled = load_digits()
    images = column_of(bundled.images.astype(np.uint8))
    table = pa.table({"image": images, "label": pa.array(bundled.target.astype(np.int64))})
    names = [str(name) for name in bundled.target_names]
    return with_features(table, {"image": nested_list("uint8", depth=2), "label": class_label(names)})


def _hugging_face(name: str, *, cache: Path, split: str, subset: str | None) -> pa.Table:
    os.environ.setdefault("HF_HOME", str(cache))
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    try:
        from datasets.exceptions import DatasetNotFoundError, DatasetsError  # noqa: PLC0415  takes two seconds
        from datasets.table import embed_table_storage  # noqa: PLC0415
    except ImportError as error:
        message = f"The dataset {name!r} needs flwr-datasets, which is not installed."
        raise DataUnavailableError(message, remedy="Install FLOps with the extra 'datasets'.") from error
    try:
        table = embed_table_storage(_fetch(_SHORT_NAMES.get(name, name), cache=cache, split=split, subset=subset))
    except DatasetNotFoundError as error:
        message = f"Hugging Face has no dataset {name!r} that anyone may read."
        raise DataUnavailableError(message, remedy="Check the name; it mostly is 'owner/name'.") from error
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        message = f"The dataset {name!r} cannot be fetched from Hugging Face: {_reason(error)}."
        remedy = "Check the name, the split and the connection to the internet; 'digits' needs none."
        raise DataUnavailableError(message, remedy=remedy) from error
    return with_features(table, features_of(table.schema))


def _reason(error: Exception) -> str:
    """The first line of an error, except where it hides that there is no connection.

    huggingface_hub 1.x closes its client after a failed connection and then fails for using a closed one.
    """
    if isinstance(error, RuntimeError) and "client has been closed" in str(error):
        return "it does not answer"
    return str(error).strip().partition("\n")[0].rstrip(".")


def _fetch(name: str, *, cache: Path, split: str, subset: str | None) -> pa.Table:
    """The split as ``datasets`` keeps it: a table that is mapped into memory."""
    import datasets  # noqa: PLC0415
    from flwr_datasets import FederatedDataset  # noqa: PLC0415

    datasets.disable_progress_bars()
    options: dict[str, Any] = {"cache_dir": str(cache)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of every dataset that its authors have not tried
        federated = FederatedDataset(dataset=name, subset=subset, partitioners={split: 1}, shuffle=False, **options)
        dataset = federated.load_split(split)
    metadata = dataset.features.arrow_schema.metadata
    return dataset.flatten_indices().data.table.replace_schema_metadata(metadata)
