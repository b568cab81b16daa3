"""A training as the tracking server sees it: parameters once, metrics per round."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from flops.aggregator.configuration import AggregatorConfig
    from flops.wire.events import RoundFinished

MAX_VALUE: Final = 500


def round_metrics(finished: RoundFinished, learners: Sequence[str]) -> dict[str, float]:
    """The metrics of one round; a learner's are numbered by its place in ``learners``, from 0.

    In the report of an earlier attempt learners have other names, and the number of their instance is the place.
    """
    participants = finished.participants
    metrics: dict[str, float | None] = {
        "accuracy": finished.accuracy,
        "loss": finished.loss,
        "duration_s": finished.duration_s,
        "participants": len(participants),
        "train_examples": sum(participant.train_examples for participant in participants),
        "evaluate_examples": sum(participant.evaluate_examples for participant in participants),
    }
    for participant in participants:
        is_known = participant.learner in learners
        place = learners.index(participant.learner) if is_known else participant.learner.rpartition(".")[2]
        name = f"learner_{place}"
        metrics |= {
            f"{name}_accuracy": participant.accuracy,
            f"{name}_loss": participant.loss,
            f"{name}_duration_s": participant.duration_s,
        }
    return {name: float(value) for name, value in metrics.items() if value is not None}


def run_parameters(config: AggregatorConfig, examples: Mapping[str, int | None]) -> dict[str, str]:
    """What does not change during a run: the SLA's fields by path, the commit, the strategy, the dataset sizes."""
    sizes = {f"learner_{config.learners.index(name)}_examples": size for name, size in examples.items()}
    facts = {
        "commit": config.commit,
        "flavor": config.flavor,
        "strategy": config.strategy,
        **{f"strategy.{name}": value for name, value in config.strategy_options.items()},
        "rounds": config.rounds * config.cycles,
        "learners": len(config.learners),
        "examples": sum(filter(None, examples.values())),
        **{name: size for name, size in sizes.items() if size is not None},
        **{f"sla.{path}": value for path, value in _flatten(config.sla)},
    }
    return {name: str(value)[:MAX_VALUE] for name, value in facts.items()}


def _flatten(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, item in value.items():
        if isinstance(item, dict):
            yield from _flatten(item, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", item
