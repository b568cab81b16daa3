"""The role ``data``: keeps one node's training data and says in its presence which tags are there."""

from __future__ import annotations

import queue
import threading
from collections import Counter
from typing import TYPE_CHECKING, Literal

from flops.data.catalogue import Catalogue
from flops.data.server import DataServer, remove_address, write_address
from flops.wire.training_data import DataServerAddress

if TYPE_CHECKING:
    from collections.abc import Callable

    from flops.delivery.service import ServiceContext


def run(context: ServiceContext, announce: Callable[[dict[str, int]], None]) -> int:
    """Serve the data of ``context.identity.node`` until ``context.stopping``; returns the exit code.

    Where the endpoint is given, whoever gave it has written its address, and so the token, into the node's directory.
    ``announce`` is told the number of examples under each tag: at the start, and after every change.
    """
    node_directory = context.settings.node_directory(context.identity.node)
    node_directory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    node_directory.mkdir(exist_ok=True, mode=0o700)
    catalogue = Catalogue(node_directory / "data")
    catalogue.clean()
    signals: queue.SimpleQueue[Literal["changed", "stopping"]] = queue.SimpleQueue()
    is_given = context.endpoint.port > 0
    token = DataServerAddress.read(node_directory).token if is_given else ""
    with DataServer(catalogue, lambda: signals.put("changed"), context.endpoint, token) as server:
        if not is_given:
            write_address(server.address, node_directory)
        threading.Thread(target=_wait_for_stop, args=(context.stopping, signals), name="stop", daemon=True).start()
        announced = _examples_by_tag(catalogue)
        announce(announced)
        for _ in iter(signals.get, "stopping"):
            present = _examples_by_tag(catalogue)
            if present != announced:
                announced = present
                announce(announced)
        if not is_given:
            remove_address(server.address, node_directory)
    return 0


def _wait_for_stop(stopping: threading.Event, signals: queue.SimpleQueue[Literal["changed", "stopping"]]) -> None:
    stopping.wait()
    signals.put("stopping")


def _examples_by_tag(catalogue: Catalogue) -> dict[str, int]:
    examples: Counter[str] = Counter()
    for partition in catalogue.partitions():
        examples[partition.tag] += partition.examples
    return dict(examples)
