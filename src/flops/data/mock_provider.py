"""Spreads partitions of a dataset over learner nodes, as if the data had come into being there."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from flops.data.datasets import labels_of
from flops.data.partitioners import dirichlet, iid
from flops.errors import FlopsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa

    from flops.data.partitioners import Indices
    from flops.ports import TrainingData
    from flops.wire.sla import MockDataConfiguration

MOCK_PREFIX: Final = "mock-"


def divide(table: pa.Table, order: MockDataConfiguration) -> list[pa.Table]:
    """The partitions that the order asks for.

    Raises:
        InvalidDataError: there are too few examples, or the partitioner needs labels and there are none.
    """
    return [table.take(indices) for indices in _indices(table, order)]


def spread(
    partitions: list[pa.Table], nodes: Mapping[str, TrainingData], *, tag: str, request: str
) -> dict[str, list[str]]:
    """Deal the partitions out to the nodes in turn; returns the partitions' names by node.

    Mock data that an earlier request put under the tag on these nodes is replaced; other data is left alone. If
    anything goes wrong, what this request has put is removed again.

    Raises:
        DataUnavailableError: a data server does not answer or has no space.
        InvalidDataError: tag or table is refused.
    """
    names = [f"{MOCK_PREFIX}{request}-{index:05d}" for index in range(len(partitions))]
    placed: dict[str, list[str]] = {node: [] for node in nodes}
    with _undone_on_error(nodes, placed, tag):
        for index, (name, partition) in enumerate(zip(names, partitions, strict=True)):
            node = list(nodes)[index % len(nodes)]
            placed[node].append(name)
            nodes[node].put(tag, name, partition)
    for node, data in nodes.items():
        for stored in data.partitions([tag]):
            if stored.name.startswith(MOCK_PREFIX) and stored.name not in placed[node]:
                data.delete(tag, stored.name)
    return {node: put for node, put in placed.items() if put}


def _indices(table: pa.Table, order: MockDataConfiguration) -> list[Indices]:
    if order.partitioner == "dirichlet":
        return dirichlet(labels_of(table), order.number_of_partitions, alpha=order.alpha, seed=order.seed)
    return iid(table.num_rows, order.number_of_partitions, seed=order.seed)


@contextlib.contextmanager
def _undone_on_error(nodes: Mapping[str, TrainingData], placed: dict[str, list[str]], tag: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for node, names in placed.items():
            for name in names:
                with contextlib.suppress(FlopsError):
                    nodes[node].delete(tag, name)
        raise
