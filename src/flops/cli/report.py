"""``flops project report``: all that there is to tell of a project, in one file."""

from __future__ import annotations

import json
import platform
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from flops.cli.completion import project_argument
from flops.cli.inbox import history
from flops.cli.output import json_option, local_time, percent, print_result
from flops.cli.report_pages import Code, Curve, Section, Table, as_html, as_markdown
from flops.cli.session import project_name, session
from flops.errors import CannotWriteError
from flops.project.images import TRAINED_MODEL, parse_image
from flops.wire.repository_url import split_reference
from flops.wire.requests import ShowProject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flops.cli.report_pages import Block

STANDARD_OUTPUT: Final = "-"
PAGES: Final = {"html": as_html, "md": as_markdown}
SUFFIXES: Final = {".md": "md", ".markdown": "md"}
TOLD: Final = ("phase", "user", "created", "updated", "ml_repo_url", "commit", "reason")
ENVIRONMENT: Final = {
    "placement.decided": "placement",
    "images.found": "images",
    "build.step-finished": "build",
    "image.built": "image",
    "training.started": "training",
}
Entries = list[dict[str, Any]]


@click.command()
@project_argument
@click.option(
    "--format", "kind", type=click.Choice(list(PAGES)), help="What to write; as the file's name ends by default."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file to write; standard output by default.")
@json_option
def report(project_id: str, kind: str | None, output: Path | None, *, as_json: bool) -> None:
    """Write one self-contained report of a PROJECT: SLA, timeline, curves, model, environment, how to reproduce it."""
    with session() as opened:
        full_id = opened.project_id(project_id)
        shown = opened.ask("project", ShowProject(project_id=full_id))
        entries = list(history(opened, full_id))
    output = None if str(output) == STANDARD_OUTPUT else output
    chosen = kind or (SUFFIXES.get(output.suffix.lower(), "html") if output else "md")
    name = project_name(shown["status"])
    text = PAGES[chosen](f"{name}: project {full_id}", sections(shown, entries))
    if output is not None:
        _write(output, text)
    result = {"project_id": full_id, "format": chosen}
    result |= {"file": str(output), "report": ""} if output else {"file": "", "report": text}
    told = f"The report is {output}." if output else text
    print_result(result, as_json=as_json, render=lambda: click.echo(told, nl=bool(output)))


def sections(shown: dict[str, Any], entries: Entries) -> list[Section]:
    """What a report says of a project."""
    status, sla = shown["status"], shown.get("sla") or {}
    rounds = [entry["data"] for entry in _of_type(entries, "round.finished")]
    return [
        Section("At a glance", [Table([], list(_glance(status)))]),
        Section("Timeline", [Table(["stage", "began", "took"], list(_stages(entries)))]),
        Section("Training", list(_training(rounds))),
        Section("Model", [Table([], list(_model(status, entries)))]),
        Section("Environment", [Table([], list(_environment(entries)))]),
        Section("How to reproduce it", list(_reproduction(status, sla))),
        Section("SLA", [Code(json.dumps(sla, indent=2, ensure_ascii=False))]),
        Section("Inbox", [Table(["", "time", "severity", "what happened"], list(_inbox(entries)))]),
    ]


def _glance(status: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key in TOLD:
        if value := status.get(key):
            yield key.replace("_", " "), local_time(value) if key in {"created", "updated"} else str(value)
    yield "rounds", f"{status.get('round', 0)} of {status.get('rounds', 0)}"
    if best := percent(status.get("best_accuracy")):
        yield "best accuracy", best


def _stages(entries: Entries) -> Iterator[tuple[str, str, str]]:
    begun: list[tuple[str, str]] = []
    for entry in entries:
        if entry.get("stage") and (not begun or begun[-1][0] != entry["stage"]):
            begun.append((entry["stage"], entry["time"]))
    ends = [*(time for _, time in begun[1:]), *(entry["time"] for entry in entries[-1:])] if begun else []
    for (stage, time), end in zip(begun, ends, strict=True):
        took_s = (datetime.fromisoformat(end) - datetime.fromisoformat(time)).total_seconds()
        yield stage, local_time(time), f"{max(took_s, 0):.1f} s"


def _training(rounds: Entries) -> Iterator[Block]:
    if not rounds:
        yield "No round was finished."
        return
    for key, name in (("accuracy", "Accuracy per round"), ("loss", "Loss per round")):
        points = [(number, float(item[key])) for number, item in enumerate(rounds, 1) if item.get(key) is not None]
        if points:
            yield Curve(name, points)
    best = max((number for number, item in enumerate(rounds) if item.get("is_best")), default=-1)
    yield Table(
        ["round", "accuracy", "loss", "learners", "took"],
        [
            (
                f"{item['round']}/{item['rounds']}{' (best)' if number == best else ''}",
                percent(item.get("accuracy")),
                "" if item.get("loss") is None else f"{item['loss']:.4f}",
                str(len(item.get("participants", []))),
                f"{item.get('duration_s', 0):.2f} s",
            )
            for number, item in enumerate(rounds)
        ],
    )


def _model(status: dict[str, Any], entries: Entries) -> Iterator[tuple[str, str]]:
    found = [
        (key.replace("_", " "), str(status[key]))
        for key in ("model_uri", "tracking_url", "inference_url")
        if status.get(key)
    ]
    yield from found
    built = (str(entry["data"]["image"]) for entry in _of_type(entries, "image.built"))
    trained = [image for image in built if parse_image(image).actor == TRAINED_MODEL]
    for image in trained:
        yield "image", image
    if not (found or trained):
        yield "model", "There is none."


def _of_type(entries: Entries, event_type: str) -> Entries:
    return [entry for entry in entries if entry["event_type"] == event_type and entry.get("data")]


def _environment(entries: Entries) -> Iterator[tuple[str, str]]:
    yield "FLOps", version("flops-fl")
    yield "written on", f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    for entry in entries:
        if name := ENVIRONMENT.get(entry["event_type"]):
            yield name, str(entry["text"])


def _reproduction(status: dict[str, Any], sla: dict[str, Any]) -> Iterator[Block]:
    if not sla:
        yield "The SLA is not known any more."
        return
    place, _ = split_reference(str(sla.get("ml_repo_url", "")))
    commit = status.get("commit", "")
    fixed = {**sla, "ml_repo_url": f"{place}@{commit}" if commit else place}
    which = ", which names the very commit," if commit else ""
    yield f"Save this SLA{which} as sla.json. It needs training data under the same tags."
    yield Code(json.dumps(fixed, indent=2, ensure_ascii=False))
    yield Code("flops sla validate sla.json\nflops project start sla.json --watch")


def _inbox(entries: Entries) -> Iterator[tuple[str, ...]]:
    for entry in entries:
        step = f" → {entry['next_step']}" if entry.get("next_step") else ""
        details = f"\n{entry['details']}" if entry.get("details") else ""
        text = f"{entry['text']}{step}{details}"
        yield str(entry["sequence"]), local_time(entry["time"]), str(entry["severity"]), text


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise CannotWriteError(str(path), getattr(error, "strerror", None) or str(error)) from error
