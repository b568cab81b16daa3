"""How one dataset is divided into partitions: seeded, disjoint, complete, and none of them empty.

flwr-datasets has partitioners of these names, but they need the ``datasets`` library for every table and give up on
small ones (its Dirichlet partitioner redraws a few times until a minimum size is met, then raises).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from flops.errors import InvalidDataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Indices = NDArray[np.int64]


def iid(examples: int, partitions: int, *, seed: int) -> list[Indices]:
    """Shuffle the indices of all examples and cut them into parts whose sizes differ by at most one.

    Raises:
        InvalidDataError: there are fewer examples than partitions.
    """
    _check_counts(examples, partitions)
    return list(np.array_split(np.random.default_rng(seed).permutation(examples), partitions))


def dirichlet(labels: NDArray[Any], partitions: int, *, alpha: float, seed: int) -> list[Indices]:
    """Divide each class over the partitions in proportions drawn from a symmetric Dirichlet distribution.

    A small ``alpha`` gives partitions dominated by few classes, a large one approaches IID. Partitions that the draw
    leaves empty get one example of the then largest partition. Method: Hsu, Qi, Brown, "Measuring the effects of
    non-identical data distribution for federated visual classification", 2019.

    Args:
        labels: one class per example, of any sortable dtype.
        partitions: how many parts.
        alpha: concentration, above zero.
        seed: the same seed gives the same partitions.

    Raises:
        InvalidDataError: there are fewer examples than partitions, or alpha is not above zero.
    """
    _check_counts(len(labels), partitions)
    if not 0 < alpha < np.inf:
        message = f"The Dirichlet partitioner has alpha {alpha:g}, but a finite number above zero is needed."
        raise InvalidDataError(message, remedy="0.1 gives very different partitions, 100 nearly equal ones.")
    generator = np.random.default_rng(seed)
    owners = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        shares = generator.dirichlet(np.full(partitions, alpha))
        cuts = np.rint(np.cumsum(np.nan_to_num(shares))[:-1] * len(members)).astype(np.int64)
        for owner, part in enumerate(np.split(members, cuts)):
            owners[part] = owner
    _fill_empty(owners, partitions)
    return [generator.permutation(np.flatnonzero(owners == owner)) for owner in range(partitions)]


def _fill_empty(owners: Indices, partitions: int) -> None:
    """Give every partition without examples one from the largest, in place."""
    sizes = np.bincount(owners, minlength=partitions)
    for empty in np.flatnonzero(sizes == 0):
        largest = int(np.argmax(sizes))
        owners[np.flatnonzero(owners == largest)[0]] = empty
        sizes[largest] -= 1
        sizes[empty] += 1


def _check_counts(examples: int, partitions: int) -> None:
    if not 1 <= partitions <= examples:
        message = f"{examples:,} examples cannot be divided into {partitions:,} non-empty partitions."
        raise InvalidDataError(message, remedy="Ask for at least one partition and at most one per example.")
