"""``flops config …``: what is set, and where each value comes from."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import Final

import click

from flops.bootstrap import adapters
from flops.cli.groups import SuggestingGroup
from flops.cli.output import json_option, print_result, print_table, say
from flops.configuration import CHOICE, KEYS, Choice, unknown_variables, user_file
from flops.settings import LocalNode, Settings, without_credentials

DEFAULT: Final = "default"


@click.group(cls=SuggestingGroup)
def config() -> None:
    """Show what is set, and where each value comes from."""


@config.command()
@json_option
def show(*, as_json: bool) -> None:
    """Show every setting, its value and where that comes from: a flag, the environment, a file or the default.

    The nearest one wins: --set, the environment, flops.toml in the current folder, your own flops.toml, the default.
    A context that --context names comes before the environment.
    """
    read = adapters.configuration()
    settings = read.settings()
    rows = [
        (key, _text(key, getattr(settings, key)), read.values[key].origin if key in read.values else DEFAULT)
        for key in (item.name for item in fields(Settings))
    ]
    files = [str(file.path) for file in read.files]

    def render() -> None:
        print_table(("SETTING", "VALUE", "FROM"), rows, empty="There are no settings.")
        say(f"Read: {', '.join(files) or f'no file; yours would be {user_file(os.environ)}'}.")
        if read.context:
            say(f"Context: {read.context}.")
        for name in unknown_variables(os.environ):
            say(f"The environment variable {name} is no setting and has no effect.")

    listed = [{"setting": key, "value": value, "from": origin} for key, value, origin in rows]
    print_result(listed, as_json=as_json, render=render)


@config.command()
@json_option
def contexts(*, as_json: bool) -> None:
    """List the named contexts of the configuration files; 'flops --context NAME …' uses one."""
    read = adapters.configuration()
    rows = [("*" if name == read.context else "", name, ", ".join(files)) for name, files in read.contexts().items()]
    result = [{"name": name, "current": bool(sign), "files": files} for sign, name, files in rows]
    empty = f"There are no contexts. Describe one in {user_file(os.environ)} with a table [contexts.NAME]."
    print_result(result, as_json=as_json, render=lambda: print_table(("CURRENT", "CONTEXT", "FROM"), rows, empty=empty))


def choose(context: str, file: str, values: tuple[str, ...]) -> None:
    """Let flags decide."""
    pairs = [text.partition("=") for text in values]
    for key, separator, _ in pairs:
        if not separator:
            message = f"'--set {key}' has to be --set SETTING=VALUE; settings are {', '.join(KEYS[:3])}, …"
            raise click.UsageError(message)
    CHOICE.set(Choice(context, file, tuple((key.strip().lower(), value) for key, _, value in pairs)))


def _text(key: str, value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(_node(node) for node in value)
    if isinstance(value, float):
        return f"{value:g}"
    return without_credentials(str(value)) if key.endswith("_url") else str(value)


def _node(node: LocalNode) -> str:
    return f"{node.name}:{'+'.join(sorted(node.capabilities, reverse=True))}"
