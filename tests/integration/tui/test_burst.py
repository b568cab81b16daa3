"""Keys are answered at once while a flood of entries arrives from a real broker."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

import pytest

pytest.importorskip("textual")

from tests.integration.tui.burst import keys_during_a_burst, percentile_99

if TYPE_CHECKING:
    from pathlib import Path

    from tests.brokers import BrokerProcess

    from flops.wire.topics import Topics

LATENCY_S: Final = 0.05
LOADED: Final = 4


def test_keys_answer_at_once_during_a_burst(mosquitto: BrokerProcess, topics: Topics, tmp_path: Path) -> None:
    latencies = keys_during_a_burst(mosquitto, topics, tmp_path, 2000)
    # The clock also counts what others do with the cores: of a key in a hundred only the interface's own time is told.
    assert percentile_99(latencies.worked_s) < LATENCY_S, str(latencies)
    assert statistics.median(latencies.waited_s) < LOADED * LATENCY_S, str(latencies)
