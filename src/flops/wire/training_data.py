"""What a node's data server and its clients say to each other inside Arrow Flight, and where the server is found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flops.errors import UndecodableMessageError
from flops.wire.limits import MAX_DATA_MESSAGE_BYTES, MAX_INTEGER, MAX_SHARES

if TYPE_CHECKING:
    from pathlib import Path

ADDRESS_FILE: Final = "data-server.json"
AUTHORIZATION_HEADER: Final = "authorization"
LIST_ACTION: Final = "list"
DELETE_ACTION: Final = "delete"
Count = Annotated[int, Field(ge=0, le=MAX_INTEGER)]


class DataMessage(BaseModel):
    """The base of everything that travels as JSON inside a Flight call."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def encode(self) -> bytes:
        """The message as UTF-8 JSON."""
        return self.model_dump_json().encode()

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Read what ``encode`` wrote.

        Raises:
            UndecodableMessageError: it is something else.
        """
        if len(payload) > MAX_DATA_MESSAGE_BYTES:
            reason = f"it has {len(payload):,} bytes, more than {MAX_DATA_MESSAGE_BYTES:,}"
            raise UndecodableMessageError(cls.__name__, reason)
        try:
            return cls.model_validate_json(payload)
        except ValidationError as error:
            raise UndecodableMessageError(cls.__name__, str(error.errors(include_url=False)[0]["msg"])) from error


class DataServerAddress(DataMessage):
    """The content of ``data-server.json``: where a node's data server listens, and the token that opens it."""

    url: str
    token: str

    @classmethod
    def read(cls, node_directory: Path) -> Self:
        """The address that the node's data server has announced.

        Raises:
            OSError: there is none.
            UndecodableMessageError: the file is damaged.
        """
        return cls.decode((node_directory / ADDRESS_FILE).read_bytes())

    @property
    def authorization(self) -> str:
        """The value of the authorization header of every call."""
        return f"Bearer {self.token}"


class PutPartition(DataMessage):
    """The descriptor of a DoPut. Fewer ``examples`` than announced mean that the client died: nothing is stored."""

    tag: str
    name: str
    examples: Count


class FetchShare(DataMessage):
    """The ticket of a DoGet: the ``share``-th (from 0) of ``shares`` disjoint parts of all data under the tags."""

    tags: list[str]
    share: Annotated[int, Field(ge=0, lt=MAX_SHARES)]
    shares: Annotated[int, Field(ge=1, le=MAX_SHARES)]


class ListPartitions(DataMessage):
    """The body of the action ``list``; no tags means all."""

    tags: list[str] | None = None


class DeletePartitions(DataMessage):
    """The body of the action ``delete``; no name means the whole tag."""

    tag: str
    name: str | None = None


class DeletedPartitions(DataMessage):
    """The answer to the action ``delete``."""

    count: Count


class PartitionInfo(DataMessage):
    """One stored partition, as the answer to DoPut and an item of the action ``list``."""

    tag: str
    name: str
    examples: Count
    size_bytes: Count


class DataRefusal(DataMessage):
    """Why the data server refused a call; ``code`` is that of the error to be raised at the client."""

    code: str
    message: str
    remedy: str = ""
