"""A clock that is set back and forth by an hour: order and deadlines do not notice."""

from __future__ import annotations

import itertools
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from tests.brokers import start_mosquitto, wait_until
from tests.chaos.house import House

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.conftest import Tell

pytestmark = pytest.mark.timeout(300)

LIBRARIES: Final = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/local/lib/faketime/libfaketimeMT.so.1")
HOUR_S: Final = 3600
BUILD_DEADLINE_S: Final = 4.0


def find_faketime() -> str:
    """Debian's libfaketime, or an empty string."""
    found = [path for pattern in LIBRARIES for path in Path("/").glob(pattern.removeprefix("/"))]
    return str(found[0]) if found else ""


class Clock:
    """The clock of all processes of a house, which is written into a file."""

    def __init__(self, file: Path) -> None:
        self._file, self.shift_s = file, 0
        self.shift(0)

    def shift(self, seconds: int) -> None:
        """Set the clock off by so many seconds."""
        self.shift_s = seconds
        draft = self._file.with_suffix(".draft")
        draft.write_text(f"{seconds:+d}s" if seconds else "+0s")
        draft.replace(self._file)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    if not find_faketime():
        pytest.skip("libfaketime is not installed (Debian: apt install faketime)")
    return Clock(tmp_path / "clock")


@pytest.fixture
def house(tmp_path: Path, clock: Clock) -> Iterator[House]:
    assert clock.shift_s == 0
    broker = start_mosquitto(tmp_path / "broker-home")
    settings = {
        "LD_PRELOAD": find_faketime(),
        "FAKETIME_TIMESTAMP_FILE": str(tmp_path / "clock"),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FLOPS_BUILD_DEADLINE_S": str(BUILD_DEADLINE_S),
    }
    made = House(tmp_path / "house", broker, pause_s=0.05, settings=settings)
    yield made
    made.close()
    broker.stop()


def test_a_clock_set_back_and_forth_changes_nothing_but_times(house: House, clock: Clock, tell: Tell) -> None:
    undisturbed = house.perform("undisturbed")
    project_id = house.start("disturbed")
    shifts = 0
    for seconds in itertools.cycle((HOUR_S, 0, -HOUR_S, 0)):
        seen = len(house.saves(project_id))
        wait_until(lambda: len(house.saves(project_id)) >= seen + 4 or is_over(house, project_id), 60)  # noqa: B023
        if is_over(house, project_id):
            break
        clock.shift(seconds)
        shifts += 1

    disturbed = house.end(project_id)

    assert disturbed.told == undisturbed.told
    hours = {datetime.fromisoformat(entry["time"]).replace(minute=0, second=0) for entry in disturbed.entries}
    assert max(hours) - min(hours) >= timedelta(hours=1), "the clock was not set at all"
    tell("clock set back and forth by an hour", times=shifts, lost=0)


def is_over(house: House, project_id: str) -> bool:
    return any(phase in {"completed", "failed"} for _, phase in house.saves(project_id))


@pytest.mark.parametrize("shift_s", [pytest.param(-HOUR_S, marks=pytest.mark.chaos), HOUR_S])
def test_a_deadline_passes_when_it_should(house: House, clock: Clock, tell: Tell, shift_s: int) -> None:
    house.cast.pause_s = HOUR_S  # a builder that says nothing
    project_id = house.start("late")
    house.await_phase(project_id, "building")
    begun = time.monotonic()
    clock.shift(shift_s)

    performance = house.end(project_id)

    took_s = min(at for at, phase in house.saves(project_id) if phase == "stopping") - begun
    assert performance.status["phase"] == "failed"
    assert BUILD_DEADLINE_S - 1 < took_s < BUILD_DEADLINE_S + 10
    tell(
        f"clock set by {shift_s:+d} s before a deadline of {BUILD_DEADLINE_S:g} s", times=1, lost=0, recoveries=[took_s]
    )
