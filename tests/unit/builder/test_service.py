from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from flops.adapters.memory_bus import MemoryBroker
from flops.builder.service import run
from flops.delivery.presence import presence_payload
from flops.delivery.service import ServiceContext, ServiceIdentity
from flops.errors import (
    BuildFailedError,
    NotFoundError,
    RepositoryUnavailableError,
    StoppingError,
    TrackingUnavailableError,
)
from flops.ports import ActorImages, BuildStep, BuiltImage
from flops.retries import Retries, RetryPolicy
from flops.settings import Settings
from flops.wire.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flops.ports import Tracking
    from flops.wire.events import Event

    MakeContext = Callable[[dict[str, Any]], ServiceContext]

ACTORS = {
    "purpose": "actors",
    "url": "https://git.example.org/o/r",
    "commit": "c" * 40,
    "flavor": "sklearn",
    "images": {"learner": "o/r/learner:c", "aggregator": "o/r/aggregator:c"},
}
TRAINED = {
    "purpose": "trained-model",
    "image": "o/r/trained-model:p",
    "base_image": "o/r/aggregator:c",
    "model_uri": "runs:/1/model",
    "tracking_service": "tracking1.0",
}
RETRIES = Retries(RetryPolicy(attempts=3, longest_s=0.01))
IDENTITY = ServiceIdentity("builder1", "builder1.0", "builder", "proj1", "Admin", "local", "a" * 24)
TRACKING_IDENTITY = ServiceIdentity("tracking1", "tracking1.0", "tracking", "observatory", "Admin", "local", "")


@dataclass
class FakeEvents:
    """Keeps what is published; confirms at once unless told not to."""

    published: list[Event] = field(default_factory=list)
    confirms: bool = True

    def publish(self, event: Event, *, causation_id: str = "") -> None:
        assert not causation_id
        self.published.append(event)

    def wait_confirmed(self, timeout_s: float) -> bool:
        assert timeout_s > 0
        return self.confirms


@dataclass
class FakeBuilder:
    """Makes images out of nothing, or raises."""

    actor_steps = ("clone", "store")
    model_steps = ("store",)

    failure: Exception | None = None
    during: Callable[[], None] = lambda: None
    orders: list[ActorImages] = field(default_factory=list)
    models: dict[str, bytes] = field(default_factory=dict)

    def build_actors(
        self, order: ActorImages, report: Callable[[BuildStep], None], warn: Callable[[str, str], None]
    ) -> list[BuiltImage]:
        self.orders.append(order)
        report(BuildStep("clone"))
        self.during()
        report(BuildStep("clone", 0.5, 100, "as told"))
        warn("Python 3.6 is not there", "install it")
        if self.failure:
            raise self.failure
        return [BuiltImage(image, 10, 1.0) for image in order.images.values()]

    def build_trained_model(
        self, image: str, base_image: str, model: Path, report: Callable[[BuildStep], None]
    ) -> BuiltImage:
        assert base_image == TRAINED["base_image"]
        report(BuildStep("store"))
        self.models[image] = (model / "MLmodel").read_bytes()
        return BuiltImage(image, 3, 0.1)


@dataclass
class FakeTracking:
    """Has one model."""

    url: str

    def download_model(self, model_uri: str, into: Path) -> Path:
        if model_uri != TRAINED["model_uri"]:
            raise NotFoundError("model", model_uri)
        into.mkdir()
        (into / "MLmodel").write_text(self.url)
        return into


@pytest.fixture
def events() -> FakeEvents:
    return FakeEvents()


@pytest.fixture
def make_context(tmp_path: Path, events: FakeEvents) -> Callable[[dict[str, Any]], ServiceContext]:
    broker, topics = MemoryBroker(), Topics()

    def make(config: dict[str, Any]) -> ServiceContext:
        bus = broker.connect("builder1.0")
        announcement = presence_payload(TRACKING_IDENTITY, online=True, url="http://127.0.0.1:5000")
        bus.publish(topics.presence("tracking1.0"), announcement, retain=True)
        settings = Settings(home=tmp_path)
        return ServiceContext(IDENTITY, config, tmp_path, settings, topics, bus, events)  # type: ignore[arg-type]

    return make


def told(events: FakeEvents) -> list[str]:
    return [event.type for event in events.published]


def tracking_for(url: str) -> Tracking:
    return FakeTracking(url)  # type: ignore[return-value]


