"""``flops sla new``: asks its way to a valid project SLA; every answer is checked when it is given."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

import click

from flops.atomic_file import write_atomically
from flops.cli.output import json_option, print_result, say
from flops.errors import CannotWriteError, InvalidSlaError
from flops.wire.sla import Flavor, ProjectSla, Strategy, TrainingConfiguration, parse_project_sla

if TYPE_CHECKING:
    from collections.abc import Callable

FLAVORS: Final = get_args(Flavor)
STRATEGIES: Final = get_args(Strategy)
BUILD: Final = "build_image_for_trained_model"
DEPLOY: Final = "deploy_trained_model_image"
TRAINING: Final = "training_configuration"
EXAMPLE: Final[dict[str, Any]] = {
    "customerID": "Admin",
    "ml_repo_url": "example://digits_sklearn",
    "ml_model_flavor": "sklearn",
    TRAINING: {"data_tags": ["digits"], "training_rounds": 5, "min_available_clients": 2},
    "post_training_steps": [BUILD, DEPLOY],
}


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--yes", is_flag=True, help="Ask nothing: take the example that each question offers.")
@json_option
def new(file: Path | None, *, yes: bool, as_json: bool) -> None:
    """Ask for what a project SLA needs, and write it to FILE, or to standard output.

    Every answer is checked at once; the one that is offered in brackets is taken with Enter.
    """
    if not yes and not sys.stdin.isatty():
        message = "Nobody can be asked here. Add --yes to take the example that each question offers."
        raise click.UsageError(message)
    document = json.loads(json.dumps(EXAMPLE)) if yes else ask_for_sla(_prompt)
    parse_project_sla(document)
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    if file is not None:
        if file.exists() and not yes:
            click.confirm(f"{file} exists. Replace it?", abort=True, err=True)
        _write(file, text)
    result = {"file": str(file) if file else "", "sla": document}
    shown = text if file is None else f"{file} is a valid SLA.\n"
    print_result(result, as_json=as_json, render=lambda: click.echo(shown, nl=False))
    if file is not None:
        say(f"Start it with: flops project start {file} --watch")


def ask_for_sla(ask: Callable[[str, str], str]) -> dict[str, Any]:
    """Ask for one key after the other; each until what was answered is valid."""
    document: dict[str, Any] = json.loads(json.dumps(EXAMPLE))
    training = document[TRAINING]
    training["strategy"] = STRATEGIES[0]
    fields, of_training = ProjectSla.model_fields, TrainingConfiguration.model_fields
    _ask_for(ask, document, (), "ml_repo_url", str(fields["ml_repo_url"].description))
    _ask_for(ask, document, (), "ml_model_flavor", f"The ML framework: {', '.join(FLAVORS)}.")
    _ask_for(ask, document, (), "customerID", str(fields["customer_id"].description))
    for key in ("data_tags", "training_rounds", "min_available_clients"):
        _ask_for(ask, document, (TRAINING,), key, str(of_training[key].description))
    _ask_for(ask, document, (TRAINING,), "strategy", f"How results are aggregated: {', '.join(STRATEGIES)}.")
    for clients in ("min_fit_clients", "min_evaluate_clients"):
        training[clients] = training["min_available_clients"]
    say("\nWhat happens with the trained model: 'serve' (build its image and deploy it), 'build', or 'nothing'.")
    document["post_training_steps"] = _steps(ask)
    return document


def _ask_for(
    ask: Callable[[str, str], str], document: dict[str, Any], inside: tuple[str, ...], key: str, meaning: str
) -> None:
    say(f"\n{meaning}")
    part = document[inside[0]] if inside else document
    offered, is_list, is_number = part[key], isinstance(part[key], list), isinstance(part[key], int)
    while True:
        given = ask(key, ",".join(offered) if is_list else str(offered))
        part[key] = _listed(given) if is_list else _number(given) if is_number else given
        faults = _faults(document, ".".join([*inside, key]))
        if not faults:
            return
        for fault in faults:
            say(f"  ✗ {key}: {fault}")


def _steps(ask: Callable[[str, str], str]) -> list[str]:
    choices = {"serve": [BUILD, DEPLOY], "build": [BUILD], "nothing": []}
    while (given := ask("then", "serve").strip()) not in choices:
        say(f"  Answer with one of {', '.join(choices)}.")
    return choices[given]


def _faults(document: dict[str, Any], path: str) -> list[str]:
    try:
        parse_project_sla(document)
    except InvalidSlaError as error:
        return [" ".join(filter(None, (f"{f.message}.", f.hint))) for f in error.errors if f.path.startswith(path)]
    return []


def _prompt(key: str, offered: str) -> str:
    return str(click.prompt(key, default=offered, err=True))


def _listed(text: str) -> list[str]:
    return [item.strip() for item in text.split(",")]


def _number(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:  # the SLA's own check says what is wrong with it
        return text


def _write(file: Path, text: str) -> None:
    try:
        write_atomically(file, text)
    except (OSError, ValueError) as error:
        raise CannotWriteError(str(file), getattr(error, "strerror", None) or str(error)) from error
