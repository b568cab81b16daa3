"""Questions and their answers."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from flops.delivery.answers import answer, refuse
from flops.delivery.requests import RequestClient
from flops.errors import NoAnswerError, NotFoundError, RequestRefusedError
from flops.wire.envelope import Envelope, decode_envelope
from flops.wire.requests import ListApps, ProjectAnswer
from flops.wire.topics import may_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flops.adapters.memory_bus import MemoryBroker, MemoryBus
    from flops.errors import FlopsError
    from flops.ports import Delivery
    from flops.wire.topics import Topics


@pytest.fixture
def server(memory_broker: MemoryBroker) -> MemoryBus:
    return memory_broker.connect("server")


@pytest.fixture
def client(memory_broker: MemoryBroker, topics: Topics) -> RequestClient:
    return RequestClient(memory_broker.connect("client"), topics, "client")


@pytest.fixture
def serve(server: MemoryBus, topics: Topics) -> Iterator[Callable[[Callable[[Delivery, Envelope], None]], None]]:
    """Answer every request with a function of the delivery and its envelope."""
    threads = []
    requests = server.subscribe(topics.request(), topics.project_start())

    def serve(respond: Callable[[Delivery, Envelope], None]) -> None:
        def run() -> None:
            while (delivery := requests.receive()) is not None:
                respond(delivery, decode_envelope(delivery.topic, delivery.payload))
                delivery.acknowledge()

        threads.append(threading.Thread(target=run))
        threads[-1].start()

    yield serve
    requests.close()
    for thread in threads:
        thread.join(10)


def test_a_question_gets_its_answer(
    client: RequestClient,
    server: MemoryBus,
    topics: Topics,
    serve: Callable[[Callable[[Delivery, Envelope], None]], None],
) -> None:
    serve(lambda delivery, question: answer(server, delivery, question, {"asked": delivery.topic, **question.data}))
    assert client.ask("apps", ListApps(), 10) == {"asked": topics.request("apps")}
    assert client.ask_on(topics.project_start(), {"a": 1}, 10, kind="project.start") == {
        "asked": topics.project_start(),
        "a": 1,
    }


def test_an_answer_to_another_question_is_passed_over(
    client: RequestClient,
    server: MemoryBus,
    topics: Topics,
    serve: Callable[[Callable[[Delivery, Envelope], None]], None],
) -> None:
    def respond(delivery: Delivery, question: Envelope) -> None:
        server.publish(topics.reply("client"), b"no envelope")
        answer(server, delivery, question.model_copy(update={"correlation_id": "other"}), {"right": False})
        answer(server, delivery, question, {"right": True})

    serve(respond)
    assert client.ask("apps", ListApps(), 10) == {"right": True}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NotFoundError("project", "x", remedy="Look."), NotFoundError),
        (NoAnswerError("tracking", 1), RequestRefusedError),
    ],
)
def test_a_refusal_is_raised_with_its_words(
    client: RequestClient,
    server: MemoryBus,
    serve: Callable[[Callable[[Delivery, Envelope], None]], None],
    error: FlopsError,
    kind: type[FlopsError],
) -> None:
    serve(lambda delivery, question: refuse(server, delivery, question, error, errors=[{"path": "a"}]))
    with pytest.raises(kind) as raised:
        client.ask("apps", ListApps(), 10)
    assert (raised.value.message, raised.value.remedy) == (error.message, error.remedy)
    if isinstance(raised.value, RequestRefusedError):
        assert (raised.value.refusal_code, raised.value.errors) == (error.code, [{"path": "a"}])


def test_nobody_answers(client: RequestClient, topics: Topics) -> None:
    with pytest.raises(NoAnswerError, match=topics.request("apps")):
        client.ask("apps", ListApps(), 0.05)


def test_who_asks_while_the_client_is_closed_waits_no_longer(
    client: RequestClient, server: MemoryBus, topics: Topics
) -> None:
    questions = server.subscribe(topics.request("apps"))
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.ask, "apps", ListApps(), 60)
        assert questions.receive(10) is not None
        client.close()
        assert isinstance(asked.exception(10), NoAnswerError)
    assert questions.receive(0.1) is None


@pytest.mark.parametrize(("sent", "as_text"), [(b"42", "42"), (b"\x00\xff", ""), (b"4" * 257, "")])
def test_a_bare_request_of_mqtt_5_is_answered_where_it_says(
    server: MemoryBus, memory_broker: MemoryBroker, topics: Topics, sent: bytes, as_text: str
) -> None:
    requests = server.subscribe(topics.project_start())
    asker = memory_broker.connect("asker")
    replies = asker.subscribe(topics.reply("asker"))
    asker.publish(topics.project_start(), b"{}", response_topic=topics.reply("asker"), correlation_data=sent)
    request = requests.receive(10)
    assert request is not None
    answer(server, request, None, ProjectAnswer(project_id="x", inbox="y"))
    reply = replies.receive(10)
    assert reply is not None
    assert reply.correlation_data == sent
    assert decode_envelope(reply.topic, reply.payload).correlation_id == as_text


def test_an_answer_goes_to_reply_topics_only(server: MemoryBus, memory_broker: MemoryBroker, topics: Topics) -> None:
    requests = server.subscribe(topics.project_start())
    victim = memory_broker.connect("victim").subscribe("#")
    asker = memory_broker.connect("asker")
    for topic in (topics.project_events("a" * 24), "reply/+", "", topics.project_start()):
        asker.publish(topics.project_start(), b"{}", response_topic=topic)
        request = requests.receive(10)
        assert request is not None
        answer(server, request, None, {})
        published = victim.receive(0)
        assert published is not None
        assert published.payload == b"{}"
    assert victim.receive(0) is None


@pytest.mark.parametrize(
    ("reply_topic", "allowed"),
    [
        ("p/reply/me", True),
        ("reply/me", True),
        ("p/reply/", False),
        ("p/reply/me/too", False),
        ("p/reply/#", False),
        ("q/reply/me", False),
        ("p/noreply/me", False),
        ("p/project/reply/me", False),
        ("p/request/x", False),
        ("", False),
    ],
)
def test_where_an_answer_may_go(reply_topic: str, *, allowed: bool) -> None:
    assert may_answer("p/request/apps", reply_topic) is allowed


def test_a_question_is_asked_again_until_somebody_listens(
    client: RequestClient, memory_broker: MemoryBroker, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flops.delivery.requests.ASK_AGAIN_S", 0.05)
    late = memory_broker.connect("late")

    def come_late() -> None:
        questions = late.subscribe(topics.request("apps"))
        delivery = questions.receive(10)
        assert delivery is not None
        answer(late, delivery, decode_envelope(delivery.topic, delivery.payload), {"apps": []})

    coming = threading.Timer(0.2, come_late)
    coming.start()

    assert client.ask("apps", ListApps(), 10) == {"apps": []}
    coming.join()
