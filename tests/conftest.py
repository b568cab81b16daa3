"""What several suites share."""

from __future__ import annotations

import threading
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, cast

import pytest
from tests.brokers import BrokerProcess, start_mosquitto
from tests.mongodb import MongoDb, find_server

from flops.adapters.memory_bus import MemoryBroker
from flops.endpoint import Endpoint
from flops.tracking.service import run as run_tracking
from flops.wire.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS: Final = Path(__file__).parent


# What drives real processes waits most of its time: begun first, it fills the time in which others compute.
LONGEST_FIRST: Final = ("system", "chaos", "integration", "contracts")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the suites of long tests first, so that no worker has one left when the others have ended."""
    places = {suite: place for place, suite in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path.relative_to(TESTS).parts[0], len(places)))


@pytest.fixture(scope="session")
def tracking_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server, run by the tracking service."""
    stopping, ready = threading.Event(), threading.Event()
    urls: list[str] = []
    context = cast(
        "Any",
        SimpleNamespace(
            settings=SimpleNamespace(home=tmp_path_factory.mktemp("home"), loopback_host=""),
            identity=SimpleNamespace(user="Ada Lövelace/../x"),
            stopping=stopping,
            endpoint=Endpoint(),
        ),
    )

    def announce(url: str) -> None:
        urls.append(url)
        ready.set()

    service = threading.Thread(target=run_tracking, args=(context, announce))
    service.start()
    try:
        assert ready.wait(90)
        yield urls[0]
    finally:
        stopping.set()
        service.join(20)


@pytest.fixture
def topics() -> Topics:
    """Topics under a prefix of this test's own, so that tests can share a broker."""
    return Topics(prefix=f"test-{uuid.uuid4().hex[:12]}")


@pytest.fixture
def memory_broker() -> MemoryBroker:
    """A broker inside the process."""
    return MemoryBroker()


@pytest.fixture(scope="session")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """A real Mosquitto for the whole session; tests that stop a broker start their own."""
    broker = start_mosquitto(tmp_path_factory.mktemp("mosquitto"))
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def mongodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoDb]:
    """A real server that speaks MongoDB's protocol; tests that kill one start their own."""
    yield from find_server(tmp_path_factory.mktemp("mongodb"))
