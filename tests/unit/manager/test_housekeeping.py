from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from flops.adapters.sqlite_store import SqliteStore
from flops.errors import StoreUnavailableError
from flops.manager import housekeeping
from flops.manager.housekeeping import Housekeeping
from flops.ports import ProjectRecord
from flops.project.glance import first_status
from flops.project.state import Phase, Project
from flops.wire.envelope import Envelope

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = datetime(2026, 6, 30, tzinfo=UTC)
DAY_S = 24 * 3600.0
EVENT = Envelope(id="e", source="/x", type="t", time=NOW, data={})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore(tmp_path / "flops.db")) as opened:
        yield opened


def tidy(store: SqliteStore, *, keep_days: float) -> None:
    Housekeeping(store, keep_days * DAY_S, NOW.timestamp, lambda: True).tidy(threading.Event())


def save(store: SqliteStore, number: int, phase: Phase, *, days_ago: float) -> str:
    project_id = f"{number:024x}"
    updated = (NOW - timedelta(days=days_ago)).isoformat()
    status = first_status(project_id, updated).model_copy(update={"phase": phase.value})
    store.save(ProjectRecord(Project(project_id, phase=phase), status), events=[EVENT], entries=[EVENT])
    return project_id


def is_kept(store: SqliteStore, project_id: str) -> bool:
    assert store.load(project_id) is not None
    events, entries = store.events(project_id, after=0, limit=9), store.entries(project_id, after=-1, limit=9)
    assert bool(events) == bool(entries)
    return bool(events)


@pytest.mark.parametrize("phase", [Phase.COMPLETED, Phase.FAILED, Phase.CANCELLED])
def test_what_ended_long_ago_is_forgotten_and_what_ended_lately_is_kept(store: SqliteStore, phase: Phase) -> None:
    old, new = save(store, 1, phase, days_ago=10.5), save(store, 2, phase, days_ago=9.5)

    tidy(store, keep_days=10)

    assert not is_kept(store, old)
    assert is_kept(store, new)


@pytest.mark.parametrize("phase", [phase for phase in Phase if not phase.is_terminal])
def test_what_runs_is_kept_however_old_it_is(store: SqliteStore, phase: Phase) -> None:
    running = save(store, 1, phase, days_ago=1000)

    tidy(store, keep_days=1)

    assert is_kept(store, running)


def test_times_of_another_zone_count_as_what_they_are(store: SqliteStore) -> None:
    project_id = save(store, 1, Phase.FAILED, days_ago=0)
    record = store.load(project_id)
    assert record is not None
    updated = record.status.model_copy(update={"updated": "2026-06-29T02:00:00+14:00"})  # 12:00 UTC on the 28th
    store.save(replace(record, status=updated))

    tidy(store, keep_days=1.6)
    assert is_kept(store, project_id)
    tidy(store, keep_days=1.4)
    assert not is_kept(store, project_id)


def test_many_are_forgotten_at_once(store: SqliteStore) -> None:
    old = [save(store, number, Phase.FAILED, days_ago=10) for number in range(120)]

    tidy(store, keep_days=1)

    assert not any(is_kept(store, project_id) for project_id in old)


def test_only_the_manager_on_duty_tidies_up_and_a_fault_stops_nobody(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "FIRST_AFTER_S", 0.0)
    monkeypatch.setattr(housekeeping, "EVERY_S", 0.0)
    old = save(store, 1, Phase.FAILED, days_ago=10)
    stopping, turns = threading.Event(), iter([False, False, True])

    def is_on_duty() -> bool:
        assert is_kept(store, old)
        if (turn := next(turns, None)) is not None:
            return turn
        stopping.set()
        return True

    failing = Failing(store)
    Housekeeping(failing, DAY_S, NOW.timestamp, is_on_duty).keep_house(stopping)

    assert failing.calls == 1
    assert is_kept(store, old)


class Failing(SqliteStore):
    """A store whose disk is full at the first call."""

    def __init__(self, store: SqliteStore) -> None:
        self._file = store._file
        self.calls = 0

    def ended_before(self, time: str, limit: int) -> list[str]:
        self.calls += 1
        raise StoreUnavailableError(time, str(limit))
