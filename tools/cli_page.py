"""The page of all commands, from what they say of themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from flops.cli.main import cli

if TYPE_CHECKING:
    from collections.abc import Iterator


def cli_page(note: str) -> str:
    """One section per command."""
    sections = "\n".join(_section(words, command) for words, command in _commands(("flops",), cli))
    return f"""{note}
# Commands

Results go to stdout, everything else to stderr. With `--json` a result is one JSON document (for `project inbox` one
per line), and an error is `{{"error": {{"code", "message", "remedy", "errors"}}}}` on the last line of stderr. The
page of [errors](errors.md) says what exit codes mean.

A `PROJECT` is the id of a project, the beginning of one, or `@latest`.

{sections}"""


def _commands(words: tuple[str, ...], group: click.Group) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _commands((*words, name), command)
        elif command is not None:
            yield (*words, name), command


def _section(words: tuple[str, ...], command: click.Command) -> str:
    options = [item for item in command.params if isinstance(item, click.Option)]
    context = click.Context(command)
    usage = " ".join([*words, *command.collect_usage_pieces(context)])
    told = "\n\n".join(" ".join(part.split()) for part in (command.help or "").split("\n\n"))
    rows = "\n".join(_row(option, context) for option in options)
    table = f"| option | meaning |\n|---|---|\n{rows}\n" if rows else ""
    return f"## {' '.join(words)}\n\n    {usage}\n\n{told}\n\n{table}"


def _row(option: click.Option, context: click.Context) -> str:
    described = option.get_help_record(context)
    names, meaning = described or ("", "")
    return f"| `{' '.join(names.split())}` | {' '.join(meaning.split())} |"
