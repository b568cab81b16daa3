"""``flops tui``: projects and inboxes, live, in the terminal."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import click

from flops.cli.output import json_option
from flops.cli.session import session


@click.command()
@click.option("--user", default="", help="Only this user's projects.")
@json_option
def tui(user: str, *, as_json: bool) -> None:
    """Watch and steer projects in the terminal, live.

    It is for people: with --json it only says which commands are for scripts.
    """
    if find_spec("textual") is None:
        message = "The terminal interface needs the extra 'tui', which is not installed: pip install 'flops-fl[tui]'."
        raise click.ClickException(message)
    if as_json or not sys.stdout.isatty():
        message = "The terminal interface needs a terminal. In scripts use: flops project list, flops project inbox."
        raise click.UsageError(message)
    from flops.cli.project import caller  # noqa: PLC0415  what only this command needs
    from flops.tui.app import FlopsApp  # noqa: PLC0415
    from flops.tui.feed import Feed  # noqa: PLC0415

    with session() as opened:
        feed = Feed(opened)
        try:
            FlopsApp(feed, user=user, caller=caller(opened), begin=opened.start).run()
        finally:
            feed.close()
