"""The Grid as Flower describes it, and what FLOps adds, against participants on a broker in memory."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.doubles.training import PATIENCE_S, PROJECT, FakeModel, Training, wait_for

from flops.adapters.memory_bus import MemoryBroker
from flops.delivery.presence import presence_payload
from flops.delivery.service import ServiceIdentity
from flops.errors import StoppingError
from flops.learning import conversation, participant
from flops.learning.client import ARRAYS, client_app, performing
from flops.learning.flower import ArrayRecord, Message, MessageType, RecordDict, empty_run, stable_id
from flops.learning.grid import Listener, MqttGrid
from flops.learning.participant import Participant
from flops.wire.learning import Answer, BlobRef, Call, Chunk, Joining, Task, decode_learning, encode_learning
from flops.wire.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flops.adapters.memory_bus import MemoryBus

TOPICS = Topics()
LEARNERS = ["learner.0", "learner.1"]


class Team:
    """A grid and its participants."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.stopping = threading.Event()
        self.joined: list[str] = []
        self.lost: list[tuple[str, str]] = []
        self.bus = self.broker.connect("aggregator")
        self.grid = MqttGrid(
            self.bus,
            TOPICS,
            PROJECT,
            LEARNERS,
            listener=Listener(lambda learner: self.joined.append(learner.instance), self._note_loss),
            stopping=self.stopping,
            chunk_bytes=50,
        )
        self.models = {name: FakeModel() for name in LEARNERS}
        self.buses: dict[str, MemoryBus] = {}
        self.threads: list[threading.Thread] = []

    def _note_loss(self, learner: str, reason: str) -> None:
        self.lost.append((learner, reason))

    def start(self, name: str) -> None:
        will = TOPICS.presence(name), presence(name, online=False)
        bus = self.buses[name] = self.broker.connect(name, will=will)
        perform = performing(client_app(self.models[name]), 1, stable_id(name), lambda _: None)
        one = Participant(bus, TOPICS, PROJECT, name, greeting=Joining(node="n"), perform=perform, chunk_bytes=50)
        self.threads.append(threading.Thread(target=one.take_part, args=(self.stopping,), daemon=True))
        self.threads[-1].start()

    def start_all(self) -> None:
        for name in LEARNERS:
            self.start(name)
        assert self.grid.await_nodes(len(LEARNERS), PATIENCE_S)

    def close(self) -> None:
        self.stopping.set()
        for model in self.models.values():
            model.close()
        for thread in self.threads:
            thread.join(PATIENCE_S)
        self.grid.close()


def presence(name: str, *, online: bool) -> bytes:
    return presence_payload(ServiceIdentity(name, name, "learner", "proj", "Admin", "n", PROJECT), online=online)


@pytest.fixture
def team() -> Iterator[Team]:
    made = Team()
    yield made
    made.close()


def tasks(team: Team, value: float = 0.0, kind: str = MessageType.TRAIN) -> list[Message]:
    content = RecordDict({ARRAYS: ArrayRecord(numpy_ndarrays=[np.full((5, 5), value)])})
    return [Message(content, node_id, kind) for node_id in team.grid.get_node_ids()]


def values(replies: list[Message]) -> list[float]:
    return [float(reply.content.array_records[ARRAYS].to_numpy_ndarrays()[0][0, 0]) for reply in replies]


def test_messages_are_pushed_and_their_replies_pulled_once(team: Team) -> None:
    team.start_all()
    ids = list(team.grid.push_messages(tasks(team)))
    assert len(set(ids)) == 2
    replies: list[Message] = []

    def pull() -> bool:
        replies.extend(team.grid.pull_messages(ids))
        return len(replies) == 2

    wait_for(pull)
    assert sorted(reply.metadata.reply_to_message_id for reply in replies) == sorted(ids)
    assert not list(team.grid.pull_messages(ids))
    assert len({reply.metadata.message_id for reply in replies}) == 2


def test_send_and_receive_gives_every_reply(team: Team) -> None:
    team.start_all()
    replies = list(team.grid.send_and_receive(tasks(team)))
    assert values(replies) == [0.5, 0.5]


