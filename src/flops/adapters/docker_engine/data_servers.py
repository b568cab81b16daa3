"""The data server of each learner node: one container with a volume that stays, and an address that others are told."""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from flops.atomic_file import write_atomically
from flops.errors import UndecodableMessageError
from flops.project.deployment import App, Placement, Role, ServiceSpec
from flops.wire.training_data import ADDRESS_FILE, DataServerAddress

if TYPE_CHECKING:
    from flops.settings import Settings

APP: Final = App("", "flops")
_ALWAYS: Final = 1_000_000_000  # nobody else would start it again
_LOOPBACK: Final = "127.0.0.1"


def data_server(node: str) -> ServiceSpec:
    """The data server of a node."""
    name = f"{Role.DATA}-{node}"
    return ServiceSpec(name, APP, Role.DATA, placements=(Placement(node),), max_restarts=_ALWAYS)


def is_on_a_learner_node(service: str, settings: Settings) -> bool:
    """Whether a data server belongs to a node that the settings name."""
    return service in {data_server(node).name for node in learner_nodes(settings)}


def learner_nodes(settings: Settings) -> list[str]:
    """The nodes that may hold data."""
    return [node.name for node in settings.local_nodes if "learner" in node.capabilities]


def announce(settings: Settings, node: str, port: int) -> None:
    """Write down for the commands of this machine where the data server of a node answers."""
    directory = settings.node_directory(node)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    address = DataServerAddress(url=f"grpc://{_LOOPBACK}:{port}", token=_token(settings, node))
    if _announced(settings, node) != address:
        write_atomically(directory / ADDRESS_FILE, address.encode().decode())


def address_inside(settings: Settings, node: str, host: str) -> str:
    """The same address as a container is told it.

    Raises:
        OSError: no data server was ever announced for the node.
    """
    address = DataServerAddress.read(settings.node_directory(node))
    return address.model_copy(update={"url": address.url.replace(_LOOPBACK, host)}).encode().decode()


def _token(settings: Settings, node: str) -> str:
    """The node's token, which is made once."""
    known = _announced(settings, node)
    return known.token if known else secrets.token_urlsafe(32)


def _announced(settings: Settings, node: str) -> DataServerAddress | None:
    with suppress(OSError, UndecodableMessageError):
        return DataServerAddress.read(settings.node_directory(node))
    return None
