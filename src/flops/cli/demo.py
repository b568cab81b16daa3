"""``flops demo``: the base case, from an SLA to predictions beside the true labels."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import click

from flops.atomic_file import write_atomically
from flops.bootstrap import adapters, installation
from flops.cli.data import provide
from flops.cli.inbox import show_entry, watch
from flops.cli.output import json_option, percent, print_result, say, styled
from flops.cli.session import Session, session
from flops.errors import FlopsError, InvalidSlaError, SlaFault
from flops.inference.client import predict
from flops.sla_library import load_sla
from flops.wire.requests import DeleteProject, ListData, ShowProject
from flops.wire.sla import parse_mock_data_sla, parse_project_sla

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from flops.wire.sla import MockDataSla, ProjectSla

SAMPLES: Final = 12
BRIGHTEST: Final = 16
DEPLOYING: Final = "deploy_trained_model_image"


@click.command()
@click.option("--sla", default="digits_sklearn_small", show_default=True, help="The project SLA to run.")
@click.option("--mock-data", "mock", default="digits_multi", show_default=True, help="The mock-data SLA to run before.")
@click.option("--keep/--stop", default=True, show_default=True, help="Leave FLOps and the served model running.")
@json_option
def demo(sla: str, mock: str, *, keep: bool, as_json: bool) -> None:
    """Run the base case: start FLOps, provide data, train, serve, and ask the model.

    A demo that succeeds replaces the projects of the demos before; a project of your own is never touched.
    """
    project, data = _checked(sla, mock)
    settings = adapters.read_settings()
    was_up = installation.is_up(settings)
    _headline("Starting FLOps")
    installation.up(settings, say)
    try:
        with session() as opened:
            exit_code = _run(opened, project, data, as_json=as_json)
    finally:
        if not (keep or was_up):
            say("Stopping FLOps; nothing is deleted.")
            installation.down(settings, say)
        else:
            say("FLOps and the model go on running: ask the model with 'flops predict', stop it all with 'flops down'.")
    sys.exit(exit_code)


def _checked(sla: str, mock: str) -> tuple[ProjectSla, MockDataSla]:
    """Both SLAs, before anything is started for them."""
    project, data = parse_project_sla(load_sla(sla).content), parse_mock_data_sla(load_sla(mock, "mocks").content)
    if DEPLOYING not in project.post_training_steps:
        message = "the demo asks the trained model, so it has to be deployed"
        raise InvalidSlaError([SlaFault("post_training_steps", message, f"Add {DEPLOYING!r}.")])
    return project, data


def _run(opened: Session, project: ProjectSla, data: MockDataSla, *, as_json: bool) -> int:
    _headline("Training data on the learner nodes")
    _provide(opened, data)
    _headline("One SLA, and everything else happens by itself")
    earlier = _earlier_demos(opened)
    if earlier:
        say(f"Once this demo has succeeded, it replaces what earlier ones have left: {', '.join(earlier)}.")
    project_id = opened.start(project.to_document())
    _remember(opened, [*earlier, project_id])
    say(f"Project {project_id} is accepted; this is its inbox:")
    exit_code = watch(opened, project_id, _say_entry if as_json else show_entry)
    if not exit_code:
        _remember(opened, [*_kept(opened, earlier), project_id])
    status = opened.ask("project", ShowProject(project_id=project_id))["status"]
    if exit_code:
        print_result({"status": status, "samples": []}, as_json=as_json, render=lambda: None)
        return exit_code
    _headline("Predictions of the served model beside the true labels")
    return _predict(status, is_flat=project.ml_model_flavor == "sklearn", as_json=as_json)


def _provide(opened: Session, wanted: MockDataSla) -> None:
    tag = wanted.mock_data_configuration.data_tag
    there = opened.ask("data", ListData())["nodes"]
    if any(tag in tags for tags in there.values()):
        say(f"Data with the tag '{tag}' are there already.")
    else:
        say(f"Providing {wanted.mock_data_configuration.dataset_name} …")
        provided = provide(opened, wanted)
        say(f"{provided.examples:,} examples in {sum(map(len, provided.partitions.values()))} partitions.")


def _say_entry(entry: dict[str, Any]) -> None:
    say(str(entry["text"]))


def _record(opened: Session) -> Path:
    return opened.settings.home / "demo-project"


def _earlier_demos(opened: Session) -> list[str]:
    """The projects that demos have left: the last one's model is served, others failed or were not waited for."""
    record = _record(opened)
    known = {item["project_id"] for item in opened.projects()}
    return [project_id for project_id in (record.read_text().split() if record.exists() else []) if project_id in known]


def _remember(opened: Session, project_ids: list[str]) -> None:
    write_atomically(_record(opened), "".join(f"{project_id}\n" for project_id in project_ids))


def _kept(opened: Session, project_ids: list[str]) -> list[str]:
    """Delete projects, so that no demo adds another server; returns those that cannot be, since they run still."""
    kept = []
    for project_id in project_ids:
        try:
            opened.ask("delete", DeleteProject(project_id=project_id), timeout_s=60)
        except FlopsError:  # the demo itself has succeeded
            kept.append(project_id)
        else:
            say(f"The earlier demo's project {project_id} is deleted, with the server of its model if there was one.")
    return kept


def _predict(status: dict[str, Any], *, is_flat: bool, as_json: bool) -> int:
    url = status["inference_url"]
    images, labels = _samples(is_flat=is_flat)
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


def _samples(*, is_flat: bool) -> tuple[NDArray[Any], list[int]]:
    """A few digits, prepared as the example repositories do it."""
    from sklearn.datasets import load_digits  # noqa: PLC0415  takes a second

    digits = load_digits()
    chosen = range(0, len(digits.target), len(digits.target) // SAMPLES)
    images = digits.images[chosen].astype("float32") / BRIGHTEST
    return images.reshape(len(images), -1) if is_flat else images, [int(digits.target[index]) for index in chosen]


def _digit(prediction: object) -> int:
    """A class, or the most probable one of a list of probabilities."""
    if isinstance(prediction, list):
        return max(range(len(prediction)), key=prediction.__getitem__)
    return int(prediction)  # type: ignore[call-overload,no-any-return]


def _headline(text: str) -> None:
    say(styled(f"\n── {text}", bold=True))
