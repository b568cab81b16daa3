"""What FLOps offers to the code of ML repositories."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datasets


def load_dataset() -> datasets.Dataset:
    """This learner's training data, memory-mapped from the disk of its node.

    Raises:
        RuntimeError: there are no data here, for instance because this is the aggregator.
    """
    path = os.environ.get("FLOPS_MODEL_DATA", "")
    if not os.path.isfile(path):
        message = (
            "there are no training data here: load_dataset() gives them on learners only; the aggregator has none. "
            "Call it from set_model_data() or the DataManager, not while ModelManager is created"
        )
        raise RuntimeError(message)
    import datasets  # noqa: PLC0415 -- takes a second, and the aggregator does without

    return datasets.Dataset.from_file(path)
