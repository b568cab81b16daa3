"""A manager and observers behind the terminal user interface."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from tests.doubles.tui import Desk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flops.adapters.memory_bus import MemoryBroker


@pytest.fixture
def desk(memory_broker: MemoryBroker) -> Iterator[Desk]:
    made = Desk(memory_broker)
    thread = threading.Thread(target=made.run)
    thread.start()
    yield made
    made.stopping.set()
    thread.join(10)
