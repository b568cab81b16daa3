"""Events and inbox entries: saved within their project's document, moved to collections of their own when many.

One write of one document is all that is atomic. So a project's document takes what is new together with the project,
and moving is harmless to repeat: whoever is interrupted leaves copies under the ids that the next one would use.

Both belong to a *history*, an id in the project's document: forgetting a project or its events is one write, too, and
what is left in the collections belongs to nobody then, until it is removed.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final

from pymongo.errors import BulkWriteError

from flops.adapters.mongo_store.documents import envelope_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymongo.collection import Collection

    from flops.adapters.mongo_store.server import Document, MongoServer
    from flops.wire.envelope import Envelope

DUPLICATE_KEY: Final = 11000
MOVED_FIELDS: Final = dict.fromkeys(("history", "revision", "moved", "new_events", "new_entries"), 1)
NOTHING_NEW: Final[dict[str, object]] = {"new_events": [], "new_entries": [], "new_items": 0, "new_bytes": 0}
# From here on, moving is cheaper than to carry them along.
MANY_ITEMS: Final = 32
MANY_BYTES: Final = 256 * 1024


class History:
    """What was told of projects."""

    def __init__(self, server: MongoServer) -> None:
        self._projects = server.collection("projects")
        self._events, self._entries = server.collection("events"), server.collection("entries")

    def has_any(self, history: str, event_ids: Sequence[str]) -> bool:
        """Whether one of the events was moved to its collection."""
        wanted = [f"{history}/{event_id}" for event_id in event_ids]
        query: Document = {"_id": wanted[0]} if len(wanted) == 1 else {"_id": {"$in": wanted}}
        return self._events.find_one(query, {"_id": 1}) is not None

    def events(self, project_id: str, after: int, limit: int) -> list[tuple[int, Envelope]]:
        """Positions and events."""
        project = self._projects.find_one({"_id": project_id}, MOVED_FIELDS)
        if project is None:
            return []
        query = {"history": project["history"], "number": {"$gt": after, "$lte": project["moved"]}}
        found = [(item["number"], item["envelope"]) for item in self._events.find(query).sort("number", 1).limit(limit)]
        found += [item for item in _numbered(project) if item[0] > after]
        return [(number, envelope_of(text)) for number, text in found[:limit]]

    def entries(self, project_id: str, after: int, limit: int) -> list[Envelope]:
        """Entries in the order of their sequence."""
        project = self._projects.find_one({"_id": project_id}, MOVED_FIELDS)
        if project is None:
            return []
        query = {"history": project["history"], "number": {"$gt": after}}
        found = {item["number"]: item["envelope"] for item in self._entries.find(query).sort("number", 1).limit(limit)}
        found |= {item["sequence"]: item["envelope"] for item in project["new_entries"] if item["sequence"] > after}
        return [envelope_of(text) for _, text in sorted(found.items())][:limit]

    def move(self, project_id: str) -> None:
        """Move what the project's document holds, unless it is saved meanwhile."""
        project = self._projects.find_one({"_id": project_id}, MOVED_FIELDS)
        if project is None:
            return
        history, events, entries = project["history"], project["new_events"], project["new_entries"]
        positions = [number for number, _ in _numbered(project)]
        _insert(
            self._events, [_item(history, item["id"], at, item) for at, item in zip(positions, events, strict=True)]
        )
        _insert(self._entries, [_item(history, str(item["sequence"]), item["sequence"], item) for item in entries])
        self._projects.update_one(
            {"_id": project_id, "history": history, "revision": project["revision"], "moved": project["moved"]},
            {"$set": {"moved": project["moved"] + len(events), **NOTHING_NEW}},
        )

    def forget(self, project_id: str) -> str:
        """Begin a new history; returns the id of the former one, empty where there is nothing to forget."""
        while (project := self._projects.find_one({"_id": project_id}, {**MOVED_FIELDS, "has_history": 1})) is not None:
            former, moved = project["history"], project["moved"]
            if not project["has_history"]:
                break
            unchanged = {"_id": project_id, "history": former, "revision": project["revision"], "moved": moved}
            begun = {"history": uuid.uuid4().hex, "has_history": False, "moved": moved + len(project["new_events"])}
            if self._projects.update_one(unchanged, {"$set": begun | NOTHING_NEW}).matched_count:
                return str(former)
        return ""

    def remove(self, history: str) -> None:
        """Remove what belongs to nobody any more."""
        for collection in (self._events, self._entries):
            collection.delete_many({"history": history})

    def remove_forgotten(self) -> None:
        """Remove what interrupted calls of ``remove`` have left."""
        moved = {str(history) for kind in (self._events, self._entries) for history in kind.distinct("history")}
        # Asked second: what has no project now had one when it was moved, and will never have one again.
        kept = {str(project["history"]) for project in self._projects.find({}, {"history": 1})}
        for history in moved - kept:
            self.remove(history)


def _numbered(project: Document) -> list[tuple[int, str]]:
    """The positions of the events that a document holds, which follow those of the moved ones."""
    return [(number, item["envelope"]) for number, item in enumerate(project["new_events"], start=project["moved"] + 1)]


def _item(history: str, name: str, number: int, item: Document) -> Document:
    return {"_id": f"{history}/{name}", "history": history, "number": number, "envelope": item["envelope"]}


def _insert(collection: Collection[Document], items: list[Document]) -> None:
    """Insert what is not there yet."""
    if not items:
        return
    try:
        collection.insert_many(items, ordered=False)
    except BulkWriteError as error:
        if any(fault["code"] != DUPLICATE_KEY for fault in error.details["writeErrors"]):
            raise
