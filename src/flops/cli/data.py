"""``flops mock-data`` and ``flops data``."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from flops.cli.completion import sla_argument
from flops.cli.groups import SuggestingGroup
from flops.cli.output import json_option, print_result, print_table, say
from flops.cli.session import Session, session
from flops.errors import DataUnavailableError, NoAnswerError, NotFoundError, NotStartedError, UndecodableMessageError
from flops.sla_library import load_sla
from flops.suggestions import did_you_mean, did_you_mean_file
from flops.wire.envelope import decode_envelope
from flops.wire.events import MockDataFailed, MockDataProvided, ServiceCrashed
from flops.wire.requests import ListData, ProvideMockData
from flops.wire.sla import MockDataSla, parse_mock_data_sla
from flops.wire.training_data import ADDRESS_FILE

if TYPE_CHECKING:
    from flops.ports import Subscription

PROVIDING_TIMEOUT_S: Final = 1800.0
POLL_S: Final = 1.0


@click.command()
@sla_argument("mocks")
@json_option
def mock_data(file: str, *, as_json: bool) -> None:
    """Put partitions of a dataset on the learner nodes, as a mock-data SLA FILE says.

    FILE is a path, the name of a shipped SLA ('flops sla list'), or - for standard input.
    """
    sla = parse_mock_data_sla(load_sla(file, "mocks").content)
    with session() as opened:
        say(f"Providing {sla.mock_data_configuration.dataset_name} …")
        provided = provide(opened, sla)

    print_result(provided.model_dump(), as_json=as_json, render=lambda: click.echo(told_of(provided)))


def told_of(provided: MockDataProvided) -> str:
    """What mock data there are, in a sentence."""
    placed = ", ".join(f"{len(names)} on {node}" for node, names in provided.partitions.items())
    return f"{provided.examples:,} examples of {provided.dataset} with the tag '{provided.data_tag}': {placed}."


def provide(opened: Session, sla: MockDataSla) -> MockDataProvided:
    """Have mock data provided, and wait until they are there.

    Raises:
        DataUnavailableError: the dataset could not be fetched or stored.
    """
    events = opened.bus.subscribe(opened.topics.project_events())
    document = sla.model_dump(mode="json", by_alias=True)
    request = opened.ask("mock-data", ProvideMockData(sla=document))
    return _await_data(events, opened.topics.project_events(request["request_id"]), request["service"])


def _await_data(events: Subscription, topic: str, service: str) -> MockDataProvided:
    deadline = time.monotonic() + PROVIDING_TIMEOUT_S
    while time.monotonic() < deadline:
        delivery = events.receive(POLL_S)
        if delivery is None:
            continue
        delivery.acknowledge()
        if delivery.topic != topic:
            continue
        try:
            event = decode_envelope(delivery.topic, delivery.payload).event()
        except UndecodableMessageError:  # anybody may publish there
            continue
        if isinstance(event, MockDataProvided):
            return event
        if isinstance(event, MockDataFailed | ServiceCrashed):
            raise DataUnavailableError(event.reason, remedy=event.remedy)
    raise NoAnswerError(service, PROVIDING_TIMEOUT_S)


@click.group(cls=SuggestingGroup)
def data() -> None:
    """Put your own training data on a learner node, and list what is there."""


@data.command()
@click.argument("tag")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--node", default="", help="Which node of this machine; the first learner node by default.")
@click.option("--name", default="", help="The partition's name; the file's name by default.")
@json_option
def put(tag: str, file: Path, node: str, name: str, *, as_json: bool) -> None:
    """Store FILE (.parquet, .csv or .npz) under TAG; it replaces a partition of the same name."""
    from flops.bootstrap import adapters, installation  # noqa: PLC0415
    from flops.data.files import read_file  # noqa: PLC0415
    from flops.data.names import partition_name_of  # noqa: PLC0415

    settings = adapters.read_settings()
    nodes = [item.name for item in settings.local_nodes if "learner" in item.capabilities]
    if not os.path.isfile(file):  # noqa: PTH113  unlike pathlib's, it never raises
        raise NotFoundError("file", str(file), remedy=did_you_mean_file(str(file)))
    chosen = node or next(iter(nodes), "")
    if chosen not in nodes:
        raise NotFoundError("learner node", chosen, remedy=did_you_mean(chosen, nodes))
    is_announced = (settings.node_directory(chosen) / ADDRESS_FILE).is_file()
    if not is_announced and not installation.is_up(settings):
        raise NotStartedError(str(settings.home))
    table, name = read_file(file), name or partition_name_of(file.stem)
    there = adapters.training_data(settings)(chosen)
    replaced = next((before.examples for before in there.partitions([tag]) if before.name == name), 0)
    stored = there.put(tag, name, table)
    result: dict[str, Any] = {
        "node": chosen,
        "tag": stored.tag,
        "name": stored.name,
        "examples": stored.examples,
        "size_bytes": stored.size_bytes,
        "replaced_examples": replaced,
    }
    text = f"{stored.examples:,} examples are stored as {stored.tag}/{stored.name} on node {chosen}"
    instead = f", in place of the {replaced:,} that were there." if replaced else "."
    print_result(result, as_json=as_json, render=lambda: click.echo(text + instead))


@data.command(name="list")
@json_option
def list_data(*, as_json: bool) -> None:
    """List which learner node holds how many examples under which tag."""
    with session() as opened:
        nodes = opened.ask("data", ListData())["nodes"]
    rows = [(node, tag, examples) for node, tags in sorted(nodes.items()) for tag, examples in sorted(tags.items())]
    empty = "No node holds data yet. Add some with 'flops data put TAG FILE' or 'flops mock-data digits_multi'."
    print_result(nodes, as_json=as_json, render=lambda: print_table(("NODE", "TAG", "EXAMPLES"), rows, empty=empty))