def test_send_and_receive_leaves_out_what_comes_too_late(team: Team) -> None:
    team.start_all()
    team.models["learner.0"].go_on.clear()
    replies = list(team.grid.send_and_receive(tasks(team), timeout=0.2))
    assert [team.grid.instance_of(reply.metadata.src_node_id) for reply in replies] == ["learner.1"]


def test_send_and_receive_answers_for_a_lost_learner_with_an_error(team: Team) -> None:
    team.start_all()
    team.models["learner.0"].go_on.clear()
    pending = tasks(team)
    loser = threading.Timer(0.05, team.buses["learner.0"].lose_connection)
    loser.start()
    replies = {team.grid.instance_of(r.metadata.src_node_id): r for r in team.grid.send_and_receive(pending)}
    loser.join()
    assert replies["learner.0"].has_error()
    assert replies["learner.1"].has_content()
    assert [learner for learner, _ in team.lost] == ["learner.0"]


def test_the_run_can_be_replaced_and_messages_created(team: Team) -> None:
    team.grid.set_run(empty_run(77))
    assert team.grid.run.run_id == 77
    message = team.grid.create_message(RecordDict(), MessageType.QUERY, 5, "group", ttl=60)
    assert (message.metadata.run_id, message.metadata.dst_node_id, message.metadata.ttl) == (77, 5, 60)
    assert not list(team.grid.get_node_ids())
    assert [node.node_id for node in team.grid.get_nodes()] == []


def test_the_model_travels_once_for_all_and_not_again_for_the_same_bytes(team: Team) -> None:
    listener = team.broker.connect("listener").subscribe(TOPICS.learning_all(PROJECT))
    team.start_all()
    list(team.grid.send_and_receive(tasks(team, 1.0)))
    list(team.grid.send_and_receive(tasks(team, 1.0, MessageType.EVALUATE)))
    chunks = []
    while (delivery := listener.receive(0.1)) is not None:
        message, _ = decode_learning(delivery.topic, delivery.payload)
        chunks += [message] if isinstance(message, Chunk) else []
    assert [chunk.index for chunk in chunks] == list(range(7))


def test_a_learner_that_comes_late_asks_for_the_model(team: Team) -> None:
    team.start("learner.0")
    assert team.grid.await_nodes(1, PATIENCE_S)
    list(team.grid.send_and_receive(tasks(team)))
    team.start("learner.1")
    assert team.grid.await_nodes(2, PATIENCE_S)
    assert values(list(team.grid.send_and_receive(tasks(team)))) == [0.5, 0.5]


def test_a_repeated_task_is_answered_again_but_not_done_again(team: Team) -> None:
    team.start_all()
    done = list(team.grid.push_messages(tasks(team)))
    item = team.grid._conversation.assignment(done[0])
    assert item is not None
    wait_for(lambda: item.reply is not None)
    replies = team.broker.connect("listener").subscribe(TOPICS.learning_from(PROJECT, item.learner))
    for _ in range(3):
        team.bus.publish(TOPICS.learning_to(PROJECT, item.learner), encode_learning(item.task))
    answers = [replies.receive(PATIENCE_S) for _ in range(3)]
    assert all(isinstance(decode_learning("t", answer.payload)[0], Answer) for answer in answers if answer is not None)
    assert team.models[item.learner].fits == 1


def test_strangers_and_rubbish_are_ignored(team: Team) -> None:
    team.start_all()
    for topic in (TOPICS.learning_from(PROJECT, "stranger.0"), TOPICS.learning_from(PROJECT, "learner.0")):
        for payload in (b"", b"no header", b'{"kind":"chunk"}\n', b'{"kind":"what"}\n', encode_learning(Call())):
            team.bus.publish(topic, payload)
    team.bus.publish(TOPICS.learning_from(PROJECT, "stranger.0"), encode_learning(Joining()))
    team.bus.publish(TOPICS.presence("learner.0"), b"{}")
    team.bus.publish(TOPICS.learning_to(PROJECT, "learner.0"), b"rubbish")
    assert values(list(team.grid.send_and_receive(tasks(team)))) == [0.5, 0.5]
    assert team.joined == LEARNERS or sorted(team.joined) == LEARNERS


