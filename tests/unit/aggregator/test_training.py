"""A whole training: aggregator, learners, manager and tracking server, on a broker in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.doubles.training import FakeModel, Training

from flops.wire.events import LearnerJoined, ModelLogged, TrackingAvailable, TrainingStarted

if TYPE_CHECKING:
    from pathlib import Path


def weighted_mean_of_training(targets: list[float], examples: list[int], rounds: int) -> float:
    value = 0.0
    for _ in range(rounds):
        trained = [value + (target - value) / 2 for target in targets]
        value = float(np.average(trained, weights=examples))
    return value


def test_trains_to_the_weighted_mean_and_tells_every_step(tmp_path: Path) -> None:
    training = Training(tmp_path)
    models = [FakeModel(1.0, 10), FakeModel(4.0, 30)]
    learners = [training.learner(index, model) for index, model in enumerate(models)]
    model = FakeModel()
    aggregator = training.aggregator(model)
    finished = training.finished()
    for service in (aggregator, *learners):
        service.join()

    assert model.exported is not None
    expected = weighted_mean_of_training([1.0, 4.0], [10, 30], finished.best_round)
    assert model.exported[0] == pytest.approx(np.full((3, 2), expected), abs=1e-12)
    assert [event.round for event in training.rounds()] == [1, 2, 3]
    assert [p.learner for p in training.rounds()[0].participants] == training.learners
    assert sorted(event.learner for event in training.events(LearnerJoined)) == training.learners
    assert training.event(TrainingStarted).resumed_after == 0
    assert training.event(TrackingAvailable).run_id == training.event(ModelLogged).run_id
    assert sorted(training.tracking.rounds) == [1, 2, 3]
    assert training.tracking.rounds[1]["train_examples"] == 40
    assert training.tracking.parameters["sla.training_configuration.mode"] == "classic"
    assert training.tracking.succeeded is True
    assert [model.loads for model in models] == [1, 1]
    assert [model.fits for model in models] == [3, 3]
    assert all(model.is_closed.is_set() for model in models)
