"""A seat in front of the terminal interface: the real one, connected to a real broker, without a terminal."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from textual.widgets import DataTable

from flops.cli.session import Session
from flops.settings import Settings
from flops.tui.app import FlopsApp
from flops.tui.feed import Feed
from flops.tui.inbox_view import InboxView
from flops.tui.steering import Ways

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from textual.app import App
    from textual.pilot import Pilot

    from flops.settings import BrokerAccess
    from flops.tui.feed import Link

    Part = Callable[[FlopsApp, Pilot[None]], Awaitable[None]]

WITHIN_S: Final = 30.0
SMALL: Final = (80, 24)
NO_WAYS: Final = Ways(begin=lambda _: "", provide=lambda _: "", predict=lambda _, __: [])


def session_at(access: BrokerAccess, directory: Path) -> Session:
    """A connection as ``flops tui`` has it."""
    password = directory / "password"
    password.write_text(access.password)
    settings = Settings(
        directory / "home",
        broker_url=access.url,
        broker_username=access.username,
        broker_password_file=str(password),
    )
    return Session(settings)


def sit_down(link: Link, part: Part, *, user: str = "", size: tuple[int, int] = SMALL) -> None:
    """Start the interface, and let somebody use it."""

    async def run() -> None:
        feed = Feed(link)
        app = FlopsApp(feed, NO_WAYS, user=user, caller=user)
        try:
            async with app.run_test(size=size) as pilot:
                await part(app, pilot)
        finally:
            feed.close()

    asyncio.run(run())


async def until(pilot: Pilot[None], holds: Callable[[], bool], within_s: float = WITHIN_S) -> None:
    """Wait for what the interface will show."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, drawn(pilot.app)
        await pilot.pause(0.02)


def inbox(app: FlopsApp) -> InboxView:
    """The inbox of the selected project."""
    return app.screen_stack[0].query_one(InboxView)


def lines(app: FlopsApp) -> list[int]:
    """The numbers of the entries that the inbox has loaded."""
    return [int(line["sequence"]) for line in inbox(app).lines]


def listed(app: FlopsApp) -> list[str]:
    """The ids of the projects, from above to below."""
    table = app.screen_stack[0].query_one("#projects", DataTable)
    return [str(key.value) for key in table.rows]


def drawn(app: App[Any]) -> str:
    """The text of the screen as it is drawn."""
    strips = app.screen._compositor.render_strips()
    return "\n".join(strip.text.rstrip() for strip in strips)
