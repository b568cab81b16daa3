"""``flops sla …``: works without a broker."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

import click

from flops.cli.output import json_option, print_json, print_result, print_table
from flops.sla_library import SlaKind, find_sla, list_slas
from flops.wire.schemas import mock_data_schema, project_schema
from flops.wire.sla import parse_mock_data_sla, parse_project_sla

KINDS: tuple[Literal["projects", "mocks"], ...] = ("projects", "mocks")
kind_option = click.option(
    "--kind", type=click.Choice(KINDS), default="projects", show_default=True, help="Project or mock-data SLAs."
)


@click.group()
def sla() -> None:
    """List, show and validate SLA files."""


@sla.command(name="list")
@json_option
def list_files(*, as_json: bool) -> None:
    """List the shipped SLA files."""
    found = [(kind, path.stem, str(path)) for kind in KINDS for path in list_slas(kind)]
    result = [{"kind": kind, "name": name, "path": path} for kind, name, path in found]
    print_result(
        result,
        as_json=as_json,
        render=lambda: print_table(("KIND", "NAME", "FILE"), found, empty="No SLA files are shipped."),
    )


@sla.command()
@click.argument("file")
@kind_option
def show(file: str, kind: str) -> None:
    """Print an SLA FILE (a path, or the name of a shipped one)."""
    click.echo(find_sla(file, cast("SlaKind", kind)).read_text(), nl=False)


@sla.command()
@click.argument("file", type=click.Path(path_type=Path))
@kind_option
@json_option
def validate(file: Path, kind: str, *, as_json: bool) -> None:
    """Check an SLA FILE and name every fault in it."""
    path = find_sla(str(file), cast("SlaKind", kind))
    parse = parse_project_sla if kind == "projects" else parse_mock_data_sla
    parse(path.read_bytes())
    print_result({"file": str(path), "valid": True}, as_json=as_json, render=lambda: click.echo(f"{path} is valid."))


@sla.command()
@kind_option
def schema(kind: str) -> None:
    """Print the JSON Schema of an SLA, for editors."""
    print_json(project_schema() if kind == "projects" else mock_data_schema())
