from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from flops.adapters.local_processes.process import ProcessSpec, ProcessStatus, ServiceRecord
from flops.adapters.local_processes.state import StateFile
from flops.errors import StoreUnavailableError
from flops.project.deployment import InstanceState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RECORD = ServiceRecord("observ1", "Ada", "proj1", "observer", "")


def instance(index: int) -> tuple[ProcessSpec, ProcessStatus]:
    name = f"observ1.{index}"
    return ProcessSpec(name, ("true",), "/d", f"/{name}.log", group="observ1"), ProcessStatus(name, "observ1")


def change(text: str) -> dict[str, Any]:
    return {"instance": text}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "orchestrator" / "state.db"


@pytest.fixture
def state(path: Path) -> Iterator[StateFile]:
    opened = StateFile(path, max_changes=5)
    yield opened
    opened.close()


def fill_disk(state: StateFile) -> None:
    """Make SQLite refuse every further page, as it does on a full disk."""
    state._file.write("PRAGMA max_page_count = 1")


def test_what_was_added_is_there_when_opened_again(state: StateFile, path: Path) -> None:
    state.add_app("Ada", "proj1")
    state.add_service(RECORD, [instance(0), instance(1)], [change("a"), change("b")])
    state.close()
    remembered = StateFile(path).load()
    assert remembered.apps == {("Ada", "proj1")}
    assert remembered.services == {"observ1": RECORD}
    assert remembered.processes == [instance(0), instance(1)]


def test_changes_are_numbered_on_after_the_file_is_opened_again(state: StateFile, path: Path) -> None:
    state.add_service(RECORD, [instance(0)], [change("a")])
    state.close()
    again = StateFile(path)
    again.record(instance(0)[1], change("b"))
    assert [(found["cursor"], found["instance"]) for found in again.changes(0)] == [(1, "a"), (2, "b")]
    assert [found["cursor"] for found in again.changes(1)] == [2]
    again.close()


def test_old_changes_are_dropped(state: StateFile) -> None:
    for number in range(9):
        state.record(instance(0)[1], change(str(number)))
    assert [found["instance"] for found in state.changes(0)] == ["4", "5", "6", "7", "8"]


def test_a_process_keeps_its_place_when_it_is_put_again(state: StateFile) -> None:
    for name in ("broker", "manager"):
        state.put_process(ProcessSpec(name, ("old",), "/", "/l"), ProcessStatus(name))
    state.put_process(ProcessSpec("broker", ("new",), "/", "/l"), ProcessStatus("broker"))
    assert [spec.command for spec, _ in state.load().processes] == [("new",), ("old",)]


def test_logs_are_found_by_instance_and_service_also_after_removal(state: StateFile) -> None:
    state.add_service(RECORD, [instance(0), instance(1)], [])
    state.forget_service("observ1", [])
    assert state.log_of("observ1") == "/observ1.0.log"
    assert state.log_of("observ1.1") == "/observ1.1.log"
    state.forget_app("Ada", "proj1")
    assert state.log_of("observ1") == "/observ1.0.log"
    state.forget_traces("observ1")
    assert state.log_of("observ1") is None


def test_a_service_is_not_half_remembered_on_a_full_disk(state: StateFile) -> None:
    state.load()
    fill_disk(state)
    many = [instance(index) for index in range(500)]
    with pytest.raises(StoreUnavailableError, match="full"):
        state.add_service(RECORD, many, [])
    assert state.load().services == {}
    assert state.load().processes == []


def test_a_change_can_be_read_while_the_disk_is_full_and_is_saved_when_it_is_not(state: StateFile, path: Path) -> None:
    spec, status = instance(0)
    state.add_service(RECORD, [(spec, status)], [change("a")])
    fill_disk(state)
    status.state, status.reason = InstanceState.FAILED, "x" * 100_000
    state.record(status, change("b" * 100_000))
    assert [found["cursor"] for found in state.changes(0)] == [1, 2]
    assert state.load().processes[0][1].state is InstanceState.SCHEDULED
    state._file.write("PRAGMA max_page_count = 100000")
    state.save_again()
    assert StateFile(path).load().processes[0][1].state is InstanceState.FAILED
    assert [found["cursor"] for found in state.changes(0)] == [1, 2]


def test_a_file_that_is_no_database_is_a_clear_error(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"something else " * 100)
    with pytest.raises(StoreUnavailableError, match="not a database"):
        StateFile(path)
