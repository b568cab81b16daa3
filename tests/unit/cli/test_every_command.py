"""What holds for every command: JSON where it was asked for, documented exit codes, no colours in a pipe."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
import pytest
from tests.doubles.answers import ID

from flops.cli.main import cli
from reference_pages import EXIT_CODES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.doubles.answers import Outcome

STARTING = {("up",), ("demo",)}
ARGUMENTS = {"project_id": ID, "service": "trmodel1.0", "number": "1", "shell": "bash", "tag": "digits"}
LAST_ARGUMENTS = {
    ("p",): ["--project-sla-file-name", "digits_sklearn_small"],
    ("dead-letters", "drop"): ["--all"],
    ("sla", "new"): ["--yes"],
}


def commands(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        elif command is not None:
            yield (*words, name), command


EVERY = dict(commands(cli))
QUIET = [words for words in EVERY if words not in STARTING]


def arguments_of(words: tuple[str, ...], file: str) -> list[str]:
    given = [item for item in EVERY[words].params if isinstance(item, click.Argument) and item.required]
    return [*words, *(ARGUMENTS.get(item.name or "", file) for item in given), *LAST_ARGUMENTS.get(words, [])]


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_a_command_says_what_it_does_and_takes_both_kinds_of_json(words: tuple[str, ...]) -> None:
    command = EVERY[words]
    assert (command.help or "").strip()
    options = {name for item in command.params for name in item.opts}
    assert {"--json", "--jsonl"} <= options
    assert all(item.help for item in command.params if isinstance(item, click.Option))


@pytest.mark.parametrize("option", ["--json", "--jsonl"])
@pytest.mark.parametrize("words", QUIET, ids=" ".join)
def test_with_nothing_up_a_command_ends_in_json_and_a_documented_code(
    flops: Callable[..., Outcome], words: tuple[str, ...], option: str
) -> None:
    done = flops(*arguments_of(words, "digits_sklearn_small"), option)

    assert done.exit_code in EXIT_CODES
    assert "\x1b" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    if done.stdout and option == "--jsonl":
        assert all(json.loads(line) is not None for line in done.stdout.splitlines())
    elif done.stdout:
        json.loads(done.stdout)
    elif done.exit_code or option == "--json":  # an empty list has no lines
        assert {"code", "message", "remedy", "errors"} == set(done.error)


@pytest.mark.parametrize("words", QUIET, ids=" ".join)
def test_a_wrong_option_is_an_error_of_usage_in_json(flops: Callable[..., Outcome], words: tuple[str, ...]) -> None:
    done = flops(*words, "--no-such-option", "--json")
    assert (done.exit_code, done.error["code"]) == (2, "usage")


@pytest.mark.parametrize("words", QUIET, ids=" ".join)
def test_help_is_plain_in_a_pipe(flops: Callable[..., Outcome], words: tuple[str, ...]) -> None:
    done = flops(*words, "--help")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
