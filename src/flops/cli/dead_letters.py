"""``flops dead-letters …``: messages that FLOps could not understand."""

from __future__ import annotations

import base64
import textwrap
from typing import TYPE_CHECKING, Any, Final

import click

from flops.cli.groups import SuggestingGroup
from flops.cli.output import json_option, local_time, print_result, print_table, visible
from flops.cli.session import session
from flops.wire.limits import MAX_PAGE
from flops.wire.requests import DropDeadLetters, ListDeadLetters, ShowDeadLetter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flops.cli.session import Session

SHOWN_BYTES: Final = 4096
HEX_DIGITS: Final = 64


@click.group(name="dead-letters", cls=SuggestingGroup)
def dead_letters() -> None:
    """List, show and drop messages that could not be understood."""


@dead_letters.command(name="list")
@json_option
def list_letters(*, as_json: bool) -> None:
    """List them, oldest first.

    Of a flood on one topic only the first are kept; the manager's log says how many came.
    """
    with session() as opened:
        letters = list(_letters(opened))
    rows = [
        (item["number"], local_time(item["time"]), item["topic"], item["size_bytes"], item["reason"])
        for item in letters
    ]
    columns = ("NUMBER", "TIME", "TOPIC", "BYTES", "REASON")
    print_result(
        letters, as_json=as_json, render=lambda: print_table(columns, rows, empty="There are no dead letters.")
    )


@dead_letters.command()
@click.argument("number", type=click.IntRange(1))
@json_option
def show(number: int, *, as_json: bool) -> None:
    """Show one with its payload: as text where it is UTF-8, else in hexadecimal digits."""
    with session() as opened:
        letter = opened.ask("dead-letter", ShowDeadLetter(number=number))
    payload = base64.b64decode(letter.pop("payload"))
    kind, text = _readable(payload)
    result = {**letter, "text": None, "hex": None, kind: text}
    print_result(result, as_json=as_json, render=lambda: _render(letter, payload))


@dead_letters.command()
@click.argument("numbers", nargs=-1, type=click.IntRange(1))
@click.option("--all", "drop_all", is_flag=True, help="Drop all of them.")
@json_option
def drop(numbers: tuple[int, ...], *, drop_all: bool, as_json: bool) -> None:
    """Forget the dead letters with these NUMBERS, or all."""
    if bool(numbers) == drop_all:
        message = "Give the numbers of dead letters, or --all."
        raise click.UsageError(message)
    with session() as opened:
        dropped = sum(opened.ask("dead-letters-drop", question)["dropped"] for question in _drops(numbers))
    print_result({"dropped": dropped}, as_json=as_json, render=lambda: click.echo(f"{dropped} dropped."))


def _letters(opened: Session) -> Iterator[dict[str, Any]]:
    after, more = 0, True
    while more:
        answer = opened.ask("dead-letters", ListDeadLetters(after=after))
        yield from answer["letters"]
        after = max([after, *(item["number"] for item in answer["letters"])])
        more = bool(answer["more"])


def _render(letter: dict[str, Any], payload: bytes) -> None:
    shown = {**letter, "time": local_time(letter["time"])}
    for name, value in shown.items():
        click.echo(f"{name.replace('_', ' '):>14}  {visible(str(value))}")
    kind, text = _readable(payload[:SHOWN_BYTES])
    cut = f", the first {SHOWN_BYTES:,} bytes" if len(payload) > SHOWN_BYTES else ""
    click.echo(f"{'payload':>14}  {len(payload):,} bytes kept, as {kind}{cut}:")
    click.echo(visible(text) if kind == "text" else textwrap.fill(text, HEX_DIGITS))


def _readable(payload: bytes) -> tuple[str, str]:
    """Text or hexadecimal digits; a text may have been cut inside of a character."""
    for end in range(len(payload), max(len(payload) - 4, -1), -1):
        try:
            return "text", payload[:end].decode()
        except UnicodeDecodeError:
            continue
    return "hex", payload.hex()


def _drops(numbers: tuple[int, ...]) -> Iterator[DropDeadLetters]:
    if not numbers:
        yield DropDeadLetters(all=True)
    for start in range(0, len(numbers), MAX_PAGE):
        yield DropDeadLetters(numbers=list(numbers[start : start + MAX_PAGE]))
