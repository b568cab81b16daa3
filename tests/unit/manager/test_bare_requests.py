"""SLAs without an envelope: what is delivered or tried again makes no second project."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from flops.adapters.sqlite_store import SqliteStore
from flops.manager.bare_requests import BareRequests
from flops.manager.listening import AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flops.adapters.memory_bus import MemoryBroker
    from flops.ports import Delivery

TOPIC = "project/start"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore(tmp_path / "flops.db")) as opened:
        yield opened


def receive(broker: MemoryBroker, number: int) -> list[Delivery]:
    """What a manager that has just been started receives."""
    subscription = broker.connect("manager", persistent=True).subscribe(TOPIC)
    found = [subscription.receive(10) for _ in range(number)]
    return [delivery for delivery in found if delivery is not None]


def test_equal_ones_that_come_again_after_a_kill_are_as_many_projects(
    memory_broker: MemoryBroker, store: SqliteStore
) -> None:
    number = 2 * AT_ONCE  # handled together, before the broker has any of their acknowledgements
    receive(memory_broker, 0)
    for _ in range(number):
        memory_broker.connect("client").publish(TOPIC, b"{}")

    made, again = (
        [requests.project_for(delivery) for delivery in receive(memory_broker, number)]
        for requests in [BareRequests(store, "manager", lambda: 0.0) for _ in range(2)]
    )

    assert len(set(made)) == number
    assert again == made


def test_one_that_is_tried_again_makes_what_it_may_have_made_already(
    memory_broker: MemoryBroker, store: SqliteStore
) -> None:
    receive(memory_broker, 0)
    memory_broker.connect("client").publish(TOPIC, b"{}")
    (delivery,) = receive(memory_broker, 1)
    requests = BareRequests(store, "manager", lambda: 0.0)

    tried, tried_again = requests.project_for(delivery), requests.project_for(delivery)
    (redelivered,) = receive(memory_broker, 1)
    after_a_kill = BareRequests(store, "manager", lambda: 0.0).project_for(redelivered)

    assert tried == tried_again == after_a_kill
