"""The round loop: train and evaluate over the learners, keep the best model, tell what happened."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from flops.errors import CORRECT_THE_CODE, TrainingImpossibleError
from flops.learning.checkpoint import Best, Progress
from flops.learning.client import ACCURACY, ARRAYS, DURATION, EXAMPLES, LOSS, METRICS
from flops.learning.flower import AppExitException, Array, ArrayRecord, ConfigRecord, MetricRecord, refused
from flops.learning.strategies import restore_strategy, strategy_state
from flops.wire.events import Participant, RoundFinished

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flwr.serverapp.strategy import Strategy

    from flops.learning.checkpoint import Checkpoints
    from flops.learning.flower import Message
    from flops.learning.grid import MqttGrid
    from flops.learning.strategies import Minimums

_CANNOT_COMBINE: Final = "The strategy cannot combine the learners' results: {}."
_ODD_SHAPES: Final = "its parameters have another shape than the other learners'"
_NO_FACTS: Final = "it does not say by how many examples its result weighs, or how long it took"
MAX_EXAMPLES: Final = 2**53


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to train, with how many learners, and how patiently."""

    rounds: int
    cycles: int
    minimums: Minimums
    round_deadline_s: float
    learner_return_s: float

    @property
    def total_rounds(self) -> int:
        """The rounds of all cycles."""
        return self.rounds * self.cycles


def train(  # noqa: PLR0913, PLR0917  everything that a training is made of
    plan: Plan,
    strategy: Strategy,
    grid: MqttGrid,
    start: Progress,
    checkpoints: Checkpoints,
    report: Callable[[RoundFinished], None],
) -> Progress:
    """Run the rounds after ``start.round``; every round is on disk before ``report`` hears of it.

    Raises:
        TrainingImpossibleError: too few learners are left, or their code or results cannot be used.
        StoppingError: the service was asked to stop.
        StoreUnavailableError: the progress cannot be written.
    """
    progress = start
    restore_strategy(strategy, start.strategy_state)
    arrays = ArrayRecord(numpy_ndarrays=list(start.parameters))
    for number in range(start.round + 1, plan.total_rounds + 1):
        started = time.monotonic()
        _require_learners(grid, max(plan.minimums.available, plan.minimums.fit), plan, number)
        tasks = strategy.configure_train(number, arrays, ConfigRecord(), grid)
        trained = _exchange(grid, tasks, plan.minimums.fit, plan, started)
        trained = _usable(trained, plan.minimums.fit, number)
        arrays = _aggregate(strategy, number, trained)
        arrays = _with_dtypes_of(trained, arrays)

        _require_learners(grid, plan.minimums.evaluate, plan, number)
        tasks = strategy.configure_evaluate(number, arrays, ConfigRecord(), grid)
        evaluated = _exchange(grid, tasks, plan.minimums.evaluate, plan, started)
        evaluated = _usable(evaluated, plan.minimums.evaluate, number)
        accuracy, loss = _quality(strategy, number, evaluated)

        parameters = arrays.to_numpy_ndarrays()
        is_best = progress.best is None or progress.best.is_beaten_by(accuracy, loss)
        event = RoundFinished(
            cycle=(number - 1) // plan.rounds + 1,
            round=number,
            rounds=plan.total_rounds,
            accuracy=accuracy,
            loss=loss,
            duration_s=time.monotonic() - started,
            participants=_participants(grid, trained, evaluated),
            failed_learners=_failed_learners(grid, trained, evaluated),
            is_best=is_best,
        )
        progress = Progress(
            round=number,
            parameters=parameters,
            best=Best(number, accuracy, loss, parameters) if is_best else progress.best,
            strategy_state=strategy_state(strategy),
            report=event.model_dump(mode="json"),
            example=progress.example,
        )
        checkpoints.save(progress)
        report(event)
        checkpoints.mark_reported(progress.report)
    return progress


def _exchange(grid: MqttGrid, tasks: Iterable[Message], minimum: int, plan: Plan, started: float) -> list[Message]:
    left_s = max(started + plan.round_deadline_s - time.monotonic(), 0.0)
    return grid.exchange(tasks, minimum=minimum, timeout_s=left_s, return_s=plan.learner_return_s)


def _aggregate(strategy: Strategy, number: int, trained: list[Message]) -> ArrayRecord:
    try:
        arrays, _ = strategy.aggregate_train(number, trained)
    except (AppExitException, ArithmeticError, ValueError, TypeError, LookupError) as error:
        raise TrainingImpossibleError(_CANNOT_COMBINE.format(error), round_number=number) from error
    if arrays is None:
        raise TrainingImpossibleError(_CANNOT_COMBINE.format("no model came out"), round_number=number)
    return arrays


def _with_dtypes_of(trained: list[Message], arrays: ArrayRecord) -> ArrayRecord:
    """The arrays in the learners' own types: some strategies widen floats, and a mean of integers is none."""
    model = next(reply for reply in trained if reply.has_content()).content.array_records[ARRAYS]
    if all(model[key].dtype == array.dtype for key, array in arrays.items()):
        return arrays
    return ArrayRecord({key: _cast(array, np.dtype(model[key].dtype)) for key, array in arrays.items()})


