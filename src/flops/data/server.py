"""The Arrow Flight server of one node: puts, lists, fetches and deletes the node's partitions for who has its token."""

from __future__ import annotations

import contextlib
import hmac
import logging
import os
import secrets
import uuid
from typing import TYPE_CHECKING

import pyarrow.flight as fl

from flops.endpoint import Endpoint
from flops.errors import FlopsError
from flops.wire.training_data import (
    ADDRESS_FILE,
    AUTHORIZATION_HEADER,
    DELETE_ACTION,
    LIST_ACTION,
    DataRefusal,
    DataServerAddress,
    DeletedPartitions,
    DeletePartitions,
    FetchShare,
    ListPartitions,
    PartitionInfo,
    PutPartition,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pyarrow as pa

    from flops.data.catalogue import Catalogue
    from flops.ports import StoredPartition

logger = logging.getLogger(__name__)


class DataServer(fl.FlightServerBase):  # type: ignore[misc]  # pyarrow is not typed
    """Serves a catalogue at an endpoint from construction to ``shutdown``.

    Only holders of the token, by default a new one, are answered. ``on_change`` hears of every change, in the thread of
    the call.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        on_change: Callable[[], None],
        endpoint: Endpoint = Endpoint(),  # noqa: B008  it is frozen
        token: str = "",
    ) -> None:
        self._catalogue = catalogue
        self._on_change = on_change
        token = token or secrets.token_urlsafe(32)
        location = f"grpc://{endpoint.listen}:{endpoint.port}"
        super().__init__(location, middleware={"token": _RequireToken(token)})
        self.address = DataServerAddress(url=f"grpc://{endpoint.host}:{self.port}", token=token)

    def do_put(
        self,
        _context: fl.ServerCallContext,
        descriptor: fl.FlightDescriptor,
        reader: fl.MetadataRecordBatchReader,
        writer: fl.FlightMetadataWriter,
    ) -> None:
        """Store the stream as one partition, and answer with its description once it is durable."""
        with _refusals():
            order = PutPartition.decode(descriptor.command or b"")
            batches = (chunk.data for chunk in reader)
            stored = self._catalogue.put(order.tag, order.name, reader.schema, batches, examples=order.examples)
            logger.info("stored a partition", extra={"tag": stored.tag, "partition": stored.name})
            self._on_change()
            writer.write(_info(stored).encode())

    def do_get(self, _context: fl.ServerCallContext, ticket: fl.Ticket) -> fl.GeneratorStream:
        """Stream a share of the data."""
        with _refusals():
            order = FetchShare.decode(ticket.ticket)
            schema, batches = self._catalogue.read(order.tags, share=order.share, shares=order.shares)
            return fl.GeneratorStream(schema, _refusing(batches))

    def do_action(self, _context: fl.ServerCallContext, action: fl.Action) -> list[fl.Result]:
        """List or delete partitions."""
        with _refusals():
            if action.type == LIST_ACTION:
                tags = ListPartitions.decode(action.body.to_pybytes()).tags
                return [fl.Result(_info(stored).encode()) for stored in self._catalogue.partitions(tags)]
            if action.type == DELETE_ACTION:
                order = DeletePartitions.decode(action.body.to_pybytes())
                count = self._catalogue.delete(order.tag, order.name)
                if count:
                    self._on_change()
                return [fl.Result(DeletedPartitions(count=count).encode())]
        message = f"unknown action {action.type!r}"
        raise fl.FlightServerError(message)


def write_address(address: DataServerAddress, node_directory: Path) -> None:
    """Announce the server to the processes of this user on this node, atomically and readable by nobody else."""
    unfinished = node_directory / f".{ADDRESS_FILE}.{uuid.uuid4().hex}"
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(address.encode())
    unfinished.replace(node_directory / ADDRESS_FILE)


def remove_address(address: DataServerAddress, node_directory: Path) -> None:
    """Take the announcement back, unless it is already another server's."""
    with contextlib.suppress(OSError, FlopsError):
        if DataServerAddress.read(node_directory) == address:
            (node_directory / ADDRESS_FILE).unlink()


class _RequireToken(fl.ServerMiddlewareFactory):  # type: ignore[misc]  # pyarrow is not typed
    def __init__(self, token: str) -> None:
        super().__init__()
        self._expected = f"Bearer {token}".encode()

    def start_call(self, _info: fl.CallInfo, headers: dict[str, list[str]]) -> None:
        given = headers.get(AUTHORIZATION_HEADER, [""])[0]
        if not hmac.compare_digest(str(given).encode(), self._expected):
            message = "the token of the data server is missing or wrong"
            raise fl.FlightUnauthenticatedError(message)


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Carry a FlopsError to the client with its code; anything unexpected is logged here and stays vague there."""
    try:
        yield
    except FlopsError as error:
        refusal = DataRefusal(code=error.code, message=error.message, remedy=error.remedy)
        raise fl.FlightServerError(error.code, extra_info=refusal.encode()) from error


def _refusing(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with _refusals():
        yield from batches


def _info(stored: StoredPartition) -> PartitionInfo:
    return PartitionInfo(tag=stored.tag, name=stored.name, examples=stored.examples, size_bytes=stored.size_bytes)
