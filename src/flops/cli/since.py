"""``--since``: a moment that somebody means, as so long ago or as a time."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

import click

_AGO: Final = re.compile(r"(\d{1,9})\s*(s|m|h|d|w)")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
# As log lines of FLOps and of MLflow begin.
_LINE_TIME: Final = re.compile(r"(\d{4}[-/]\d\d[-/]\d\d[ T]\d\d:\d\d:\d\d)")


class Moment(click.ParamType):
    """A moment: ``10m`` (ago; s, m, h, d, w), or ``2030-01-31T10:00:00``, in local time without a zone."""

    name = "moment"

    def convert(self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The moment, with a zone."""
        if isinstance(value, datetime):
            return value
        try:
            if ago := _AGO.fullmatch(value.strip()):
                return datetime.now().astimezone() - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
            return datetime.fromisoformat(value).astimezone()
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is no moment. Write 10m, 2h or 3d (ago), or a time like 2030-01-31T10:00:00.", param, ctx
            )


def lines_since(text: str, since: datetime | None) -> list[str]:
    """The lines of a log from a moment on; a line without a time belongs to the one before it."""
    lines = text.splitlines(keepends=True)
    if since is None:
        return lines
    for number, line in enumerate(lines):
        if (found := _LINE_TIME.match(line)) and _time_of(found[1]) >= since.replace(microsecond=0):
            return lines[number:]
    return []


def _time_of(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("/", "-")).astimezone()
