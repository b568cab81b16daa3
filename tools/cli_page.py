"""A page for every command, from what the commands say of themselves, and an overview."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import click

from flops.cli.main import cli
from flops.cli.results import schema_of

if TYPE_CHECKING:
    from collections.abc import Iterator

Words = tuple[str, ...]
Schema = dict[str, Any]
LINES: Final = {"project inbox"}
FOOT: Final = "[All commands](README.md), [errors and exit codes](../errors.md), [settings](../settings.md)"
COMMENT_COLUMN: Final = 32


def cli_pages(note: str) -> dict[str, str]:
    """Every page by its file's name."""
    commands = dict(_commands((), cli))
    pages = {f"{'-'.join(words)}.md": _page(note, words, command) for words, command in commands.items()}
    return {"README.md": _overview(note, commands), **pages}


def _overview(note: str, commands: dict[Words, click.Command]) -> str:
    rows = "\n".join(
        f"| [`flops {' '.join(words)}`]({'-'.join(words)}.md) | {command.get_short_help_str(200)} |"
        for words, command in commands.items()
    )
    return f"""{note}
# Commands

In a terminal `flops` alone is `flops tui`.

| command | what it does |
|---|---|
{rows}

## What all of them have in common

- **Results** go to stdout, everything else to stderr. In a pipe there are no colours, and a table's columns are
  separated by tabs.
- **JSON**: with `--json` a result is one JSON document (of an inbox or a log that is followed, one per line), with
  `--jsonl` one line, or one for each item of a list. Every page says what is in it; later versions may add to that,
  nothing goes. An error is `{{"error": {{"code", "message", "remedy", "errors"}}}}` on the last line of stderr.
- **Exit codes** tell classes of errors apart; see [errors and exit codes](../errors.md).
- **A PROJECT** is the id of a project, the beginning of one, the name of its ML repository if only one project has it,
  `NAME@latest` for the latest that has it, or `@latest`. The beginning of a name does for a service or instance, too.
- **Completion**: `flops completion bash` (or `zsh`, `fish`) makes your shell complete commands, options and live ids.

Before a command, `flops` takes:

{_options(cli)}
[Settings](../settings.md) says which settings there are, and where files are looked for.
"""


def _commands(words: Words, group: click.Group) -> Iterator[tuple[Words, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _commands((*words, name), command)
        elif command is not None:
            yield (*words, name), command


def _page(note: str, words: Words, command: click.Command) -> str:
    name = " ".join(words)
    usage = " ".join(["flops", name, *command.collect_usage_pieces(click.Context(command))])
    told = "\n\n".join(" ".join(part.split()) for part in (command.help or "").split("\n\n"))
    schema = schema_of(name)
    shape = "\n".join(_shape(schema, schema.get("$defs", {})))
    each = "each line of the result is" if name in LINES else "the result is"
    return f"""{note}
# flops {name}

    {usage}

{told}

{_options(command)}
With `--json` {each}

```
{shape}
```

{FOOT}
"""


def _options(command: click.Command) -> str:
    context = click.Context(command)
    options = [item for item in command.params if isinstance(item, click.Option)]
    rows = "\n".join(_row(option, context) for option in options)
    return f"| option | meaning |\n|---|---|\n{rows}\n" if rows else ""


def _row(option: click.Option, context: click.Context) -> str:
    names, meaning = option.get_help_record(context) or ("", "")
    return f"| `{' '.join(names.split()).replace('|', chr(92) + '|')}` | {' '.join(meaning.split())} |"


def _shape(schema: Schema, kinds: Schema) -> list[str]:
    """What a value looks like, as lines that a person can read."""
    if reference := schema.get("$ref"):
        return _shape(kinds[reference.rpartition("/")[2]], kinds)
    if properties := schema.get("properties"):
        lines = [line for key, value in properties.items() for line in _member(key, value, kinds)]
        return ["{", *(f"  {line}" for line in lines), "}"]
    if items := schema.get("items"):
        return _enclosed("[", _shape(items, kinds), ", …]")
    if isinstance(values := schema.get("additionalProperties"), dict):
        return _enclosed("{NAME: ", _shape(values, kinds), ", …}")
    return [_simple(schema, kinds)]


def _simple(schema: Schema, kinds: Schema) -> str:
    if choices := schema.get("anyOf"):
        return " or ".join(" ".join(_shape(choice, kinds)) for choice in choices)
    if "const" in schema or "enum" in schema:
        return " or ".join(json.dumps(value) for value in schema.get("enum", [schema.get("const")]))
    names = {"object": "{…}", "array": "[…]"}
    kind = str(schema.get("type", "anything"))
    return names.get(kind, kind)


def _member(key: str, schema: Schema, kinds: Schema) -> list[str]:
    first, *others = _enclosed(f"{key}: ", _shape(schema, kinds), "")
    told = schema.get("description", "")
    return [f"{first:<{COMMENT_COLUMN}} # {told}" if told and not others else first, *others]


def _enclosed(before: str, lines: list[str], after: str) -> list[str]:
    first, *others = lines
    return [before + first + after] if not others else [before + first, *others[:-1], others[-1] + after]
