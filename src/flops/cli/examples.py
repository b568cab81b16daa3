"""``flops examples``."""

from __future__ import annotations

from pathlib import Path

import click

from flops.bootstrap import adapters
from flops.cli.output import json_option, print_result, print_table


@click.command()
@click.option(
    "--into", type=click.Path(path_type=Path), default=None, help="Where to make them; FLOPS_HOME by default."
)
@json_option
def examples(into: Path | None, *, as_json: bool) -> None:
    """Make the example ML repositories (real Git repositories) and print their URLs."""
    from flops.examples.repositories import create, names  # noqa: PLC0415

    directory = into or adapters.read_settings().home / "examples"
    made = {name: create(name, directory) for name in names()}
    rows = [(name, f"example://{name}", url) for name, url in made.items()]
    result = [{"name": name, "ml_repo_url": short, "url": url} for name, short, url in rows]
    columns = ("EXAMPLE", "AS ml_repo_url", "REPOSITORY")
    print_result(result, as_json=as_json, render=lambda: print_table(columns, rows, empty="No examples are shipped."))
