"""Writes the documents that are generated from the code; with ``--check`` says which of them are out of date."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import yaml

from cli_page import cli_pages
from flops.wire.asyncapi import asyncapi
from flops.wire.schemas import mock_data_schema, project_schema
from flow_page import flow_page
from reference_pages import NOTE, error_classes, errors_page, events_page, sla_page
from settings_page import settings_page

if TYPE_CHECKING:
    from collections.abc import Container

ROOT: Final = Path(__file__).parents[1]
COMMANDS: Final = Path("docs/reference/cli")


def documents() -> dict[Path, str]:
    """Every generated document by its path in the project."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    return {
        Path("docs/reference/asyncapi.yaml"): _yaml(asyncapi(version)),
        **{COMMANDS / name: text for name, text in cli_pages(NOTE).items()},
        Path("docs/reference/events.md"): events_page(),
        Path("docs/reference/errors.md"): errors_page(error_classes(ROOT / "src" / "flops")),
        Path("docs/reference/flow.md"): flow_page(ROOT / "src" / "flops" / "project" / "workflow.py", NOTE),
        Path("docs/reference/settings.md"): settings_page(NOTE),
        Path("docs/reference/sla.md"): sla_page([project_schema(), mock_data_schema()]),
        Path("slas/schema/project.schema.json"): _json(project_schema()),
        Path("slas/schema/mock-data.schema.json"): _json(mock_data_schema()),
    }


def stale_documents() -> list[Path]:
    """The documents that are not what the code says, and pages of commands that are gone."""
    current = documents()
    stale = [path for path, text in current.items() if not _is_current(ROOT / path, text)]
    return [*stale, *_left_over(current)]


def write_documents() -> None:
    """Write every document, and remove pages of commands that are gone."""
    current = documents()
    for path, text in current.items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, encoding="utf-8")
    for path in _left_over(current):
        (ROOT / path).unlink()


def _left_over(current: Container[Path]) -> list[Path]:
    pages = (COMMANDS / file.name for file in sorted((ROOT / COMMANDS).glob("*.md")))
    return [path for path in pages if path not in current]


def _is_current(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def _json(document: object) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _yaml(document: object) -> str:
    return "# Written by 'make docs' from the code; change it there.\n" + yaml.safe_dump(
        document, sort_keys=False, allow_unicode=True, width=120
    )


def main(arguments: list[str]) -> int:
    """Write or check; returns an exit code."""
    if "--check" not in arguments:
        write_documents()
        return 0
    stale = stale_documents()
    for path in stale:
        print(f"{path} is out of date: run 'make docs'.", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
