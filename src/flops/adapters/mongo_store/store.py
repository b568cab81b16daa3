"""``ports.Store`` on MongoDB. Every call is one atomic write of one document; whatever else it does can be repeated."""

from __future__ import annotations

import uuid
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from operator import itemgetter
from typing import TYPE_CHECKING

from pymongo.errors import DuplicateKeyError

from flops.adapters.mongo_store.documents import MAX_BYTES, RECORD_FIELDS, pending_key, pending_of, record_of
from flops.adapters.mongo_store.history import MANY_BYTES, MANY_ITEMS, History
from flops.adapters.mongo_store.news import News
from flops.adapters.mongo_store.schema import migrate
from flops.adapters.mongo_store.server import MongoServer
from flops.errors import StaleVersionError, StoreUnavailableError
from flops.ports import DEAD_LETTERS_AGE_S, MAX_DEAD_LETTERS, DeadLetter, Deadline, PendingItem, ProjectRecord

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from pymongo.collection import Collection

    from flops.adapters.mongo_store.server import Document
    from flops.ports import Place
    from flops.wire.envelope import Envelope


class MongoStore:
    """The managers' memory. A project's document holds its state and all that is new with it."""

    def __init__(self, url: str) -> None:
        self._server = MongoServer(url)
        try:
            migrate(self._server)
        except BaseException:
            self._server.close()
            raise
        self._explained = self._server.explained
        self._projects, self._managers = self._server.collection("projects"), self._server.collection("managers")
        self._offices, self._facts = self._server.collection("offices"), self._server.collection("facts")
        self._dead_letters, self._counters = (
            self._server.collection("dead_letters"),
            self._server.collection("counters"),
        )
        self._history = History(self._server)
        self._histories: dict[str, str] = {}

    def load(self, project_id: str) -> ProjectRecord | None:
        """See ports.Store. What the project's document holds too much of is moved on the way."""
        fields = {**RECORD_FIELDS, "history": 1, "new_items": 1, "new_bytes": 1}
        with self._explained():
            found = self._projects.find_one({"_id": project_id}, fields)
            if found is None:
                return None
            self._histories[project_id] = found["history"]
            if found["new_items"] >= MANY_ITEMS or found["new_bytes"] >= MANY_BYTES:
                self._history.move(project_id)
        return record_of(found)

    def save(
        self,
        record: ProjectRecord,
        *,
        events: Sequence[Envelope] = (),
        entries: Sequence[Envelope] = (),
        pending: Sequence[PendingItem] = (),
    ) -> ProjectRecord:
        """See ports.Store. A save whose answer is lost is found again by its mark."""
        news = News(record, events, entries, pending)
        with self._explained():
            if record.revision == 0:
                self._server.insist(lambda: self._insert(news))
            else:
                self._check_events(news)
                self._server.insist(lambda: self._update(news))
        return replace(record, revision=record.revision + 1)

    def _insert(self, news: News) -> None:
        try:
            self._projects.insert_one(news.document())
        except DuplicateKeyError as error:
            found = self._projects.find_one({"_id": news.project_id}, {"mark": 1})
            if found is None or found["mark"] != news.mark:
                raise StaleVersionError(news.project_id) from error

    def _update(self, news: News) -> None:
        while self._projects.update_one(news.condition(), news.change()).matched_count == 0:
            found = self._projects.find_one({"_id": news.project_id}, {"mark": 1, "revision": 1, "new_bytes": 1})
            if found is not None and found["mark"] == news.mark:
                return
            if found is None or found["revision"] != news.revision:
                raise StaleVersionError(news.project_id)
            if not news.fits(found["new_bytes"]):
                self._history.move(news.project_id)
            else:
                self._refuse_events(news)

    def _check_events(self, news: News) -> None:
        if news.event_ids and self._history.has_any(self._history_of(news.project_id), news.event_ids):
            self._refuse_events(news)

    def _refuse_events(self, news: News) -> None:
        raise StoreUnavailableError(self._server.where, f"one of the events {news.event_ids} is there already")

    def _history_of(self, project_id: str) -> str:
        """The id of a project's history, which changes only when its history is forgotten."""
        if project_id not in self._histories:
            found = self._projects.find_one({"_id": project_id}, {"history": 1})
            self._histories[project_id] = found["history"] if found else ""
        return self._histories[project_id]

    def together(self) -> AbstractContextManager[None]:
        """See ports.Store. Each write is one document and durable by itself."""
        return nullcontext()

    def has_event(self, project_id: str, event_id: str) -> bool:
        """See ports.Store."""
        with self._explained():
            if self._projects.find_one({"_id": project_id, "new_events.id": event_id}, {"_id": 1}):
                return True
            return self._history.has_any(self._history_of(project_id), [event_id])

    def pending(self, owner: str) -> list[PendingItem]:
        """See ports.Store."""
        with self._explained():
            found = list(self._projects.find({"owner": owner, "pending": {"$ne": {}}}, {"pending": 1}))
        in_order = ((project["_id"], sorted(project["pending"].values(), key=itemgetter("place"))) for project in found)
        return [pending_of(project_id, item) for project_id, items in in_order for item in items]

    def clear(self, item: PendingItem) -> None:
        """See ports.Store."""
        with self._explained():
            change = {"$unset": {f"pending.{pending_key(item.id)}": ""}}
            self._projects.update_one({"_id": item.project_id}, change)

    def projects(self, user: str = "", *, before: Place | None = None, limit: int = 0) -> list[ProjectRecord]:
        """See ports.Store."""
        conditions: Document = {"user": user} if user else {}
        if before:
            created, project_id = before
            earlier = {"created": {"$lt": created}}
            conditions["$or"] = [earlier, {"created": created, "_id": {"$lt": project_id}}]
        with self._explained():
            found = self._projects.find(conditions, RECORD_FIELDS, sort=[("created", -1), ("_id", -1)], limit=limit)
            return [record_of(document) for document in found]

    def live(self, owner: str) -> list[ProjectRecord]:
        """See ports.Store."""
        with self._explained():
            return [record_of(found) for found in self._projects.find({"owner": owner, "ended": ""}, RECORD_FIELDS)]

    def events(self, project_id: str, *, after: int, limit: int) -> list[tuple[int, Envelope]]:
        """See ports.Store."""
        with self._explained():
            return self._history.events(project_id, after, limit)

    def entries(self, project_id: str, *, after: int, limit: int) -> list[Envelope]:
        """See ports.Store."""
        with self._explained():
            return self._history.entries(project_id, after, limit)

    def set_deadline(self, deadline: Deadline) -> None:
        """See ports.Store."""
        fields = {"name": deadline.name, "due": deadline.due, "after_s": deadline.after_s}
        with self._explained():
            self._projects.update_one({"_id": deadline.project_id}, {"$set": {"deadline": fields}})

    def take_due(self, owner: str, now: float) -> list[Deadline]:
        """See ports.Store."""
        with self._explained():
            found = list(self._projects.find({"owner": owner, "deadline.due": {"$lte": now}}, {"deadline": 1}))
        return sorted((Deadline(item["_id"], **item["deadline"]) for item in found), key=lambda deadline: deadline.due)

    def drop_deadline(self, deadline: Deadline) -> None:
        """See ports.Store."""
        condition = {"_id": deadline.project_id, "deadline.name": deadline.name, "deadline.due": deadline.due}
        with self._explained():
            self._projects.update_one(condition, {"$set": {"deadline": None}})

    def adopt(self, former: str, owner: str) -> list[str]:
        """See ports.Store. Interrupted, it has given some of the projects, and is to be repeated."""
        adoption = uuid.uuid4().hex
        change = {"$set": {"owner": owner, "adoption": adoption}, "$inc": {"revision": 1}}
        # One that was adopted by this very call is none of the former's any more, unless both are the same.
        condition = {"owner": former, "adoption": {"$ne": adoption}}
        with self._explained():
            self._server.insist(lambda: self._projects.update_many(condition, change))
            return sorted(item["_id"] for item in self._projects.find({"adoption": adoption}, {"_id": 1}))

    def beat(self, manager: str) -> None:
        """See ports.Store."""
        self._put(self._managers, manager, {"$inc": {"beats": 1}})

    def beats(self) -> dict[str, int]:
        """See ports.Store."""
        with self._explained():
            return {manager["_id"]: manager["beats"] for manager in self._managers.find()}

    def retire(self, manager: str) -> None:
        """See ports.Store."""
        with self._explained():
            self._managers.delete_one({"_id": manager})

    def take_office(self, office: str, manager: str, former: str) -> bool:
        """See ports.Store."""
        self._put(self._offices, office, {"$setOnInsert": {"manager": ""}})
        condition = {"_id": office, "manager": {"$in": [former, manager]}}
        with self._explained():
            return self._offices.update_one(condition, {"$set": {"manager": manager}}).matched_count == 1

    def holder(self, office: str) -> str:
        """See ports.Store."""
        with self._explained():
            found = self._offices.find_one({"_id": office})
        return str(found["manager"]) if found else ""

    def remember(self, key: str, value: str) -> None:
        """See ports.Store."""
        self._put(self._facts, key, {"$set": {"value": value}})

    def recall(self, key: str) -> str:
        """See ports.Store."""
        with self._explained():
            found = self._facts.find_one({"_id": key})
        return str(found["value"]) if found else ""

    def keep_dead_letter(self, topic: str, payload: bytes, reason: str, time: float) -> None:
        """See ports.Store."""
        number = self._next_number()
        letter = {"_id": number, "topic": topic, "payload": payload[:MAX_BYTES], "reason": reason, "time": time}
        oldest = datetime.fromtimestamp(time - DEAD_LETTERS_AGE_S, UTC)
        with self._explained():
            self._dead_letters.insert_one({**letter, "at": datetime.fromtimestamp(time, UTC)})
            self._dead_letters.delete_many(
                {"$or": [{"_id": {"$lte": number - MAX_DEAD_LETTERS}}, {"at": {"$lt": oldest}}]}
            )

    def _next_number(self) -> int:
        self._put(self._counters, "dead_letters", {"$setOnInsert": {"last": 0}})
        with self._explained():
            counter = self._counters.find_one_and_update({"_id": "dead_letters"}, {"$inc": {"last": 1}})
        return int(counter["last"]) + 1 if counter else 1

    def dead_letters(self, after: int, limit: int) -> list[DeadLetter]:
        """See ports.Store."""
        with self._explained():
            found = list(self._dead_letters.find({"_id": {"$gt": after}}).sort("_id", 1).limit(limit))
        return [DeadLetter(item["_id"], item["topic"], item["payload"], item["reason"], item["time"]) for item in found]

    def drop_dead_letters(self, numbers: Sequence[int] | None) -> int:
        """See ports.Store."""
        condition: Document = {} if numbers is None else {"_id": {"$in": list(numbers)}}
        with self._explained():
            return self._dead_letters.delete_many(condition).deleted_count

    def ended_before(self, time: str, limit: int) -> list[str]:
        """See ports.Store."""
        condition = {"ended": {"$gt": "", "$lt": time}, "has_history": True}
        with self._explained():
            found = self._projects.find(condition, {"_id": 1}).sort("ended", 1).limit(limit)
            return [project["_id"] for project in found]

    def forget_history(self, project_id: str) -> None:
        """See ports.Store."""
        with self._explained():
            former = self._history.forget(project_id)
            self._histories.pop(project_id, None)
            if former:
                self._history.remove(former)

    def compact(self) -> None:
        """See ports.Store. The server itself uses again what was freed."""
        with self._explained():
            self._history.remove_forgotten()

    def delete(self, project_id: str) -> None:
        """See ports.Store."""
        with self._explained():
            found = self._projects.find_one({"_id": project_id}, {"history": 1})
            self._histories.pop(project_id, None)
            if found is not None:
                self._projects.delete_one({"_id": project_id, "history": found["history"]})
                self._history.remove(found["history"])

    def close(self) -> None:
        """See ports.Store."""
        self._server.close()

    def _put(self, collection: Collection[Document], key: str, change: Document) -> None:
        """Change a document, and make it first where there is none; of two that make it, one only changes it."""
        with self._explained():
            try:
                collection.update_one({"_id": key}, change, upsert=True)
            except DuplicateKeyError:
                collection.update_one({"_id": key}, change, upsert=True)
