"""The tutorial, done word by word: its files are written, its commands are run, and their output is compared.

Only the installation itself (blocks of ``sh``) is left out: the tests run in one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from tests.system.installation import Installation

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("tutorial")]

TUTORIAL: Final = Path(__file__).parents[2] / "docs" / "tutorial" / "first-project.md"
COMMAND_TIMEOUT_S: Final = 400.0
BLOCK: Final = re.compile(r"^```(?P<info>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
ANYTHING: Final = "…"


@dataclass(frozen=True)
class File:
    """A file that the reader writes."""

    name: str
    text: str


@dataclass(frozen=True)
class Command:
    """A command that the reader runs, and the lines that are promised, in their order, among what it prints."""

    line: str
    promised: tuple[str, ...]


class Reader:
    """Somebody who does what the page says, in a shell that remembers where it is."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self._environment = environment
        self._place = folder.parent / "place"

    def write(self, file: File) -> None:
        (self.folder / file.name).write_text(file.text)

    def run(self, command: Command) -> None:
        script = f"{command.line}\ncode=$?; pwd > '{self._place}'; exit $code"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"$ {command.line}\n{done.stdout}"
        assert_promised(command, done.stdout)
        self.folder = Path(self._place.read_text().strip())


def steps_of(page: str) -> Iterator[File | Command]:
    """What the page asks for, in its order."""
    for block in BLOCK.finditer(page):
        language, _, name = block["info"].partition(" file=")
        if name:
            yield File(name, block["body"])
        elif language == "console":
            yield from _commands(block["body"])


def _commands(body: str) -> Iterator[Command]:
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        line, *promised = part.splitlines()
        yield Command(line, tuple(promised))


def assert_promised(command: Command, printed: str) -> None:
    """Every promised line is printed, in that order; spaces do not matter, and ``…`` stands for anything."""
    lines = iter([" ".join(line.split()) for line in printed.splitlines()])
    for promise in command.promised:
        pattern = ".*".join(re.escape(part) for part in " ".join(promise.split()).split(ANYTHING))
        assert any(re.fullmatch(pattern, line) for line in lines), f"$ {command.line}\n{promise}\n---\n{printed}"


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    installation = Installation(tmp_path / "home")
    environment = installation.environment
    path = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    folder = tmp_path / "somewhere"
    folder.mkdir()
    yield Reader(folder, {**environment, "PATH": path})
    installation.flops("down")
    assert installation.processes() == []


def test_the_tutorial_does_what_it_says(reader: Reader) -> None:
    steps = list(steps_of(TUTORIAL.read_text(encoding="utf-8")))
    assert len(steps) > 30
    for step in steps:
        if isinstance(step, File):
            reader.write(step)
        else:
            reader.run(step)


def test_a_promise_that_is_not_kept_is_noticed() -> None:
    kept = Command("x", ("Round 1/5: …%.", "done"))
    assert_promised(kept, "begin\nRound  1/5: 97.1%.\nmore\ndone\n")
    with pytest.raises(AssertionError, match="done"):
        assert_promised(kept, "done\nRound 1/5: 97.1%.\n")
