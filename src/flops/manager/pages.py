"""Long lists, one answer at a time."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from flops.errors import NotFoundError
from flops.wire.json_text import encode_json
from flops.wire.limits import KEPT_LETTER_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flops.ports import DeadLetter, ProjectRecord, Store
    from flops.wire import requests as r

ENVELOPE_BYTES: Final = 4096

Item = dict[str, Any]


def page_of(items: Sequence[Item], max_payload_bytes: int) -> list[Item]:
    """As many items, one at least, as an answer has room for."""
    left_bytes = max_payload_bytes - ENVELOPE_BYTES
    page: list[Item] = []
    for item in items:
        left_bytes -= len(encode_json(item)) + 1
        if page and left_bytes < 0:
            break
        page.append(item)
    return page


def projects(store: Store, question: r.ListProjects, max_payload_bytes: int) -> Item:
    """Projects, newest first, from where the last page ended, whatever was deleted or started meanwhile."""
    created, _, project_id = question.after.rpartition(" ")
    before = (created, project_id) if question.after else None
    found = store.projects(question.user, before=before, limit=question.limit + 1)
    page = page_of([record.status.model_dump() for record in found[: question.limit]], max_payload_bytes)
    return {"projects": page, "next": _place(found[len(page) - 1]) if len(page) < len(found) else ""}


def dead_letters(store: Store, question: r.ListDeadLetters, max_payload_bytes: int) -> Item:
    """Messages that could not be understood, without their payloads."""
    found = store.dead_letters(question.after, question.limit)
    page = page_of([_described(letter) for letter in found], max_payload_bytes)
    return {"letters": page, "more": len(page) < len(found) or len(found) == question.limit}


def dead_letter(store: Store, number: int) -> Item:
    """One of them.

    Raises:
        NotFoundError: there is none of this number (any more).
    """
    found = [letter for letter in store.dead_letters(number - 1, 1) if letter.number == number]
    if not found:
        raise NotFoundError("dead letter", str(number), remedy="See 'flops dead-letters list'.")
    payload = base64.b64encode(found[0].payload[:KEPT_LETTER_BYTES]).decode()
    return {**_described(found[0]), "payload": payload}


def _described(letter: DeadLetter) -> Item:
    return {
        "number": letter.number,
        "topic": letter.topic,
        "time": datetime.fromtimestamp(letter.time, UTC).isoformat(),
        "reason": letter.reason,
        "size_bytes": len(letter.payload),
    }


def _place(record: ProjectRecord) -> str:
    return f"{record.status.created} {record.project.id}"
