from __future__ import annotations

import fcntl
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flops.bootstrap import adapters, installation
from flops.bootstrap.crashes import Crashes
from flops.errors import EXIT_UNREACHABLE, InvalidSettingError, StartFailedError
from flops.settings import Settings

if TYPE_CHECKING:
    from flops.adapters.memory_bus import MemoryBroker
    from flops.ports import Bus

TIMEOUT_S = 10


def test_a_process_that_does_not_come_up_is_named_with_the_end_of_its_log(
    memory_broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def connect(_: object, client_id: str, **__: object) -> Bus:
        return memory_broker.connect(client_id)

    monkeypatch.setattr(adapters, "connect", connect)
    settings = Settings(tmp_path)
    log = installation.log_path(settings, "manager")
    log.parent.mkdir(parents=True)
    log.write_text("".join(f"line {number}\n" for number in range(20)))

    with pytest.raises(StartFailedError, match="The manager has not come up") as raised:
        installation.wait_online(settings, {"manager"}, 0.05, Crashes(list))

    assert raised.value.output.splitlines()[-1] == "line 19"
    assert "line 1\n" not in str(raised.value)
    assert str(log) in str(raised.value)
    assert raised.value.exit_code == EXIT_UNREACHABLE


def test_down_waits_until_another_command_has_ended(tmp_path: Path) -> None:
    lock = tmp_path / "run" / "up-or-down.lock"
    lock.parent.mkdir()
    said = threading.Event()
    ended = threading.Event()

    def go_down() -> None:
        installation.down(Settings(tmp_path), lambda _: said.set())
        ended.set()

    with lock.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        thread = threading.Thread(target=go_down)
        thread.start()
        assert said.wait(TIMEOUT_S)
        assert not ended.is_set()
    assert ended.wait(TIMEOUT_S)
    thread.join(TIMEOUT_S)


def test_a_home_that_cannot_be_made_is_a_wrong_setting() -> None:
    with pytest.raises(InvalidSettingError, match="FLOPS_HOME"):
        installation.down(Settings(Path("/proc/flops")), print)