def _cast(array: Array, dtype: np.dtype[Any]) -> Array:
    values = array.numpy()
    return Array(np.asarray(np.rint(values) if dtype.kind in "iu" else values).astype(dtype))


def _quality(strategy: Strategy, number: int, evaluated: list[Message]) -> tuple[float | None, float | None]:
    """Accuracy and loss of the global model."""
    try:
        metrics = strategy.aggregate_evaluate(number, evaluated) or MetricRecord()
    except (AppExitException, ArithmeticError, ValueError, TypeError, LookupError) as error:
        raise TrainingImpossibleError(_CANNOT_COMBINE.format(error), round_number=number) from error
    return _finite(metrics.get(ACCURACY)), _finite(metrics.get(LOSS))


def _require_learners(grid: MqttGrid, minimum: int, plan: Plan, number: int) -> None:
    if not grid.await_nodes(minimum, plan.learner_return_s):
        raise TrainingImpossibleError(
            f"Round {number} needs {minimum} learners, but {len(grid.joined())} take part after waiting "
            f"{plan.learner_return_s:g} s; missing: {grid.roster.absentees() or 'none'}.",
            round_number=number,
            remedy="See 'flops logs' of the missing learners, or lower the minimum of clients in the SLA.",
        )


def _usable(replies: list[Message], minimum: int, number: int) -> list[Message]:
    """The replies, those that lack facts or whose arrays differ in shape from most others turned into errors."""
    replies = [reply if reply.has_error() or _has_facts(reply) else refused(reply, _NO_FACTS) for reply in replies]
    shapes = Counter(_shapes(reply) for reply in replies if reply.has_content())
    usual = shapes.most_common(1)[0][0] if shapes else ()
    checked = [
        reply if reply.has_error() or _shapes(reply) == usual else refused(reply, _ODD_SHAPES) for reply in replies
    ]
    good = [reply for reply in checked if reply.has_content()]
    if len(good) < max(minimum, 1):
        raise _too_few(checked, len(good), minimum, number)
    return checked


def _too_few(replies: list[Message], good: int, minimum: int, number: int) -> TrainingImpossibleError:
    reasons = [reply.error.reason or "no reason given" for reply in replies if reply.has_error()]
    summaries = "; ".join(dict.fromkeys(reason.partition("\n")[0] for reason in reasons)) or "nobody was asked"
    details = next((rest for _, _, rest in (reason.partition("\n") for reason in reasons) if rest.strip()), "")
    who = "Every learner failed" if good == 0 else f"Only {good} of the {minimum} needed learners delivered"
    return TrainingImpossibleError(
        f"{who} in round {number}: {summaries}",
        round_number=number,
        remedy=CORRECT_THE_CODE if details else "See 'flops logs' of the learners for what ended them.",
        details=details,
    )


def _has_facts(reply: Message) -> bool:
    """Whether a reply says by how many examples it weighs, and how long it took, as FLOps' own learners do."""
    facts = reply.content.metric_records.get(METRICS)
    if facts is None:
        return False
    examples, duration_s = facts.get(EXAMPLES), facts.get(DURATION)
    return isinstance(examples, int) and 0 < examples <= MAX_EXAMPLES and _finite(duration_s) is not None


def _shapes(reply: Message) -> tuple[Any, ...]:
    records = reply.content.array_records
    if ARRAYS not in records:
        return ()
    return tuple((key, array.shape, np.dtype(array.dtype).kind) for key, array in records[ARRAYS].items())


def _participants(grid: MqttGrid, trained: list[Message], evaluated: list[Message]) -> list[Participant]:
    by_learner: dict[str, dict[str, Any]] = {}
    for replies, key in ((trained, "train_examples"), (evaluated, "evaluate_examples")):
        for reply in (reply for reply in replies if reply.has_content()):
            metrics = reply.content.metric_records[METRICS]
            facts = by_learner.setdefault(grid.instance_of(reply.metadata.src_node_id), {"duration_s": 0.0})
            facts[key] = metrics[EXAMPLES]
            facts["duration_s"] += metrics[DURATION]
            if ACCURACY in metrics:
                facts |= {ACCURACY: _finite(metrics[ACCURACY]), LOSS: _finite(metrics[LOSS])}
    return [Participant(learner=learner, **facts) for learner, facts in sorted(by_learner.items())]


def _failed_learners(grid: MqttGrid, trained: list[Message], evaluated: list[Message]) -> list[str]:
    return sorted({grid.instance_of(r.metadata.src_node_id) for r in (*trained, *evaluated) if r.has_error()})


def _finite(value: Any) -> float | None:  # noqa: ANN401  Flower's metrics are a wide union
    """A diverged model has a loss that is no number; JSON has no word for that."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
