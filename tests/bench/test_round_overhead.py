"""How much a federated round costs beyond the model's own time, over a real Mosquitto with learner processes."""

from __future__ import annotations

import statistics
import threading
import time
from typing import TYPE_CHECKING

import pytest
from tests.doubles.training import PROJECT, FakeModel
from tests.integration.learning.test_training_over_mosquitto import Processes, training_on

if TYPE_CHECKING:
    from pathlib import Path

    from tests.brokers import BrokerProcess

    from flops.wire.topics import Topics

pytestmark = pytest.mark.bench


def median_round_trip_s(broker: BrokerProcess, topics: Topics, size_bytes: int, count: int = 50) -> float:
    """What a bare question and answer of this size costs over the same broker, without any learning."""
    asker, answerer = broker.connect(f"{topics.prefix}-asker"), broker.connect(f"{topics.prefix}-answerer")
    questions = answerer.subscribe(topics.learning(PROJECT, "question"))
    answers = asker.subscribe(topics.learning(PROJECT, "answer"))

    def answer() -> None:
        while (question := questions.receive()) is not None:
            answerer.publish(topics.learning(PROJECT, "answer"), question.payload)

    threading.Thread(target=answer, daemon=True).start()
    durations = []
    for _ in range(count):
        started = time.perf_counter()
        asker.publish(topics.learning(PROJECT, "question"), b"x" * size_bytes)
        assert answers.receive(10) is not None
        durations.append(time.perf_counter() - started)
    asker.close()
    answerer.close()
    return statistics.median(durations)


@pytest.mark.parametrize(
    ("shape", "rounds", "limit"), [((50, 50), 50, 15.0), ((500, 250), 20, 12.0)], ids=["20kB", "1MB"]
)
def test_a_round_costs_a_few_bare_round_trips(  # noqa: PLR0913, PLR0917  parameters and fixtures
    mosquitto: BrokerProcess, tmp_path: Path, topics: Topics, shape: tuple[int, int], rounds: int, limit: float
) -> None:
    training = training_on(mosquitto, tmp_path, topics, round_deadline_s=120.0, deploy_deadline_s=60.0)
    processes = Processes(training, mosquitto)
    try:
        for index in range(2):
            processes.start(index, shape=shape)
        aggregator = training.aggregator(FakeModel(shape=shape), rounds=rounds, min_available_clients=2)
        training.finished()
        aggregator.join()
    finally:
        processes.end()
    round_s = statistics.median(event.duration_s for event in training.rounds())
    bare_s = 2 * median_round_trip_s(mosquitto, topics, shape[0] * shape[1] * 8)
    line = f"round {round_s * 1000:.1f} ms, two bare round trips {bare_s * 1000:.1f} ms, ratio {round_s / bare_s:.1f}"
    print(f"\n{shape}: {line}")  # noqa: T201  the bench's result
    assert round_s < limit * bare_s
