"""A training over a real Mosquitto, with learners in processes of their own."""

from __future__ import annotations

import multiprocessing
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.brokers import BrokerProcess, start_mosquitto
from tests.doubles.training import FakeModel, Training, connect_to, serve_learner, wait_for

from flops.wire.events import LearnerJoined, LearnerLost

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.process import BaseProcess
    from pathlib import Path

    from flops.wire.topics import Topics


class Processes:
    """Learner processes of one training."""

    def __init__(self, training: Training, broker: BrokerProcess) -> None:
        self._training, self._access = training, broker.access
        self.all: list[BaseProcess] = []

    def start(self, index: int, **model: Any) -> BaseProcess:  # noqa: ANN401
        training = self._training
        arguments = (training.home, training.settings, training.topics, self._access, training.learners[index], model)
        process = multiprocessing.get_context("spawn").Process(target=serve_learner, args=arguments, daemon=True)
        process.start()
        self.all.append(process)
        return process

    def join(self) -> None:
        for process in self.all:
            process.join(20)
            assert process.exitcode == 0

    def end(self) -> None:
        for process in self.all:
            process.kill()
            process.join()


def training_on(broker: BrokerProcess, home: Path, topics: Topics, **settings: object) -> Training:
    connect = partial(connect_to, broker.access, topics)
    return Training(home, 2, connect, topics, **{"chunk_bytes": 1024 * 1024, **settings})


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    broker = start_mosquitto(tmp_path)
    yield broker
    broker.stop()


def test_ten_megabytes_travel_in_chunks_and_are_averaged(
    mosquitto: BrokerProcess, tmp_path: Path, topics: Topics
) -> None:
    training = training_on(mosquitto, tmp_path, topics, round_deadline_s=60.0, deploy_deadline_s=60.0)
    processes = Processes(training, mosquitto)
    try:
        processes.start(0, target=1.0, examples=10, shape=(1250, 1000))
        processes.start(1, target=4.0, examples=30, shape=(1250, 1000))
        model = FakeModel(shape=(1250, 1000))
        aggregator = training.aggregator(model, min_available_clients=2, min_fit_clients=2, min_evaluate_clients=2)
        training.finished()
        aggregator.join()
        processes.join()
    finally:
        processes.end()
    assert model.exported is not None
    expected = (1 - 0.5**3) * (10 * 1.0 + 30 * 4.0) / 40
    assert np.abs(model.exported[0] - expected).max() < 1e-12
    assert [len(event.participants) for event in training.rounds()] == [2, 2, 2]


def test_a_killed_learner_process_is_noticed_by_its_last_will_and_may_return(
    mosquitto: BrokerProcess, tmp_path: Path, topics: Topics
) -> None:
    training = training_on(mosquitto, tmp_path, topics, learner_return_s=60.0, deploy_deadline_s=60.0)
    processes = Processes(training, mosquitto)
    held = FakeModel()
    try:
        doomed = processes.start(1)
        staying = training.learner(0, held)
        held.go_on.clear()
        aggregator = training.aggregator(min_available_clients=2, min_fit_clients=2, min_evaluate_clients=2)
        assert held.is_fitting.wait(30)
        doomed.kill()
        training.event(LearnerLost)
        processes.all.remove(doomed)
        processes.start(1)
        wait_for(lambda: len(training.events(LearnerJoined)) == 3)
        held.go_on.set()
        training.finished()
        aggregator.join()
        staying.join()
        processes.join()
    finally:
        processes.end()
    assert [len(event.participants) for event in training.rounds()] == [2, 2, 2]


def test_a_broker_killed_in_a_round_only_delays_it(own_broker: BrokerProcess, tmp_path: Path, topics: Topics) -> None:
    training = training_on(own_broker, tmp_path, topics, learner_return_s=60.0, round_deadline_s=60.0)
    models = FakeModel(1.0), FakeModel(3.0)
    models[0].go_on.clear()
    learners = [training.learner(index, model) for index, model in enumerate(models)]
    aggregator = training.aggregator(min_available_clients=2, min_fit_clients=2, min_evaluate_clients=2)
    assert models[0].is_fitting.wait(10)
    own_broker.kill()
    models[0].go_on.set()
    wait_for(lambda: models[0].fits == 1)
    own_broker.start()
    training.start_tracking_server()
    training.finished()
    for service in (aggregator, *learners):
        service.join()
    assert [model.fits for model in models] == [3, 3]
    assert [event.round for event in training.rounds()] == [1, 2, 3]
