"""What is on its way to the broker is counted, bounded and waited for."""

from __future__ import annotations

import pytest

from flops.adapters.mqtt import unacknowledged as module
from flops.adapters.mqtt.unacknowledged import Unacknowledged


def test_it_is_empty_once_everything_so_far_is_acknowledged() -> None:
    waiting = Unacknowledged()
    assert waiting.wait_empty(0)
    waiting.add(1, 10)
    waiting.add(2, 10)
    waiting.remove(2)
    assert not waiting.wait_empty(0)
    waiting.remove(1)
    assert waiting.wait_empty(0)


def test_an_acknowledgement_may_overtake() -> None:
    waiting = Unacknowledged()
    waiting.remove(1)
    waiting.add(1, 10)
    assert waiting.wait_empty(0)
    waiting.add(1, 10)
    assert not waiting.wait_empty(0)


@pytest.mark.parametrize(("limit", "value"), [("MAX_MESSAGES", 2), ("MAX_BYTES", 20)])
def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
    monkeypatch.setattr(module, limit, value)
    waiting = Unacknowledged()
    waiting.add(1, 10)
    assert waiting.wait_room(0)
    waiting.add(2, 10)
    assert not waiting.wait_room(0)
    waiting.remove(1)
    assert waiting.wait_room(0)
