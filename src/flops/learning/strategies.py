"""Aggregation strategies by name: Flower's own, with the SLA's minimums."""

from __future__ import annotations

import difflib
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import flwr.serverapp.strategy as flower_strategies
import numpy as np

from flops.errors import UnknownStrategyError
from flops.learning.client import EXAMPLES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flwr.serverapp.strategy import Strategy

DEFAULT_STRATEGY: Final = "FedAvg"
STRATEGIES: Final = (
    "FedAvg", "FedAvgM", "FedAdagrad", "FedAdam", "FedYogi", "FedMedian", "FedTrimmedAvg",
    "Krum", "MultiKrum", "Bulyan",
)  # fmt: skip
_STATE: Final = ("momentum_vector", "m_t", "v_t")
_NOT_OPTIONS: Final = ("self", "weighted_by_key", "arrayrecord_key", "configrecord_key")


@dataclass(frozen=True, slots=True)
class Minimums:
    """How many learners must be there to begin a round, deliver training results, deliver evaluation results."""

    available: int = 1
    fit: int = 1
    evaluate: int = 1


def build_strategy(name: str, minimums: Minimums, options: Mapping[str, float] | None = None) -> Strategy:
    """The strategy of that name.

    Flower's own minimums block without end, so the grid keeps the SLA's and the strategy gets what never blocks.

    Raises:
        UnknownStrategyError: no such strategy, or it does not take one of the options.
    """
    if name not in STRATEGIES:
        near = difflib.get_close_matches(name, STRATEGIES, n=1)
        remedy = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(STRATEGIES)}."
        raise UnknownStrategyError(name, "there is none of that name", remedy=remedy)
    kind = getattr(flower_strategies, name)
    accepted = {
        parameter.name
        for parameter in inspect.signature(kind).parameters.values()
        if isinstance(parameter.default, int | float) and parameter.name not in _NOT_OPTIONS
    }
    unknown = sorted(set(options or {}) - accepted)
    if unknown:
        remedy = f"It takes: {', '.join(sorted(accepted))}."
        raise UnknownStrategyError(name, f"it has no option {unknown[0]!r}", remedy=remedy)
    defaults: dict[str, Any] = {
        "fraction_train": 1.0,
        "fraction_evaluate": 1.0,
        "min_train_nodes": minimums.fit,
        "min_evaluate_nodes": minimums.evaluate,
        "min_available_nodes": 1,
        "weighted_by_key": EXAMPLES,
    }
    strategy: Strategy = kind(**{**defaults, **(options or {})})
    return strategy


def strategy_state(strategy: Strategy) -> dict[str, list[Any]]:
    """What a strategy remembers from round to round (momenta), as arrays in the order of the parameters."""
    state = {name: getattr(strategy, name, None) for name in _STATE}
    return {
        name: list(value.values()) if isinstance(value, dict) else list(value) for name, value in state.items() if value
    }


def restore_strategy(strategy: Strategy, state: Mapping[str, list[Any]]) -> None:
    """Give a strategy back what ``strategy_state`` took from it."""
    for name, arrays in state.items():
        if name in _STATE and hasattr(strategy, name):
            is_keyed = name != "momentum_vector"
            values = [np.asarray(array) for array in arrays]
            setattr(strategy, name, {str(index): value for index, value in enumerate(values)} if is_keyed else values)
