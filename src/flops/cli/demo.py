"""``flops demo``: the base case, from an SLA to predictions beside the true labels."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from flops.bootstrap import adapters, installation
from flops.cli.data import provide
from flops.cli.inbox import show_entry, watch
from flops.cli.output import json_option, percent, print_result, say
from flops.cli.session import Session, session
from flops.errors import FlopsError
from flops.inference.client import predict
from flops.sla_library import find_sla
from flops.wire.requests import DeleteProject, ListData, ListProjects, ShowProject
from flops.wire.sla import parse_mock_data_sla, parse_project_sla

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SAMPLES: Final = 12
BRIGHTEST: Final = 16


@click.command()
@click.option("--sla", default="digits_sklearn_small", show_default=True, help="The project SLA to run.")
@click.option("--mock-data", "mock", default="digits_multi", show_default=True, help="The mock-data SLA to run before.")
@click.option("--keep/--stop", default=True, show_default=True, help="Leave FLOps and the served model running.")
@json_option
def demo(sla: str, mock: str, *, keep: bool, as_json: bool) -> None:
    """Run the base case: start FLOps, provide data, train, serve, and ask the model.

    A demo that succeeds replaces the project of the demo before; a project of your own is never touched.
    """
    settings = adapters.read_settings()
    was_up = installation.is_up(settings)
    _headline("Starting FLOps")
    installation.up(settings, say)
    try:
        with session() as opened:
            exit_code = _run(opened, sla, mock, as_json=as_json)
    finally:
        if not (keep or was_up):
            say("Stopping FLOps; nothing is deleted.")
            installation.down(settings, say)
        else:
            say("FLOps and the model go on running: ask the model with 'flops predict', stop it all with 'flops down'.")
    sys.exit(exit_code)


def _run(opened: Session, sla: str, mock: str, *, as_json: bool) -> int:
    _headline("Training data on the learner nodes")
    wanted = parse_mock_data_sla(find_sla(mock, "mocks").read_bytes())
    tag = wanted.mock_data_configuration.data_tag
    there = opened.ask("data", ListData())["nodes"]
    if any(tag in tags for tags in there.values()):
        say(f"Data with the tag '{tag}' are there already.")
    else:
        provided = provide(opened, wanted)
        say(f"{provided.examples:,} examples in {sum(map(len, provided.partitions.values()))} partitions.")
    _headline("One SLA, and everything else happens by itself")
    last_id = _last_demo_id(opened)
    if last_id:
        say(f"This demo replaces the last one's project {last_id} once it has succeeded.")
    project = parse_project_sla(find_sla(sla).read_bytes()).to_document()
    project_id = opened.start(project)
    say(f"Project {project_id} is accepted; this is its inbox:")
    exit_code = watch(opened, project_id, _say_entry if as_json else show_entry)
    if exit_code:
        return exit_code
    _forget(opened, last_id)
    _last_demo(opened).write_text(project_id)
    status = opened.ask("project", ShowProject(project_id=project_id))["status"]
    _headline("Predictions of the served model beside the true labels")
    return _predict(status, as_json=as_json)


def _say_entry(entry: dict[str, Any]) -> None:
    say(str(entry["text"]))


def _last_demo(opened: Session) -> Path:
    return opened.settings.home / "demo-project"


def _last_demo_id(opened: Session) -> str:
    record = _last_demo(opened)
    project_id = record.read_text() if record.exists() else ""
    known = {item["project_id"] for item in opened.ask("projects", ListProjects())["projects"]}
    return project_id if project_id in known else ""


def _forget(opened: Session, project_id: str) -> None:
    """A demo that is run again replaces its model's server instead of adding another one."""
    if not project_id:
        return
    with contextlib.suppress(FlopsError):  # the demo itself has succeeded
        opened.ask("delete", DeleteProject(project_id=project_id), timeout_s=60)
        say(f"The last demo's project {project_id} and its model's server are deleted.")


def _predict(status: dict[str, Any], *, as_json: bool) -> int:
    url = status["inference_url"]
    images, labels = _samples(flat="sklearn" in status["ml_repo_url"])
    predictions = [_digit(item) for item in predict(url, images)]
    samples = [{"predicted": one, "true": other} for one, other in zip(predictions, labels, strict=True)]
    right = sum(predicted == label for predicted, label in zip(predictions, labels, strict=True))

    def render() -> None:
        for sample in samples:
            predicted, label = sample["predicted"], sample["true"]
            click.echo(f"  predicted {predicted}, true {label}  {'✓' if predicted == label else '✗'}")
        click.echo(f"Accuracy per round and model: {status['tracking_url']}")
        click.echo(f"The model answers at:         {url}")
        click.echo(f"Best accuracy {percent(status['best_accuracy'])}; {right} of {len(labels)} samples are right.")

    print_result({"status": status, "samples": samples}, as_json=as_json, render=render)
    return 0 if right > len(labels) // 2 else 1


def _samples(*, flat: bool) -> tuple[NDArray[Any], list[int]]:
    """A few digits, prepared as the example repositories do it."""
    from sklearn.datasets import load_digits  # noqa: PLC0415  takes a second

    digits = load_digits()
    chosen = range(0, len(digits.target), len(digits.target) // SAMPLES)
    images = digits.images[chosen].astype("float32") / BRIGHTEST
    return images.reshape(len(images), -1) if flat else images, [int(digits.target[index]) for index in chosen]


def _digit(prediction: object) -> int:
    """A class, or the most probable one of a list of probabilities."""
    if isinstance(prediction, list):
        return max(range(len(prediction)), key=prediction.__getitem__)
    return int(prediction)  # type: ignore[call-overload,no-any-return]


def _headline(text: str) -> None:
    say(click.style(f"\n── {text}", bold=True))
