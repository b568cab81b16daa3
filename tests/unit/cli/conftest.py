"""The command line in this process, and a manager that answers it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from tests.doubles.answers import OTHER_ID, Manager, Outcome, status

from flops.bootstrap import adapters
from flops.cli import main as command_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flops.adapters.memory_bus import MemoryBroker
    from flops.ports import Bus


@pytest.fixture
def flops(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Outcome]:
    monkeypatch.setenv("FLOPS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def run(*arguments: str) -> Outcome:
        monkeypatch.setattr("sys.argv", ["flops", *arguments])
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        captured = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def manager(memory_broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    def connect(_: object, client_id: str, **__: object) -> Bus:
        return memory_broker.connect(client_id)

    monkeypatch.setattr(adapters, "connect", connect)
    made = Manager(memory_broker.connect("manager"))
    made.replies["projects"] = {"projects": [status(), status(project_id=OTHER_ID)]}
    thread = threading.Thread(target=made.run)
    thread.start()
    yield made
    made.stopping.set()
    thread.join(10)
