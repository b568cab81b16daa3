from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flops.data.shares import Slice, slices_of_share

PARTITIONS = st.lists(st.integers(1, 50), min_size=1, max_size=8)
SHARES = st.integers(1, 12)


def _rows(slices: list[Slice]) -> list[tuple[int, int]]:
    return [(part.partition, row) for part in slices for row in range(part.start, part.stop)]


@given(PARTITIONS, SHARES)
def test_all_shares_together_are_every_example_exactly_once(examples: list[int], shares: int) -> None:
    dealt = Counter(
        row for share in range(shares) for row in _rows(slices_of_share(examples, share=share, shares=shares))
    )

    assert dealt == Counter((index, row) for index, count in enumerate(examples) for row in range(count))


@given(PARTITIONS, SHARES)
def test_shares_are_whole_partitions_when_there_are_enough_and_even_otherwise(examples: list[int], shares: int) -> None:
    parts = [slices_of_share(examples, share=share, shares=shares) for share in range(shares)]

    if len(examples) >= shares:
        assert all(part.start == 0 and part.stop == examples[part.partition] for share in parts for part in share)
        counts = [len(share) for share in parts]
    else:
        counts = [len(_rows(share)) for share in parts]
    assert max(counts) - min(counts) <= 1


def test_partitions_are_dealt_out_in_turn() -> None:
    assert slices_of_share([5, 6, 7], share=0, shares=2) == [Slice(0, 0, 5), Slice(2, 0, 7)]
    assert slices_of_share([5, 6, 7], share=1, shares=2) == [Slice(1, 0, 6)]


def test_one_partition_is_cut_by_rows() -> None:
    assert [slices_of_share([10], share=share, shares=3) for share in range(3)] == [
        [Slice(0, 0, 3)],
        [Slice(0, 3, 6)],
        [Slice(0, 6, 10)],
    ]


@pytest.mark.parametrize(("share", "shares"), [(-1, 2), (2, 2), (0, 0)])
def test_a_share_that_does_not_exist_is_refused(share: int, shares: int) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        slices_of_share([1], share=share, shares=shares)
