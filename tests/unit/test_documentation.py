"""What the documents point to is there, and the commands they name exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import click
import pytest

from flops.cli.main import cli

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
LINK: Final = re.compile(r"\]\((?P<target>[^)#\s]+)(?:#[^)]*)?\)")
COMMAND: Final = re.compile(
    r"(?:^|[`$(']| {4})flops (?P<words>[a-z][a-z-]*(?: [a-z][a-z-]*)?)(?P<rest>[^`'\n]*)", re.MULTILINE
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = [match["target"] for match in LINK.finditer(page.read_text(encoding="utf-8"))]
    broken = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_their_options_exist(page: Path) -> None:
    wrong = [
        match[0].strip()
        for match in COMMAND.finditer(page.read_text(encoding="utf-8"))
        if not exists(match["words"], match["rest"])
    ]
    assert wrong == []


def exists(words: str, rest: str) -> bool:
    command: click.Command | None = cli
    context = click.Context(cli)
    for word in words.split():
        if isinstance(command, click.Group):
            command = command.get_command(context, word)
    if command is None:
        return False
    known = {name for item in command.params for name in (*item.opts, *item.secondary_opts)} | {"--help", "-h"}
    asked = re.split(r"[|;&#)]", rest)[0]
    return set(re.findall(r"(?<=\s)--?[a-z][a-z-]*", asked)) <= known


def test_an_unknown_command_or_option_is_noticed() -> None:
    assert exists("project start", " FILE --watch")
    assert not exists("project begin", " FILE")
    assert not exists("project start", " FILE --wach")


def test_the_overview_lists_every_page() -> None:
    overview = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    folders = ("tutorial", "how-to", "explanation", "reference")
    pages = {
        f"{folder}/{file.name}" for folder in folders for file in (ROOT / "docs" / folder).iterdir() if file.is_file()
    }
    assert pages <= set(LINK.findall(overview))


def test_decisions_are_numbered_without_gap_or_repeat() -> None:
    decisions = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))
    numbers = [int(file.name[:4]) for file in decisions]
    assert numbers == list(range(1, len(decisions) + 1))
    for number, file in zip(numbers, decisions, strict=True):
        assert file.read_text(encoding="utf-8").startswith(f"# {number}. ")
