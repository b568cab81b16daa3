"""How much a federated round costs beyond the model's own time, over a real Mosquitto with learner processes."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import pytest
from tests.doubles.training import FakeModel
from tests.integration.learning.test_training_over_mosquitto import Processes, training_on

if TYPE_CHECKING:
    from pathlib import Path

    from tests.brokers import BrokerProcess

    from flops.wire.topics import Topics

pytestmark = pytest.mark.bench


@pytest.mark.parametrize(
    ("shape", "rounds", "limit_s"), [((50, 50), 50, 0.05), ((1250, 1000), 10, 1.5)], ids=["20kB", "10MB"]
)
def test_a_round_is_mostly_the_model(  # noqa: PLR0913, PLR0917  parameters and fixtures
    mosquitto: BrokerProcess, tmp_path: Path, topics: Topics, shape: tuple[int, int], rounds: int, limit_s: float
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
    durations = sorted(event.duration_s for event in training.rounds())
    median_s = statistics.median(durations)
    print(f"\n{shape}: median {median_s * 1000:.1f} ms, best {durations[0] * 1000:.1f} ms a round")  # noqa: T201
    assert median_s < limit_s
