"""``flops logs``: the output of a service, followed if somebody wishes."""

from __future__ import annotations

from datetime import datetime
from time import sleep
from typing import TYPE_CHECKING, Final

import click

from flops.cli.completion import service_argument
from flops.cli.output import in_one_line, json_option, print_result, say, visible
from flops.cli.session import Session, session
from flops.cli.since import Moment, lines_since
from flops.errors import EXIT_INTERRUPTED, BrokerUnreachableError, NoAnswerError, NotFoundError
from flops.wire.requests import ReadLogs

if TYPE_CHECKING:
    from collections.abc import Callable
MOST_LINES: Final = 100_000
FOLLOWED_LINES: Final = 2_000
LOOK_S: Final = 1.0


@click.command()
@service_argument
@click.option(
    "--tail", "tail_lines", type=click.IntRange(1, MOST_LINES), default=200, show_default=True, help="How many lines."
)
@click.option("--since", type=Moment(), default=None, help="Only lines from then on: 10m, 2h, 3d (ago), or a time.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes; Ctrl-C ends it.")
@json_option
def logs(service: str, tail_lines: int, since: datetime | None, *, follow: bool, as_json: bool) -> None:
    """Print the end of the output of a SERVICE or instance, also of one that has ended.

    SERVICE is a name or the beginning of one. With --follow and --json every line is a JSON document.
    """
    with session() as opened:
        read_lines = max(tail_lines, FOLLOWED_LINES) if follow else tail_lines
        full_name, text = _output(opened, service, read_lines)
        lines = lines_since(text, since)[-tail_lines:]
        if not follow:
            shown = "".join(lines)
            result = {"service": full_name, "text": shown}
            print_result(
                result, as_json=as_json, render=lambda: click.echo(visible(shown), nl=not shown.endswith("\n"))
            )
            return
        show = _as_json(full_name) if as_json else _as_text
        for line in lines:
            show(line)
        try:
            _follow(opened, ReadLogs(service=full_name, tail_lines=read_lines), text.splitlines(keepends=True), show)
        except KeyboardInterrupt:
            now = datetime.now().astimezone().isoformat(timespec="seconds")
            say(f"\nDetached. Come back with: flops logs {full_name} -f --since {now}")
            click.get_current_context().exit(EXIT_INTERRUPTED)


def new_lines(before: list[str], now: list[str]) -> list[str]:
    """What has come since the end of a log was ``before``, read as far back; a last line may have grown.

    The longest overlap counts. Without one everything is new.
    """
    if not before:
        return now
    *whole, last = before
    for first in range(len(before)):
        kept = len(whole) - first
        is_same = kept < len(now) and whole[first:] == now[:kept] and now[kept].startswith(last)
        if is_same and (now[kept] == last or not last.endswith("\n")):
            grown = now[kept].removeprefix(last)
            return [*([grown] if grown else []), *now[kept + 1 :]]
    return now


def _follow(opened: Session, question: ReadLogs, seen: list[str], show: Callable[[str], None]) -> None:
    while True:
        sleep(LOOK_S)
        try:
            answer = opened.ask("logs", question)
        except (BrokerUnreachableError, NoAnswerError):  # it comes back, and so do the lines
            continue
        now = str(answer["text"]).splitlines(keepends=True)
        for line in new_lines(seen, now):
            show(line)
        seen = now or seen


def _as_text(line: str) -> None:
    click.echo(visible(line), nl=False)


def _as_json(service: str) -> Callable[[str], None]:
    return lambda line: click.echo(in_one_line({"service": service, "line": line.rstrip("\n")}))


def _output(opened: Session, service: str, tail_lines: int) -> tuple[str, str]:
    """The full name of what was meant, and the end of its output; what has ended is known by its full name only."""
    try:
        return service, str(opened.ask("logs", ReadLogs(service=service, tail_lines=tail_lines))["text"])
    except NotFoundError as error:
        full = opened.instance(service)
        if full == service:
            raise error from None
        return full, str(opened.ask("logs", ReadLogs(service=full, tail_lines=tail_lines))["text"])
