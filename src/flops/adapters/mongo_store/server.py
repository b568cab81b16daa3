"""The connection to a MongoDB server: what is durable, what is repeated, and how its faults are told."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from bson.errors import BSONError
from pymongo import MongoClient, ReadPreference
from pymongo.errors import ConnectionFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from flops.errors import StoreUnavailableError
from flops.settings import without_credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymongo.collection import Collection
    from pymongo.database import Database

log = logging.getLogger(__name__)

Document = dict[str, Any]
Result = TypeVar("Result")

DATABASE: Final = "flops"
SELECTION_S: Final = 5.0
SOCKET_S: Final = 20.0
INSIST_S: Final = 10.0
PAUSE_S: Final = 0.1


class MongoServer:
    """A database of a server or replica set: journaled by a majority when written, agreed by a majority when read."""

    def __init__(self, url: str) -> None:
        self.where = without_credentials(url)
        with self.explained():
            self._client: MongoClient[Document] = MongoClient(
                url,
                appname="flops",
                serverSelectionTimeoutMS=int(SELECTION_S * 1000),
                connectTimeoutMS=int(SELECTION_S * 1000),
                socketTimeoutMS=int(SOCKET_S * 1000),
            )
            name = self._client.get_default_database(DATABASE).name
            self.database: Database[Document] = self._client.get_database(
                name,
                read_preference=ReadPreference.PRIMARY,
                read_concern=ReadConcern("majority"),
                write_concern=WriteConcern("majority", j=True),
            )

    def collection(self, name: str) -> Collection[Document]:
        """One of the database's collections."""
        return self.database[name]

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn every fault of the server or its driver into a StoreUnavailableError."""
        try:
            yield
        except (PyMongoError, BSONError) as error:
            raise StoreUnavailableError(self.where, _reason(error)) from error

    def insist(self, do: Callable[[], Result]) -> Result:
        """Do it again while the connection breaks, for some seconds: a primary fails over within them.

        It has to be harmless to do it twice, since an answer that is lost does not tell whether it was done.
        """
        deadline = time.monotonic() + INSIST_S
        while True:
            try:
                return do()
            except ConnectionFailure as error:
                if time.monotonic() > deadline:
                    raise
                log.warning("store lost, trying again", extra={"store": self.where, "reason": _reason(error)})
                time.sleep(PAUSE_S)

    def close(self) -> None:
        """Close all connections. Idempotent."""
        self._client.close()


def _reason(error: Exception) -> str:
    """What the driver says without its dump of the topology and of the whole answer."""
    return (
        str(error).partition(", full error")[0].partition(", Timeout")[0].partition("(configured timeouts")[0].strip()
    )
