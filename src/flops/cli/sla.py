"""``flops sla …``: works without a broker."""

from __future__ import annotations

import platform
from typing import Final, Literal, get_args

import click

from flops.cli.completion import sla_argument
from flops.cli.groups import SuggestingGroup
from flops.cli.output import json_option, print_json, print_result, print_table
from flops.cli.sla_questions import new
from flops.errors import InvalidSlaError
from flops.sla_library import SlaFile, SlaKind, list_slas, load_sla
from flops.wire.schemas import mock_data_schema, project_schema
from flops.wire.sla import parse_mock_data_sla, parse_project_sla, platform_of, unsupported
from flops.wire.sla_text import read_sla

KINDS: Final[tuple[Literal["projects", "mocks"], ...]] = get_args(SlaKind)
MOCK_KEY: Final = "mock_data_configuration"


@click.group(cls=SuggestingGroup)
def sla() -> None:
    """Make, list, show and validate SLA files; FLOps need not be up for it."""


sla.add_command(new)


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
@sla_argument(*KINDS)
@json_option
def show(file: str, *, as_json: bool) -> None:
    """Print an SLA FILE: a path, the name of a shipped one, or - for standard input."""
    found = load_sla(file, *KINDS)
    if as_json:
        print_json(read_sla(found.content).value)
    else:
        click.echo(found.content, nl=False)


@sla.command()
@sla_argument(*KINDS)
@click.option("--kind", type=click.Choice(KINDS), default=None, help="What it has to be; found out by default.")
@json_option
def validate(file: str, kind: str | None, *, as_json: bool) -> None:
    """Check an SLA FILE: name every fault in it, or everything that it asks for and that is not built yet."""
    found = load_sla(file, *KINDS)
    checked = kind or _kind_of(found)
    if checked == "mocks":
        parse_mock_data_sla(found.content)
    elif not_built := unsupported(parse_project_sla(found.content), platform_of(platform.machine())):
        raise InvalidSlaError(not_built)
    result = {"file": found.name, "kind": checked, "valid": True}
    print_result(result, as_json=as_json, render=lambda: click.echo(f"{found.name} is valid."))


@sla.command()
@click.option("--kind", type=click.Choice(KINDS), default="projects", show_default=True, help="Which kind of SLA.")
@json_option
def schema(kind: str, *, as_json: bool) -> None:  # noqa: ARG001  a schema is JSON anyway
    """Print the JSON Schema of an SLA, for editors."""
    print_json(project_schema() if kind == "projects" else mock_data_schema())


def _kind_of(file: SlaFile) -> str:
    document = read_sla(file.content).value
    return "mocks" if isinstance(document, dict) and MOCK_KEY in document else "projects"
