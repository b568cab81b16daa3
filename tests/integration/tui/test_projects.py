"""The terminal interface in front of real managers and observers, over a real broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from tests.brokers import wait_until
from tests.chaos.house import ForgetfulBroker, House

from flops.adapters import embedded_broker
from flops.errors import NotFoundError
from flops.wire.requests import ShowProject

pytest.importorskip("textual")

from tests.integration.tui.seat import drawn, inbox, lines, listed, session_at, sit_down, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from textual.pilot import Pilot

    from flops.tui.app import FlopsApp

ROUNDS: Final = 250
AWAY: Final = "The broker cannot be reached"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A manager, and a broker that forgets everything when it is killed."""
    if not embedded_broker.find_mosquitto():
        pytest.skip("Mosquitto is not installed")
    directory = tmp_path_factory.mktemp("place")
    broker = ForgetfulBroker(directory / "broker-home", "mosquitto")
    broker.start()
    made = House(directory / "house", broker)
    yield made
    made.close()
    broker.stop()


def test_a_late_start_finds_the_whole_inbox(place: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flops.tui.watching.FIRST_LOADED", ROUNDS // 2)
    project_id = place.perform("late", user="Late", rounds=ROUNDS).project_id
    kept = [int(entry["sequence"]) for entry in place.entries(project_id)]

    async def part(app: FlopsApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: bool(lines(app)) and lines(app)[-1] == kept[-1])
        assert lines(app) == kept[-ROUNDS // 2 :]
        await pilot.press("1")
        while lines(app)[0] > 1:
            first = lines(app)[0]
            await pilot.press("home", "up")
            await until(pilot, lambda: lines(app)[0] < first)  # noqa: B023  waited for at once
        assert lines(app) == kept
        await pilot.press("end")
        await until(pilot, lambda: "Project completed" in drawn(app))

    session = session_at(place.broker.access, tmp_path)
    sit_down(session, part, user="Late")
    session.close()


def test_a_broker_that_is_killed_costs_no_entry(place: House, tmp_path: Path) -> None:
    place.cast.pause_s = 0.02
    project_id = place.start("disturbed", user="Disturbed", rounds=150)
    seen: list[int] = []

    async def part(app: FlopsApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: app.watching.selected == project_id and len(lines(app)) > 40)
        place.broker.kill()
        await until(pilot, lambda: AWAY in drawn(app))
        place.broker.start()
        await until(pilot, lambda: AWAY not in drawn(app))
        await until(pilot, lambda: "Project completed" in drawn(app))
        seen.extend(lines(app))

    session = session_at(place.broker.access, tmp_path)
    sit_down(session, part, user="Disturbed", size=(120, 30))
    session.close()
    assert seen == [entry["sequence"] for entry in place.end(project_id).entries] == list(range(1, len(seen) + 1))


def test_keys_cancel_and_delete(place: House, tmp_path: Path) -> None:
    place.cast.holds_training = True
    project_id = place.start("unwanted", user="Unwanted")

    async def part(app: FlopsApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: app.watching.selected == project_id and "training" in drawn(app))
        await pilot.press("c", "n")
        await pilot.press("c", "y")
        await until(pilot, lambda: "cancelled" in drawn(app))
        await until(pilot, lambda: place.status(project_id)["phase"] == "cancelled")
        await until(pilot, lambda: inbox(app).lines[-1]["event_type"] == "project.cancelled")
        await pilot.press("d", "y")
        await until(pilot, lambda: project_id not in listed(app))

    session = session_at(place.broker.access, tmp_path)
    sit_down(session, part, user="Unwanted")
    session.close()
    with pytest.raises(NotFoundError):
        place.ask("project", ShowProject(project_id=project_id))
    wait_until(lambda: place.orchestrator.running(project_id) == [])
