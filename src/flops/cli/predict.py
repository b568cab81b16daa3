"""``flops predict``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from flops.cli.completion import project_argument
from flops.cli.output import json_option, print_result
from flops.cli.session import session
from flops.errors import InvalidDataError, NotFoundError
from flops.inference.client import predict as ask_model
from flops.suggestions import did_you_mean_file
from flops.wire.requests import ShowProject

if TYPE_CHECKING:
    from collections.abc import Sequence

TABLES: Final = (".csv", ".npz", ".parquet")
LABELS: Final = {"label", "labels", "target", "y"}


@click.command()
@project_argument
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def predict(project_id: str, file: Path, *, as_json: bool) -> None:
    """Ask the trained model of a PROJECT for one prediction per row of FILE (.json, .csv, .npz or .parquet).

    A JSON file holds a list of rows. Of a table, columns that hold labels are left out.
    """
    rows = read_rows(file)
    with session() as opened:
        full_id = opened.project_id(project_id)
        status = opened.ask("project", ShowProject(project_id=full_id))["status"]
    url = status["inference_url"]
    if not url:
        raise NotFoundError("inference server of project", full_id, remedy=_why_not_served(status["phase"]))
    predictions = ask_model(url, rows)
    print_result(
        {"predictions": predictions},
        as_json=as_json,
        render=lambda: click.echo("\n".join(json.dumps(item) for item in predictions)),
    )


def _why_not_served(phase: str) -> str:
    if phase == "completed":
        return "Its SLA did not ask for 'deploy_trained_model_image' in 'post_training_steps'."
    return f"The project is {phase}; a model is served once its project is completed, if its SLA asks for it."


def read_rows(file: Path) -> Sequence[Any]:
    """The rows of a file, first dimension first.

    Raises:
        InvalidDataError: the file is none that can be read.
        NotFoundError: there is no such file.
    """
    if not os.path.isfile(file):  # noqa: PTH113  unlike pathlib's, it never raises
        raise NotFoundError("file", str(file), remedy=did_you_mean_file(str(file)))
    kind = file.suffix.lower()
    if kind == ".json":
        return _json_rows(file)
    if kind not in TABLES:
        remedy = f"Use a file that ends with .json, {', '.join(TABLES)}."
        raise InvalidDataError(f"{file} is of no known kind.", remedy=remedy)
    from flops.data.files import read_file  # noqa: PLC0415  Arrow is only for tables

    table = read_file(file)
    columns = [name for name in table.column_names if name.lower() not in LABELS]
    if len(columns) == 1:
        return list(table[columns[0]].to_pylist())
    return [[row[name] for name in columns] for row in table.select(columns).to_pylist()]


def _json_rows(file: Path) -> list[Any]:
    try:
        return parse_rows(file.read_text(), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidDataError(f"{file} cannot be read as JSON: {error}.") from error


def parse_rows(text: str, source: str) -> list[Any]:
    """The rows in a JSON text; ``source`` names it to a person.

    Raises:
        InvalidDataError: it holds none.
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise InvalidDataError(f"{source} cannot be read as JSON: it is nested too deeply.") from error
    except ValueError as error:
        raise InvalidDataError(f"{source} cannot be read as JSON: {error}.") from error
    rows = value.get("inputs", value.get("instances")) if isinstance(value, dict) else value
    if not isinstance(rows, list) or not rows:
        raise InvalidDataError(f"{source} holds no list of rows.", remedy='Write [[…], […]], or {"inputs": [[…]]}.')
    return rows