def test_a_build_tells_every_step_and_every_image(make_context: MakeContext, events: FakeEvents) -> None:
    builder = FakeBuilder()
    assert run(make_context(ACTORS), builder, tracking_for, RETRIES) == 0
    assert told(events) == [
        "build.started",
        "build.step-started",
        "build.step-finished",
        "service.warned",
        "image.built",
        "image.built",
        "build.finished",
    ]
    assert builder.orders == [ActorImages(ACTORS["url"], ACTORS["commit"], "sklearn", ACTORS["images"])]  # type: ignore[arg-type]
    assert events.published[2].model_dump() == {
        "step": "clone",
        "duration_s": 0.5,
        "size_bytes": 100,
        "detail": "as told",
        "number": 1,
        "steps": 2,
    }


def test_a_build_that_fails_is_an_event(make_context: MakeContext, events: FakeEvents) -> None:
    failure = BuildFailedError(
        "resolve", "no such thing", where="conda.yaml:3", remedy="Mend it.", details="x" * 99_999
    )
    assert run(make_context(ACTORS), FakeBuilder(failure), tracking_for, RETRIES) == 0
    last = events.published[-1].model_dump()
    assert told(events)[-1] == "build.failed"
    assert last | {"details": ""} == {
        "purpose": "actors",
        "step": "resolve",
        "reason": "no such thing",
        "where": "conda.yaml:3",
        "remedy": "Mend it.",
        "details": "",
    }
    assert 0 < len(last["details"]) < 20_000


def test_any_expected_failure_is_told_with_the_step_it_happened_in(
    make_context: MakeContext, events: FakeEvents
) -> None:
    failure = RepositoryUnavailableError("https://git.example.org/o/r", "it is gone", remedy="Look for it.")
    assert run(make_context(ACTORS), FakeBuilder(failure), tracking_for, RETRIES) == 0
    last = events.published[-1].model_dump()
    assert (last["step"], last["remedy"]) == ("clone", "Look for it.")
    assert "it is gone" in last["reason"]


def test_what_was_not_expected_is_left_to_the_process_boundary(make_context: MakeContext) -> None:
    with pytest.raises(ZeroDivisionError):
        run(make_context(ACTORS), FakeBuilder(ZeroDivisionError()), tracking_for, RETRIES)


def test_a_trained_model_is_fetched_from_where_the_tracking_server_is(
    make_context: MakeContext, events: FakeEvents, tmp_path: Path
) -> None:
    builder = FakeBuilder()
    assert run(make_context(TRAINED), builder, tracking_for, RETRIES) == 0
    assert builder.models == {TRAINED["image"]: b"http://127.0.0.1:5000"}
    assert told(events) == [
        "build.started",
        "build.step-started",
        "build.step-finished",
        "build.step-started",
        "image.built",
        "build.finished",
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_not_there_is_a_failed_build(make_context: MakeContext, events: FakeEvents) -> None:
    assert run(make_context({**TRAINED, "model_uri": "runs:/2/model"}), FakeBuilder(), tracking_for, RETRIES) == 0
    last = events.published[-1].model_dump()
    assert (last["purpose"], last["step"]) == ("trained-model", "download model")


def test_a_tracking_server_that_is_not_up_is_asked_again_and_every_attempt_told(
    make_context: MakeContext, events: FakeEvents
) -> None:
    outages = [TrackingUnavailableError("it is starting"), TrackingUnavailableError("it is starting")]

    def tracking_that_starts(url: str) -> Tracking:
        if outages:
            raise outages.pop()
        return tracking_for(url)

    assert run(make_context(TRAINED), FakeBuilder(), tracking_that_starts, RETRIES) == 0

    warnings = [event.model_dump()["message"] for event in events.published if event.type == "service.warned"]
    assert [message.partition(":")[0] for message in warnings] == [
        "Downloading the model failed (attempt 1 of 3)",
        "Downloading the model failed (attempt 2 of 3)",
    ]
    assert told(events)[-1] == "build.finished"


def test_a_build_that_is_stopped_says_nothing_more(make_context: MakeContext, events: FakeEvents) -> None:
    context = make_context(ACTORS)
    assert run(context, FakeBuilder(during=context.stopping.set), tracking_for, RETRIES) == StoppingError.exit_code
    assert told(events) == ["build.started", "build.step-started"]


def test_the_service_waits_for_confirmation_until_it_is_stopped(make_context: MakeContext, events: FakeEvents) -> None:
    events.confirms = False
    context = make_context(ACTORS)
    ended: list[int] = []
    thread = threading.Thread(target=lambda: ended.append(run(context, FakeBuilder(), tracking_for, RETRIES)))
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    context.stopping.set()
    thread.join(5)
    assert ended == [StoppingError.exit_code]
