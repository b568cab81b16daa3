from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flops.data.partitioners import dirichlet, iid
from flops.errors import InvalidDataError

if TYPE_CHECKING:
    from flops.data.partitioners import Indices

SEEDS = st.integers(0, 2**32)
ALPHAS = st.floats(1e-4, 1e4)


def _assert_divides(parts: list[Indices], examples: int) -> None:
    assert all(len(part) > 0 for part in parts)
    assert sorted(np.concatenate(parts).tolist()) == list(range(examples))


@given(st.integers(1, 300), st.data(), SEEDS)
def test_iid_partitions_are_disjoint_complete_even_and_repeatable(
    examples: int, data: st.DataObject, seed: int
) -> None:
    partitions = data.draw(st.integers(1, examples))

    parts = iid(examples, partitions, seed=seed)

    _assert_divides(parts, examples)
    sizes = [len(part) for part in parts]
    assert len(parts) == partitions
    assert max(sizes) - min(sizes) <= 1
    assert all(map(np.array_equal, parts, iid(examples, partitions, seed=seed)))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=120), st.data(), ALPHAS, SEEDS)
def test_dirichlet_partitions_are_disjoint_complete_never_empty_and_repeatable(
    labels: list[int], data: st.DataObject, alpha: float, seed: int
) -> None:
    partitions = data.draw(st.integers(1, len(labels)))

    parts = dirichlet(np.array(labels), partitions, alpha=alpha, seed=seed)

    _assert_divides(parts, len(labels))
    assert len(parts) == partitions
    assert all(map(np.array_equal, parts, dirichlet(np.array(labels), partitions, alpha=alpha, seed=seed)))


def _skew(alpha: float, seed: int) -> float:
    """How far the classes' proportions in the partitions are from the whole's, from 0 to 1."""
    labels = np.repeat(np.arange(10), 200)
    parts = dirichlet(labels, 4, alpha=alpha, seed=seed)
    proportions = [np.bincount(labels[part], minlength=10) / len(part) for part in parts]
    return float(np.mean([np.abs(share - 0.1).sum() / 2 for share in proportions]))


@pytest.mark.parametrize("seed", range(5))
def test_a_small_alpha_separates_the_classes_and_a_large_one_mixes_them(seed: int) -> None:
    assert _skew(0.1, seed) > 0.4
    assert _skew(1000.0, seed) < 0.05


def test_another_seed_gives_other_partitions() -> None:
    labels = np.repeat(np.arange(4), 25)

    assert not np.array_equal(iid(100, 2, seed=1)[0], iid(100, 2, seed=2)[0])
    assert not np.array_equal(dirichlet(labels, 2, alpha=1, seed=1)[0], dirichlet(labels, 2, alpha=1, seed=2)[0])


def test_a_partition_is_not_sorted_by_class() -> None:
    labels = np.repeat(np.arange(4), 50)

    (part,) = dirichlet(labels, 1, alpha=1, seed=0)

    assert len(np.unique(labels[part][:40])) == 4


def test_text_labels_work() -> None:
    _assert_divides(dirichlet(np.array(["cat", "dog"] * 10), 3, alpha=0.5, seed=0), 20)


@pytest.mark.parametrize("partitions", [0, -1, 4])
def test_partitions_that_could_not_be_filled_are_refused(partitions: int) -> None:
    with pytest.raises(InvalidDataError, match="non-empty partitions"):
        iid(3, partitions, seed=0)
    with pytest.raises(InvalidDataError, match="non-empty partitions"):
        dirichlet(np.zeros(3), partitions, alpha=1, seed=0)


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf")])
def test_an_alpha_that_is_no_concentration_is_refused(alpha: float) -> None:
    with pytest.raises(InvalidDataError, match="alpha"):
        dirichlet(np.zeros(3), 1, alpha=alpha, seed=0)
