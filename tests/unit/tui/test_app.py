from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import pytest
from tests.doubles.tui import ID, Desk, entry, status

pytest.importorskip("textual")

from tests.unit.tui.playing import SMALL, drawn, lines, play, shown, until

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from flops.adapters.memory_bus import MemoryBroker
    from flops.tui.app import FlopsApp


def test_a_late_start_shows_the_whole_inbox_and_filters_it(desk: Desk) -> None:
    desk.listed, desk.kept = [status(entries=30)], [entry(number) for number in range(1, 31)]

    async def part(app: FlopsApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: lines(app) == list(range(1, 31)))
        await pilot.press("slash", "y", " ", "3", "enter")
        assert lines(app) == [3, 30]
        await pilot.press("escape")
        assert len(lines(app)) == 30

    play(desk, part)


@pytest.mark.parametrize("size", [SMALL, (200, 50)])
def test_the_newest_entry_is_seen(desk: Desk, size: tuple[int, int]) -> None:
    long = "a long text " * 40
    desk.listed, desk.kept = (
        [status(entries=60)],
        [entry(number, text=f"entry {number} {long}") for number in range(1, 61)],
    )

    async def part(app: FlopsApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: len(lines(app)) == 60)
        await until(pilot, lambda: "entry 60 " in drawn(app))

    play(desk, part, size)


def test_the_newest_project_is_selected_whichever_is_heard_of_first(desk: Desk) -> None:
    newer = "f" * 24
    desk.tell_status(status())
    desk.listed = [status(project_id=newer, created="2030-01-02T10:00:00+00:00"), status()]

    async def part(app: FlopsApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: app.watching.selected == newer)
        await pilot.press("down")
        await until(pilot, lambda: app.watching.selected == ID)

    play(desk, part)


def test_an_entry_opens_with_its_details(desk: Desk) -> None:
    desk.listed, desk.kept = [status(entries=1)], [entry(1, details="Traceback of a learner", next_step="mend it")]

    async def part(app: FlopsApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: lines(app) == [1])
        await pilot.press("enter", "enter")
        assert "Traceback of a learner" in shown(app, "#text")
        assert "→ mend it" in shown(app, "#text")
        await pilot.press("escape", "question_mark")
        assert "filter the inbox" in shown(app, "#text")

    play(desk, part)


def test_a_banner_while_the_broker_is_away_and_no_entry_lost(desk: Desk, memory_broker: MemoryBroker) -> None:
    desk.listed, desk.kept = [status(entries=1)], [entry(1)]

    async def part(app: FlopsApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: lines(app) == [1])
        memory_broker.stop()
        await until(pilot, lambda: app.query_one("#banner").has_class("shown"))
        desk.kept += [entry(2)]
        memory_broker.start()
        await until(pilot, lambda: lines(app) == [1, 2])
        await until(pilot, lambda: not app.query_one("#banner").has_class("shown"))

    play(desk, part)


@pytest.mark.parametrize(("key", "request_name"), [("c", "cancel"), ("r", "retry"), ("d", "delete")])
def test_actions_ask_once(desk: Desk, key: str, request_name: str) -> None:
    desk.listed = [status()]

    async def part(app: FlopsApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: app.watching.selected == ID)
        await pilot.press(key, "n")
        await pilot.press(key)
        assert ID in shown(app, "#text")
        await pilot.press("y")
        await until(pilot, lambda: request_name in [name for name, _ in desk.heard])

    play(desk, part)
    assert [name for name, _ in desk.heard].count(request_name) == 1


def test_a_file_is_checked_while_it_is_typed(desk: Desk) -> None:
    async def part(app: FlopsApp, pilot: Pilot[None]) -> None:
        await pilot.press("s", *"nowhere")
        assert "✗" in shown(app, "#verdict")
        await pilot.press("escape")

    play(desk, part)


async def seconds_of_a_key(pilot: Pilot[None]) -> float:
    begun = time.monotonic()
    await pilot.press("f")
    return time.monotonic() - begun


@pytest.mark.timeout(60)
def test_keys_answer_at_once_during_a_burst(desk: Desk) -> None:
    """2,000 entries in a few seconds are far more than 10,000 a minute."""
    desk.listed = [status(entries=0)]

    async def part(app: FlopsApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: app.watching.selected == ID and app.watching.entries.is_loaded)
        quiet_s = [await seconds_of_a_key(pilot) for _ in range(20)]
        burst_s = []
        for hundred in range(20):
            for number in range(100 * hundred + 1, 100 * hundred + 101):
                desk.tell(entry(number))
            burst_s.append(await seconds_of_a_key(pilot))
        await until(pilot, lambda: len(lines(app)) == 2000)
        # What two keys may take is a matter of the machine; bursts may add what nobody feels.
        assert statistics.median(burst_s) < 4 * statistics.median(quiet_s) + 0.05, burst_s

    play(desk, part)
