"""``flops up`` with parts that do not come up."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from flops.bootstrap import installation
from flops.errors import StartFailedError
from flops.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOON_S = 20.0  # most of it is for the imports of two starts on a busy machine


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    made = Settings(tmp_path / "home")
    yield made
    installation.down(made, lambda _: None)


def test_a_manager_that_crashes_is_told_at_once_with_the_end_of_its_log(settings: Settings) -> None:
    (settings.home / "store" / "flops.db").mkdir(parents=True)
    begun = time.monotonic()

    with pytest.raises(StartFailedError) as raised:
        installation.up(settings, lambda _: None)

    assert time.monotonic() - begun < SOON_S < installation.START_TIMEOUT_S
    assert raised.value.process == "manager"
    assert "has ended twice" in str(raised.value)
    assert "unable to open database file" in str(raised.value)


def test_a_broker_that_crashes_is_told_at_once(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "bin" / "mosquitto"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho 'Error: nothing works'\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(broken.parent), prepend=":")
    begun = time.monotonic()

    with pytest.raises(StartFailedError) as raised:
        installation.up(settings, lambda _: None)

    assert time.monotonic() - begun < SOON_S
    assert raised.value.process == "broker"
    assert "exit code 3" in str(raised.value)
    assert "nothing works" in str(raised.value)
