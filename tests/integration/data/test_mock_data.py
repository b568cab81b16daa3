"""The mock data provider against real data servers of two nodes."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pytest

from flops.adapters.flight import connect
from flops.data.catalogue import Catalogue
from flops.data.mock_service import run
from flops.data.server import DataServer, write_address
from flops.delivery.service import ServiceContext, ServiceIdentity
from flops.errors import DataUnavailableError
from flops.settings import Settings
from flops.wire.events import Event, MockDataFailed, MockDataProvided
from flops.wire.sla import parse_mock_data_sla
from flops.wire.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flops.delivery.publisher import EventPublisher
    from flops.ports import Bus, StoredPartition, TrainingData

MOCK_SLAS = Path(__file__).parents[3] / "slas" / "mocks"
NODES = ["node1", "node2"]
DIGITS = {"dataset_name": "digits", "number_of_partitions": 3, "data_tag": "digits", "nodes": NODES}


class EventLog:
    """Stands in for the publisher."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def publish(self, event: Event, *, causation_id: str = "") -> None:
        del causation_id
        self.events.append(event)

    def wait_confirmed(self, timeout_s: float) -> bool:
        del timeout_s
        return True


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    settings = Settings(home=tmp_path)
    with contextlib.ExitStack() as servers:
        for node in NODES:
            directory = settings.node_directory(node)
            server = servers.enter_context(DataServer(Catalogue(directory / "data"), on_change=lambda: None))
            write_address(server.address, directory)
        yield settings


@pytest.fixture
def node_data(settings: Settings) -> Callable[[str], TrainingData]:
    return lambda node: connect(settings.node_directory(node), patience_s=0)


def _provide(
    settings: Settings,
    config: dict[str, Any],
    node_data: Callable[[str], TrainingData],
    *,
    request: str = "a" * 24,
    exit_code: int = 0,
) -> Event:
    """Run the role once; returns the one event that it published."""
    log = EventLog()
    context = ServiceContext(
        identity=ServiceIdentity("mockdata1", "mockdata1.0", "mock-data", "helper", "Admin", "", request),
        config=config,
        directory=settings.home,
        settings=settings,
        topics=Topics(),
        bus=cast("Bus", None),
        events=cast("EventPublisher", log),
        stopping=threading.Event(),
    )
    assert run(context, node_data) == exit_code
    (event,) = log.events
    return event


def _stored(node_data: Callable[[str], TrainingData]) -> list[StoredPartition]:
    return [partition for node in NODES for partition in node_data(node).partitions()]


def test_partitions_are_dealt_out_to_the_nodes_and_are_the_whole_dataset(
    settings: Settings, node_data: Callable[[str], TrainingData]
) -> None:
    event = _provide(settings, DIGITS, node_data)

    assert isinstance(event, MockDataProvided)
    assert {node: len(names) for node, names in event.partitions.items()} == {"node1": 2, "node2": 1}
    assert (event.dataset, event.data_tag, event.examples) == ("digits", "digits", 1797)
    assert {node: [kept.name for kept in node_data(node).partitions(["digits"])] for node in NODES} == event.partitions
    labels: Counter[int] = Counter()
    for node in NODES:
        labels.update(node_data(node).fetch(["digits"], share=0, shares=1)["label"].to_pylist())
    assert labels.total() == 1797
    assert labels[3] == 183


def test_a_second_request_replaces_the_mock_data_of_the_first_and_nothing_else(
    settings: Settings, node_data: Callable[[str], TrainingData]
) -> None:
    own = pa.table({"mine": [1]})
    node_data("node1").put("digits", "own", own)
    node_data("node1").put("other", "mock-x", own)
    _provide(settings, {**DIGITS, "number_of_partitions": 5}, node_data, request="a" * 24)
    _provide(settings, {**DIGITS, "partitioner": "dirichlet", "alpha": 0.1}, node_data, request="b" * 24)

    stored = _stored(node_data)
    assert sum(partition.examples for partition in stored if partition.name.startswith("mock-b")) == 1797
    assert {(kept.tag, kept.name) for kept in stored if not kept.name.startswith("mock-b")} == {
        ("digits", "own"),
        ("other", "mock-x"),
    }


def test_the_same_request_done_twice_leaves_the_same(
    settings: Settings, node_data: Callable[[str], TrainingData]
) -> None:
    first = _provide(settings, DIGITS, node_data)
    stored = _stored(node_data)

    assert _provide(settings, DIGITS, node_data) == first
    assert _stored(node_data) == stored


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"number_of_partitions": 2000}, "cannot be divided into 2,000"),
        ({"nodes": []}, "no learner node"),
        ({"data_tag": "../x"}, "data_tag"),
        ({"surprise": 1}, "surprise"),
        ({"nodes": ["node1", "unknown"]}, "node 'unknown' does not answer"),
    ],
)
def test_what_cannot_be_done_is_an_event_with_its_reason(
    settings: Settings, node_data: Callable[[str], TrainingData], change: dict[str, Any], reason: str
) -> None:
    event = _provide(settings, {**DIGITS, **change}, node_data)

    assert isinstance(event, MockDataFailed)
    assert reason in event.reason
    assert event.dataset == "digits"
    assert _stored(node_data) == []


class FullAfter:
    """Training data whose disk is full after a number of puts."""

    def __init__(self, inner: TrainingData, puts: int) -> None:
        self._inner, self._puts = inner, puts
        self.partitions, self.fetch, self.delete = inner.partitions, inner.fetch, inner.delete

    def put(self, tag: str, name: str, table: pa.Table) -> StoredPartition:
        if not self._puts:
            raise DataUnavailableError("the disk is full")
        self._puts -= 1
        return self._inner.put(tag, name, table)


def test_a_node_that_fills_up_half_way_leaves_the_earlier_mock_data(
    settings: Settings, node_data: Callable[[str], TrainingData]
) -> None:
    _provide(settings, DIGITS, node_data, request="a" * 24)
    before = _stored(node_data)
    full = {node: FullAfter(node_data(node), puts=1) for node in NODES}

    event = _provide(settings, DIGITS, full.__getitem__, request="b" * 24)

    assert isinstance(event, MockDataFailed)
    assert event.reason == "the disk is full"
    assert _stored(node_data) == before


@pytest.mark.parametrize("path", sorted(MOCK_SLAS.glob("*.json")), ids=lambda path: path.stem)
def test_the_shipped_mock_data_slas_are_valid_also_with_every_default_written_out(path: Path) -> None:
    sla = parse_mock_data_sla(path.read_bytes())

    assert parse_mock_data_sla(sla.to_document()) == sla


def test_an_error_that_nobody_expected_is_an_event_too(settings: Settings) -> None:
    def broken(_node: str) -> TrainingData:
        raise ZeroDivisionError

    event = _provide(settings, DIGITS, broken, exit_code=1)

    assert isinstance(event, MockDataFailed)
    assert event.reason.startswith("ZeroDivisionError")
