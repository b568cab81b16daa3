"""A client of a node's data server over Arrow Flight."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final, TypeVar

import pyarrow as pa
import pyarrow.flight as fl

from flops.errors import DataUnavailableError, FlopsError, InvalidDataError, UndecodableMessageError
from flops.ports import StoredPartition
from flops.wire.training_data import (
    AUTHORIZATION_HEADER,
    DELETE_ACTION,
    LIST_ACTION,
    DataMessage,
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
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

Answer = TypeVar("Answer")

_BATCH_BYTES: Final = 4 * 1024 * 1024
ACTION_TIMEOUT_S: Final = 10.0  # a server that hangs must not hang whoever asks what it has
_POLL_S: Final = 0.1
_NO_PROXY: Final = [("grpc.enable_http_proxy", 0)]
_SERVER_GONE: Final = (fl.FlightUnavailableError, fl.FlightUnauthenticatedError, fl.FlightCancelledError)


def connect(node_directory: Path, *, patience_s: float = 5.0) -> FlightTrainingData:
    """The training data of the node whose directory this is.

    ``patience_s`` bounds how long a call waits for a data server that is being started.
    """
    return FlightTrainingData(node_directory, patience_s=patience_s)


class FlightTrainingData:
    """Fulfils ``ports.TrainingData``. Connects per call, so it survives restarts of the server at other ports."""

    def __init__(self, node_directory: Path, *, patience_s: float) -> None:
        self._node_directory = node_directory
        self._patience_s = patience_s

    def put(self, tag: str, name: str, table: pa.Table) -> StoredPartition:
        """Stream the table in batches of a few MiB; stored once the server has made it durable."""
        order = PutPartition(tag=tag, name=name, examples=table.num_rows)
        descriptor = fl.FlightDescriptor.for_command(order.encode())

        def send(client: fl.FlightClient, options: fl.FlightCallOptions) -> StoredPartition:
            writer, answers = client.do_put(descriptor, table.schema, options=options)
            with contextlib.closing(writer):
                writer.write_table(table, max_chunksize=_batch_rows(table))
                writer.done_writing()
                answer = answers.read()
            return _partition(answer.to_pybytes())

        return self._call(send)

    def partitions(self, tags: Iterable[str] | None = None) -> list[StoredPartition]:
        """What the server lists."""
        order = ListPartitions(tags=None if tags is None else list(tags))
        return [_partition(result) for result in self._act(LIST_ACTION, order)]

    def fetch(self, tags: Sequence[str], *, share: int, shares: int) -> pa.Table:
        """Read the server's stream into memory."""
        ticket = _ticket(tags, share=share, shares=shares)
        return self._call(lambda client, options: client.do_get(ticket, options).read_all())

    def delete(self, tag: str, name: str | None = None) -> int:
        """Let the server delete."""
        (answer,) = self._act(DELETE_ACTION, DeletePartitions(tag=tag, name=name))
        return DeletedPartitions.decode(answer).count

    def _act(self, action: str, order: DataMessage) -> list[bytes]:
        def act(client: fl.FlightClient, options: fl.FlightCallOptions) -> list[bytes]:
            results = client.do_action(fl.Action(action, order.encode()), options)
            return [result.body.to_pybytes() for result in results]

        return self._call(act, timeout_s=ACTION_TIMEOUT_S)

    def _call(
        self, call: Callable[[fl.FlightClient, fl.FlightCallOptions], Answer], *, timeout_s: float | None = None
    ) -> Answer:
        """Make the call, and again if the server is just restarting: there, or at another address."""
        reason, deadline = "it has not announced its address", time.monotonic() + self._patience_s
        while True:
            with contextlib.suppress(OSError, UndecodableMessageError):
                address = DataServerAddress.read(self._node_directory)
                try:
                    return _call_at(address, call, timeout_s)
                except _SERVER_GONE as error:
                    reason = str(error)
            if time.monotonic() >= deadline:
                raise self._unavailable(reason)
            time.sleep(_POLL_S)

    def _unavailable(self, reason: str) -> DataUnavailableError:
        node = self._node_directory.name
        message = f"The data server of node {node!r} does not answer: {reason.splitlines()[0]}."
        return DataUnavailableError(message, remedy="Is FLOps running there? 'flops doctor' tells.")


def _call_at(
    address: DataServerAddress,
    call: Callable[[fl.FlightClient, fl.FlightCallOptions], Answer],
    timeout_s: float | None,
) -> Answer:
    headers = [(AUTHORIZATION_HEADER.encode(), address.authorization.encode())]
    options = fl.FlightCallOptions(headers=headers, timeout=timeout_s)
    with _own_errors(), fl.connect(address.url, generic_options=_NO_PROXY) as client:
        return call(client, options)


@contextlib.contextmanager
def _own_errors() -> Iterator[None]:
    """Turn everything but the loss of the server into a FlopsError."""
    try:
        yield
    except _SERVER_GONE:
        raise
    except fl.FlightError as error:
        raise _refusal(error) from error
    except pa.ArrowException as error:
        message = f"The data cannot be transferred: {error}."
        raise InvalidDataError(message) from error


def _refusal(error: fl.FlightError) -> FlopsError:
    """The error that the server meant."""
    try:
        refusal = DataRefusal.decode(error.extra_info)
    except UndecodableMessageError:
        reason = str(error).split(". Detail:", maxsplit=1)[0]
        return DataUnavailableError(f"The data server failed: {reason}.", remedy="Its log says more.")
    kind = InvalidDataError if refusal.code == InvalidDataError.code else DataUnavailableError
    return kind(refusal.message, remedy=refusal.remedy)


def _ticket(tags: Sequence[str], *, share: int, shares: int) -> fl.Ticket:
    return fl.Ticket(FetchShare(tags=list(tags), share=share, shares=shares).encode())


def _partition(payload: bytes) -> StoredPartition:
    info = PartitionInfo.decode(payload)
    return StoredPartition(info.tag, info.name, info.examples, info.size_bytes)


def _batch_rows(table: pa.Table) -> int:
    size_bytes: int = table.nbytes
    rows: int = _BATCH_BYTES * table.num_rows // max(size_bytes, 1)
    return max(1, rows)
