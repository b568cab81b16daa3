"""A real broker full of retained garbage: aggregator and learners come, hear it when they subscribe, and train."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tests.doubles.training import PROJECT, FakeModel, Training, connect_to
from tests.unit.aggregator.test_poisoned_training import SMALL, topics_of, train

from flops.wire.learning import Dismissal, Leaving, encode_learning

if TYPE_CHECKING:
    from pathlib import Path

    from tests.brokers import BrokerProcess

    from flops.wire.topics import Topics


def test_retained_garbage_and_more_of_it_meanwhile(mosquitto: BrokerProcess, tmp_path: Path, topics: Topics) -> None:
    connect = partial(connect_to, mosquitto.access, topics)
    training = Training(tmp_path, 2, connect, topics)
    bus = connect("poisoner", None)
    places = topics_of(training)
    for topic in places:
        bus.publish(topic, b"\xff garbage", retain=True)
    bus.publish(topics.learning_all(PROJECT), encode_learning(Dismissal()), retain=True)
    for learner in training.learners:
        bus.publish(topics.learning_from(PROJECT, learner), encode_learning(Leaving(reason="forged")), retain=True)
    assert bus.flush(10)
    training.start_tracking_server()
    for number, payload in enumerate(SMALL):
        bus.publish(places[number % len(places)], payload)

    train(training, FakeModel(), FakeModel())

    assert [len(event.participants) for event in training.rounds()] == [2, 2, 2]
    for topic in places:
        bus.publish(topic, b"", retain=True)
    bus.close()
