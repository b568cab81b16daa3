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
per line), with `--jsonl` one line, or one for each item of a list; then an error is
`{{"error": {{"code", "message", "remedy", "errors"}}}}` on the last line of stderr. The page of
[errors](errors.md) says what exit codes mean. Before a command, `flops` takes:

{_options(cli)}
The page of [settings](settings.md) says which settings there are, and where files are looked for.

A `PROJECT` is the id of a project, the beginning of one, the name of its ML repository if only one project has it,
`NAME@latest` for the latest that has it, or `@latest`. The beginning of a name does for a service or instance, too.
`flops completion bash` (or `zsh`, `fish`) makes your shell complete all of them.

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
    context = click.Context(command)
    usage = " ".join([*words, *command.collect_usage_pieces(context)])
    told = "\n\n".join(" ".join(part.split()) for part in (command.help or "").split("\n\n"))
    return f"## {' '.join(words)}\n\n    {usage}\n\n{told}\n\n{_options(command)}"


def _options(command: click.Command) -> str:
    context = click.Context(command)
    options = [item for item in command.params if isinstance(item, click.Option)]
    rows = "\n".join(_row(option, context) for option in options)
    return f"| option | meaning |\n|---|---|\n{rows}\n" if rows else ""


def _row(option: click.Option, context: click.Context) -> str:
    described = option.get_help_record(context)
    names, meaning = described or ("", "")
    return f"| `{' '.join(names.split())}` | {' '.join(meaning.split())} |"
