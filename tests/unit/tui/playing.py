"""Using the interface as a person does, in a terminal that nobody sees."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tests.doubles.tui import ID
from textual.widgets import DataTable, Static

from flops.tui.app import FlopsApp
from flops.tui.feed import Feed
from flops.tui.inbox_view import InboxView
from flops.tui.steering import Ways

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.doubles.tui import Desk
    from textual.pilot import Pilot

WITHIN_S = 10.0
SMALL = (80, 24)
WIDE = (200, 50)


def play(
    desk: Desk,
    part: Callable[[FlopsApp, Pilot[None]], Awaitable[None]],
    size: tuple[int, int] = SMALL,
    ways: Ways | None = None,
) -> None:
    """Let somebody use the interface."""

    async def run() -> None:
        feed = Feed(desk.link())
        app = FlopsApp(feed, ways or Ways(lambda _: ID, lambda _: "", lambda *_: []), caller="ada")
        try:
            async with app.run_test(size=size) as pilot:
                await until(pilot, lambda: not desk.listed or app.query_one(DataTable).row_count == len(desk.listed))
                await part(app, pilot)
        finally:
            feed.close()

    asyncio.run(run())


async def until(pilot: Pilot[None], holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline
        await pilot.pause(0.02)


def lines(app: FlopsApp) -> list[int]:
    return [shown["sequence"] for shown in app.screen_stack[0].query_one(InboxView).lines]


def shown(app: FlopsApp, name: str) -> str:
    return str(app.screen.query_one(name, Static).content)


def drawn(app: FlopsApp) -> str:
    """The text of the screen as it is drawn."""
    return app.export_screenshot().replace("&#160;", " ")
