"""Results on stdout, as tables or JSON; everything else on stderr."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from flops.errors import InvalidSlaError, RequestRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from flops.errors import FlopsError

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def say(text: str) -> None:
    """Tell a person something that is not the result."""
    click.echo(text, err=True)


def print_json(value: object) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


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
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def show_error(error: FlopsError) -> None:
    """An error for a person, or as JSON where JSON was asked for."""
    if "--json" in sys.argv:
        listed = error.errors if isinstance(error, InvalidSlaError | RequestRefusedError) else []
        faults = [item if isinstance(item, dict) else vars_of(item) for item in listed]
        body = {"code": error.code, "message": error.message, "remedy": error.remedy, "errors": faults}
        print_json({"error": body})
    say(click.style("Error: ", fg="red", bold=True) + error.message)
    if error.remedy:
        say(f"  → {error.remedy}")


def vars_of(item: object) -> dict[str, Any]:
    """The fields of a dataclass instance."""
    from dataclasses import asdict, is_dataclass  # noqa: PLC0415

    return asdict(item) if is_dataclass(item) and not isinstance(item, type) else {"message": str(item)}


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
