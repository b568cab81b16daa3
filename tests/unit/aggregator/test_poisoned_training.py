"""A training that is fed with nonsense, foreign pieces and absurd claims goes on as if nothing had been said."""

from __future__ import annotations

import threading
import tracemalloc
from itertools import cycle
from typing import TYPE_CHECKING, Any

import pytest
from tests.doubles.training import AGGREGATOR, PROJECT, TRACKING, FakeModel, Running, Training
from tests.fuzz.poison import LEARNING, POISON

from flops.settings import MIB
from flops.wire.learning import Dismissal, Leaving, encode_learning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SMALL: Any = [payload for payload in (*LEARNING.values(), *POISON.values()) if 0 < len(payload) < 10_000]


def topics_of(training: Training) -> list[str]:
    """Every topic that the aggregator or a learner listens to."""
    topics, everybody = training.topics, [*training.learners, AGGREGATOR, TRACKING]
    return [
        topics.learning_all(PROJECT),
        topics.project_confirmed(PROJECT),
        *(topics.learning_to(PROJECT, learner) for learner in training.learners),
        *(topics.learning_from(PROJECT, learner) for learner in (*training.learners, "stranger.0")),
        *(topics.presence(instance) for instance in everybody),
    ]


@pytest.fixture
def poison() -> Iterator[Callable[[Training], None]]:
    """Starts somebody who says nonsense on every topic for as long as the test runs."""
    ended = threading.Event()
    threads: list[threading.Thread] = []

    def start(training: Training) -> None:
        bus = training.broker.connect("poisoner")
        topics = cycle(topics_of(training))

        def pour() -> None:
            for payload in cycle(SMALL):
                if ended.wait(0.0005):
                    return
                bus.publish(next(topics), payload)

        threads.append(threading.Thread(target=pour))
        threads[-1].start()

    yield start
    ended.set()
    for thread in threads:
        thread.join()


def train(training: Training, *models: FakeModel) -> list[Running]:
    learners = [training.learner(index, model) for index, model in enumerate(models)]
    aggregator = training.aggregator()
    training.finished()
    for service in (aggregator, *learners):
        service.join()
    return learners


def test_nonsense_on_every_topic_changes_nothing(tmp_path: Path, poison: Callable[[Training], None]) -> None:
    undisturbed, poisoned = Training(tmp_path / "a"), Training(tmp_path / "b")
    for training in (undisturbed, poisoned):
        training.home.mkdir()
    train(undisturbed, FakeModel(), FakeModel(2.0))
    poison(poisoned)
    tracemalloc.start()
    try:
        train(poisoned, FakeModel(), FakeModel(2.0))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert [event.accuracy for event in poisoned.rounds()] == [event.accuracy for event in undisturbed.rounds()]
    assert [len(event.participants) for event in poisoned.rounds()] == [2, 2, 2]
    assert peak_bytes < 64 * MIB


def test_what_was_retained_before_they_came_is_not_heard(tmp_path: Path) -> None:
    training = Training(tmp_path)
    bus = training.broker.connect("poisoner")
    for topic in topics_of(training):
        bus.publish(topic, b"\xff garbage", retain=True)
    training.start_tracking_server()
    dismissal, leaving = encode_learning(Dismissal()), encode_learning(Leaving(reason="forged"))
    bus.publish(training.topics.learning_all(PROJECT), dismissal, retain=True)
    for learner in training.learners:
        bus.publish(training.topics.learning_from(PROJECT, learner), leaving, retain=True)

    train(training, FakeModel(), FakeModel())

    assert len(training.rounds()) == 3


class Braggart(FakeModel):
    """A learner that claims to have seen an absurd number of examples."""

    def fit(self, parameters: list[Any]) -> tuple[list[Any], int]:
        fitted, _ = super().fit(parameters)
        return fitted, 2**60


def test_a_learner_with_an_absurd_weight_is_done_without(tmp_path: Path) -> None:
    training = Training(tmp_path, learners=3)

    train(training, FakeModel(), FakeModel(), Braggart())

    assert [event.failed_learners for event in training.rounds()] == [[training.learners[2]]] * 3
