"""What has come since a log was last looked at, and from which moment on."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click
import pytest

from flops.cli.logs import new_lines
from flops.cli.since import Moment, lines_since

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.doubles.answers import Manager, Outcome


@pytest.mark.parametrize(
    ("before", "now", "new"),
    [
        ("", "a\nb\n", "a\nb\n"),
        ("a\nb\n", "a\nb\n", ""),
        ("a\nb\n", "a\nb\nc\n", "c\n"),
        ("a\nb\n", "b\nc\n", "c\n"),
        ("a\nhal", "a\nhalf\nc\n", "f\nc\n"),
        ("a\na\n", "a\na\na\n", "a\n"),
        ("x\n", "y\nz\n", "y\nz\n"),
        ("a\n", "", ""),
    ],
)
def test_only_what_is_new_is_shown(before: str, now: str, new: str) -> None:
    found = new_lines(before.splitlines(keepends=True), now.splitlines(keepends=True))
    assert "".join(found) == new


def test_lines_without_a_time_belong_to_the_one_before() -> None:
    text = "2030-01-01 10:00:00,1 INFO old\n  more\n2030-01-01 11:00:00,1 INFO new\nTraceback\n2030/01/01 12:00:00 x\n"
    since = datetime.fromisoformat("2030-01-01T10:30:00").astimezone()
    assert "".join(lines_since(text, since)).splitlines()[:2] == ["2030-01-01 11:00:00,1 INFO new", "Traceback"]
    assert lines_since(text, since + timedelta(days=1)) == []
    assert "".join(lines_since(text, None)) == text


def test_a_moment_is_so_long_ago_or_a_time() -> None:
    moment = Moment()
    ago = datetime.now(UTC) - moment.convert("10m", None, None)
    assert timedelta(minutes=9) < ago < timedelta(minutes=11)
    assert moment.convert("2030-01-31T10:00:00+00:00", None, None) == datetime(2030, 1, 31, 10, tzinfo=UTC)
    for nonsense in ("", "yesterday", "10", "999999999w", "-5m"):
        with pytest.raises(click.BadParameter, match="no moment"):
            moment.convert(nonsense, None, None)


def test_logs_are_followed_until_ctrl_c(
    flops: Callable[..., Outcome], manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([None, None])

    def look(_: float) -> None:
        if next(looks, 1):
            raise KeyboardInterrupt

    monkeypatch.setattr("flops.cli.logs.sleep", look)
    manager.pages["logs"] = [{"text": "a\n"}, {"text": "a\nb\n"}]
    manager.replies["logs"] = {"text": "a\nb\nc\n"}

    done = flops("logs", "trm", "-f", "--jsonl")

    assert done.exit_code == 130
    assert [json.loads(line)["line"] for line in done.stdout.splitlines()] == ["a", "b", "c"]
    assert "flops logs trm -f" in done.stderr
