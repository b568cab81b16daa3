"""How the learners of one project on one node divide the node's partitions among themselves. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Slice:
    """The examples ``start`` to ``stop`` (exclusive) of the partition with this index."""

    partition: int
    start: int
    stop: int


def slices_of_share(examples: Sequence[int], *, share: int, shares: int) -> list[Slice]:
    """The ``share``-th (from 0) of ``shares`` disjoint parts that together are all examples of all partitions.

    With at least as many partitions as shares each share gets whole partitions, dealt out in turn. With fewer, all
    examples in order are cut into ranges whose lengths differ by at most one, so a share is empty only when there are
    fewer examples than shares.

    Args:
        examples: how many examples each partition has.
        share: which part.
        shares: how many parts.
    """
    if not 0 <= share < shares:
        message = f"share {share} of {shares} does not exist"
        raise ValueError(message)
    if len(examples) >= shares:
        return [Slice(index, 0, examples[index]) for index in range(share, len(examples), shares) if examples[index]]
    total = sum(examples)
    return _cut(examples, total * share // shares, total * (share + 1) // shares)


def _cut(examples: Sequence[int], begin: int, end: int) -> list[Slice]:
    """The slices of the partitions that lie in ``begin`` to ``end`` of all examples in order."""
    offsets = accumulate(examples, initial=0)
    cuts = [
        Slice(index, max(begin - offset, 0), min(end - offset, count))
        for index, (offset, count) in enumerate(zip(offsets, examples, strict=False))
    ]
    return [cut for cut in cuts if cut.start < cut.stop]
