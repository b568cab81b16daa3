"""Every strategy by name, on real replies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from flops.errors import UnknownStrategyError
from flops.learning.client import ARRAYS, DURATION, EXAMPLES, METRICS
from flops.learning.flower import (
    ArrayRecord,
    ConfigRecord,
    Message,
    MetricRecord,
    RecordDict,
    act_as_aggregator,
    instruction,
)
from flops.learning.strategies import STRATEGIES, Minimums, build_strategy, restore_strategy, strategy_state

if TYPE_CHECKING:
    from flwr.serverapp.strategy import Strategy

    from flops.learning.flower import Grid

INITIAL: list[np.ndarray[Any, Any]] = [np.zeros((2, 2)), np.zeros(3, dtype=np.float32)]


@pytest.fixture(autouse=True)
def aggregator() -> None:
    """Flower's messages ask who makes them."""
    act_as_aggregator(1)


class Nodes:
    """As much of a Grid as choosing learners needs."""

    def get_node_ids(self) -> list[int]:
        return [11, 12, 13]


def reply(value: float, examples: int, node_id: int) -> Message:
    heard = instruction(RecordDict(), "train", message_id=f"m-{node_id}", run_id=1, node_id=node_id)
    arrays = ArrayRecord(numpy_ndarrays=[np.full_like(array, value) for array in INITIAL])
    metrics = MetricRecord({EXAMPLES: examples, DURATION: 0.1})
    return Message(RecordDict({ARRAYS: arrays, METRICS: metrics}), reply_to=heard)


def run_rounds(strategy: Strategy, arrays: ArrayRecord, numbers: range) -> ArrayRecord:
    for number in numbers:
        messages = list(strategy.configure_train(number, arrays, ConfigRecord(), cast("Grid", Nodes())))
        assert sorted(message.metadata.dst_node_id for message in messages) == [11, 12, 13]
        replies = [reply(number * 1.0, 10, 11), reply(number * 2.0, 30, 12), reply(number * 3.0, 20, 13)]
        aggregated, _ = strategy.aggregate_train(number, replies)
        assert aggregated is not None
        arrays = aggregated
    return arrays


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_makes_a_model(name: str) -> None:
    arrays = run_rounds(build_strategy(name, Minimums(3, 3, 3)), ArrayRecord(numpy_ndarrays=INITIAL), range(1, 4))
    shapes = [array.shape for array in arrays.to_numpy_ndarrays()]
    assert shapes == [(2, 2), (3,)]


def test_fedavg_is_the_mean_weighted_by_examples() -> None:
    arrays = run_rounds(build_strategy("FedAvg", Minimums()), ArrayRecord(numpy_ndarrays=INITIAL), range(1, 2))
    assert arrays.to_numpy_ndarrays()[0] == pytest.approx(np.full((2, 2), (10 + 60 + 60) / 60), abs=1e-12)


@pytest.mark.parametrize(
    ("name", "options"),
    [("FedAdam", {}), ("FedYogi", {"eta": 0.05}), ("FedAdagrad", {}), ("FedAvgM", {"server_momentum": 0.9})],
)
def test_a_restored_strategy_goes_on_as_if_nothing_had_happened(name: str, options: dict[str, float]) -> None:
    undisturbed = build_strategy(name, Minimums(), options)
    expected = run_rounds(undisturbed, ArrayRecord(numpy_ndarrays=INITIAL), range(1, 6))
    first = build_strategy(name, Minimums(), options)
    middle = run_rounds(first, ArrayRecord(numpy_ndarrays=INITIAL), range(1, 3))
    second = build_strategy(name, Minimums(), options)
    restore_strategy(second, strategy_state(first))
    resumed = run_rounds(second, middle, range(3, 6))
    for left, right in zip(expected.to_numpy_ndarrays(), resumed.to_numpy_ndarrays(), strict=True):
        assert left == pytest.approx(right, abs=1e-12)


def test_an_unknown_option_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnknownStrategyError, match="server_momentum"):
        build_strategy("FedAvgM", Minimums(), {"momentum": 0.9})


def test_an_unknown_strategy_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnknownStrategyError, match="FedTrimmedAvg"):
        build_strategy("xyz", Minimums())