def test_an_answer_that_fits_no_description_is_an_error(team: Team) -> None:
    bus = team.broker.connect("learner.0")
    orders = bus.subscribe(TOPICS.learning_to(PROJECT, "learner.0"))
    bus.publish(TOPICS.learning_from(PROJECT, "learner.0"), encode_learning(Joining()))
    assert team.grid.await_nodes(1, PATIENCE_S)
    [message_id] = team.grid.push_messages(tasks(team))
    order = orders.receive(PATIENCE_S)
    assert order is not None
    task, _ = decode_learning("t", order.payload)
    assert isinstance(task, Task)
    answer = Answer(task_id=task.id, content={"arrays": {"arrays": [{"key": "0"}]}})
    bus.publish(TOPICS.learning_from(PROJECT, "learner.0"), encode_learning(answer))
    item = team.grid._conversation.assignment(message_id)
    wait_for(lambda: item is not None and item.reply is not None)
    assert item is not None
    assert item.reply is not None
    assert item.reply.has_error()


def test_a_result_that_is_far_too_large_is_not_taken(team: Team) -> None:
    bus = team.broker.connect("learner.0")
    bus.publish(TOPICS.learning_from(PROJECT, "learner.0"), encode_learning(Joining()))
    assert team.grid.await_nodes(1, PATIENCE_S)
    [message_id] = team.grid.push_messages(tasks(team))
    ref = BlobRef(digest="0" * 64, size_bytes=10**15)
    chunk = Chunk(digest=ref.digest, size_bytes=ref.size_bytes, piece_bytes=1, index=0)
    bus.publish(TOPICS.learning_from(PROJECT, "learner.0"), encode_learning(chunk, b"x"))
    bus.publish(TOPICS.learning_from(PROJECT, "learner.0"), encode_learning(Answer(task_id=message_id, error="end")))
    item = team.grid._conversation.assignment(message_id)
    wait_for(lambda: item is not None and item.reply is not None)


def test_waiting_ends_when_the_service_is_stopped(team: Team) -> None:
    stopper = threading.Timer(0.05, team.stopping.set)
    stopper.start()
    with pytest.raises(StoppingError):
        team.grid.await_nodes(1, PATIENCE_S)
    stopper.join()


def disturb(bus: Any, seed: int) -> Callable[..., None]:  # noqa: ANN401
    """A publish that loses, repeats and delays messages of the learning plane."""
    dice, publish, held = random.Random(seed), bus.publish, []  # noqa: S311

    def disturbed(topic: str, payload: bytes, **rest: Any) -> None:  # noqa: ANN401
        fate = dice.random() if "/learning/" in topic else 1.0
        if fate < 0.1:
            return
        if fate < 0.2:
            held.append((topic, payload))
            return
        publish(topic, payload, **rest)
        if fate < 0.4:
            publish(topic, payload, **rest)
        while held and fate > 0.8:
            publish(*held.pop())

    return disturbed


@pytest.mark.parametrize("seed", range(3))
def test_messages_that_are_lost_repeated_and_overtaken_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(conversation, "REMIND_AFTER_S", 0.05)
    monkeypatch.setattr(conversation, "TICK_S", 0.02)
    monkeypatch.setattr(participant, "ASK_AGAIN_AFTER_S", 0.05)
    monkeypatch.setattr(participant, "TICK_S", 0.02)
    broker = MemoryBroker()

    def connect(name: str, will: tuple[str, bytes] | None) -> MemoryBus:
        bus = broker.connect(name, will=will)
        bus.publish = disturb(bus, seed)  # type: ignore[method-assign]
        return bus

    training = Training(tmp_path, connect=connect, deploy_deadline_s=20.0, round_deadline_s=60.0)
    models = [FakeModel(1.0, 10), FakeModel(4.0, 30)]
    learners = [training.learner(index, model) for index, model in enumerate(models)]
    model = FakeModel()
    aggregator = training.aggregator(model, min_available_clients=2, min_fit_clients=2, min_evaluate_clients=2)
    training.finished()
    aggregator.join()
    for learner in learners:
        learner.kill()
    assert model.exported is not None
    assert [one.fits for one in models] == [3, 3]
    expected = (1 - 0.5**3) * (10 * 1.0 + 30 * 4.0) / 40
    assert model.exported[0] == pytest.approx(np.full((3, 2), expected), abs=1e-12)
