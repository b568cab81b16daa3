"""The collections' indexes, version by version. What has been released is never edited: a change is one more function.

Several managers may start at the same time, so each of them has to be harmless when done twice.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Final

from pymongo.errors import OperationFailure

from flops.errors import StoreUnavailableError
from flops.ports import DEAD_LETTERS_AGE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pymongo.database import Database

    from flops.adapters.mongo_store.server import Document, MongoServer

    Migration = Callable[[Database[Document]], None]

log = logging.getLogger(__name__)


def _version_1(database: Database[Document]) -> None:
    database["projects"].create_index([("owner", 1), ("deadline.due", 1)])
    database["projects"].create_index([("user", 1)])
    database["projects"].create_index([("ended", 1)])
    database["projects"].create_index([("adoption", 1)])
    for kind in ("events", "entries"):
        database[kind].create_index([("history", 1), ("number", 1)], unique=True)
    try:
        database["dead_letters"].create_index([("at", 1)], expireAfterSeconds=int(DEAD_LETTERS_AGE_S))
    except (
        OperationFailure
    ) as error:  # not every server that speaks the protocol has it; old ones are also dropped by us
        log.info("dead letters do not expire by themselves", extra={"reason": str(error)})


def _version_2(database: Database[Document]) -> None:
    """Lists of projects page by page, of all users and of one."""
    projects = database["projects"]
    for found in projects.find({"created": {"$exists": False}}, {"status": 1}):
        projects.update_one({"_id": found["_id"]}, {"$set": {"created": json.loads(found["status"])["created"]}})
    projects.create_index([("created", -1), ("_id", -1)])
    projects.create_index([("user", 1), ("created", -1), ("_id", -1)])


MIGRATIONS: Final[tuple[Migration, ...]] = (_version_1, _version_2)


def migrate(server: MongoServer, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring the database to the last version.

    Raises:
        StoreUnavailableError: also where a later version of FLOps has made it.
    """
    with server.explained():
        versions = server.collection("schema")
        found = versions.find_one({"_id": "schema"})
        version = found["version"] if found else 0
        if version > len(migrations):
            raise StoreUnavailableError(server.where, f"its schema {version} was made by a later version of FLOps")
        for number, migration in enumerate(migrations[version:], start=version + 1):
            migration(server.database)
            versions.update_one({"_id": "schema"}, {"$max": {"version": number}}, upsert=True)
