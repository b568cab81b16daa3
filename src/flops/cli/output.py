"""Results on stdout, as tables or JSON; everything else on stderr."""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from flops.errors import CommandInterruptedError, InvalidSlaError, RequestRefusedError, UnexpectedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from flops.errors import FlopsError, SlaFault

USAGE_CODE: Final = "usage"
_CONTROLS: Final = frozenset({*range(0x20), *range(0x7F, 0xA0)}) - {0x09, 0x0A}
_DIRECTIONS: Final = frozenset({0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)})
_ESCAPES: Final = {
    **{code: f"\\u{code:04x}" for code in _DIRECTIONS},
    **{code: f"\\x{code:02x}" for code in _CONTROLS},
    0x0D: r"\r",
}
_JSON_ESCAPES: Final = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), *_DIRECTIONS)}

_LINES: Final = "flops.lines"
Command = TypeVar("Command", bound="Callable[..., Any]")


def json_option(command: Command) -> Command:
    """Let a command take ``--json`` and ``--jsonl``; it gets ``as_json``."""
    lines = click.option(
        "--jsonl",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_remember_lines,
        help="Print the result as JSON, one item of a list per line.",
    )
    document = click.option(
        "--json", "as_json", is_flag=True, callback=_json_or_lines, help="Print the result as JSON."
    )
    return document(lines(command))


def _remember_lines(context: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001  click calls it
    context.meta[_LINES] = value


def _json_or_lines(context: click.Context, _: click.Parameter, value: bool) -> bool:  # noqa: FBT001  click calls it
    return value or bool(context.meta.get(_LINES))


def visible(text: str) -> str:
    """A text from elsewhere, of which a terminal obeys nothing but line ends and tabs.

    Logs and messages may hold escape sequences that move the cursor, change the window's title or hide what follows,
    and marks that change the direction of writing.
    """
    return text.replace("\r\n", "\n").translate(_ESCAPES)


def in_one_line(value: object) -> str:
    """A value as a line of JSON, safe to show."""
    return json.dumps(value, ensure_ascii=False, default=str).translate(_JSON_ESCAPES)


def styled(text: str, **style: Any) -> str:  # noqa: ANN401  what click.style takes
    """A text with colours, unless somebody wants none (see no-color.org); where no terminal is, click drops them."""
    is_plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return text if is_plain else click.style(text, **style)


def say(text: str) -> None:
    """Tell a person something that is not the result."""
    click.echo(text, err=True)


def print_json(value: object) -> None:
    """One JSON document on stdout; with ``--jsonl`` one line, or one per item of a list."""
    context = click.get_current_context(silent=True)
    if context is not None and context.meta.get(_LINES):
        for item in value if isinstance(value, list) else [value]:
            click.echo(in_one_line(item))
        return
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str).translate(_JSON_ESCAPES))


def print_result(value: object, *, as_json: bool, render: Callable[[], None]) -> None:
    """The result, as JSON or as ``render`` prints it."""
    if as_json:
        print_json(value)
    else:
        render()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
    """A table for a person; where stdout is no terminal, columns separated by tabs."""
    rows = [[_cell(cell) for cell in row] for row in rows]
    if not rows:
        say(empty)
        return
    if not sys.stdout.isatty():
        for row in (list(columns), *rows):
            click.echo("\t".join(row))
        return
    from rich.console import Console  # noqa: PLC0415  only a table for a person needs it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=place == 0)  # the first names the row: it is to be copied
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def show_error(error: FlopsError) -> None:
    """An error for a person, or as one line of JSON where JSON was asked for."""
    listed = error.errors if isinstance(error, InvalidSlaError | RequestRefusedError) else []
    code = error.refusal_code if isinstance(error, RequestRefusedError) else error.code
    _show_message(code, error.message, error.remedy, [_fields(item) for item in listed])


def _show_message(code: str, message: str, remedy: str, errors: Sequence[dict[str, Any]] = ()) -> None:
    """What went wrong, and what to do, likewise."""
    if _wants_json():
        body = {"code": code, "message": message, "remedy": remedy, "errors": list(errors)}
        say(in_one_line({"error": body}))
        return
    say(styled("Error: ", fg="red", bold=True) + visible(message))
    if remedy:
        say(f"  → {visible(remedy)}")


def show_usage_error(error: click.ClickException) -> None:
    """A command line that cannot be understood, likewise."""
    context = getattr(error, "ctx", None)
    remedy = f"See: {context.command_path} --help" if context else ""
    _show_message(USAGE_CODE, _as_sentence(error.format_message()), remedy)


def show_interruption() -> None:
    """That somebody has pressed Ctrl-C, likewise."""
    error = CommandInterruptedError()
    if _wants_json():
        show_error(error)
    else:
        say(error.message)


def show_unexpected_error(error: Exception) -> None:
    """A mistake of FLOps itself; its trace is for those who mend it."""
    import tempfile  # noqa: PLC0415  only an error needs it
    import traceback  # noqa: PLC0415

    with tempfile.NamedTemporaryFile("w", prefix="flops-error-", suffix=".txt", delete=False) as trace:
        trace.writelines(traceback.format_exception(error))
    show_error(UnexpectedError(error, trace.name))


def _wants_json() -> bool:
    return not {"--json", "--jsonl"}.isdisjoint(sys.argv)


def _as_sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _fields(item: SlaFault | dict[str, Any]) -> dict[str, Any]:
    from dataclasses import asdict  # noqa: PLC0415  only an error needs it

    return item if isinstance(item, dict) else asdict(item)


def percent(accuracy: float | None) -> str:
    """An accuracy for a person, or nothing."""
    return "" if accuracy is None else f"{accuracy:.2%}"


def local_time(time: str) -> str:
    """A time of the wire in this machine's time zone."""
    return datetime.fromisoformat(time).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _cell(value: object) -> str:
    return "-" if value in {"", None} else visible(str(value)).replace("\n", r"\n").replace("\t", r"\t")
