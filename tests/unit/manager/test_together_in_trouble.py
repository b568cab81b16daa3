"""A manager that handles a burst together while something goes wrong: it neither hangs nor tells what is not so."""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from tests.brokers import wait_until
from tests.unit.manager.conftest import Office

from flops.manager.service import Tenure
from flops.wire.envelope import Envelope, decode_envelope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flops.adapters.memory_bus import MemoryBroker
    from flops.ports import ProjectRecord, Subscription

SLA: dict[str, Any] = {
    "ml_repo_url": "https://host.invalid/owner/repository",
    "ml_model_flavor": "sklearn",
    "training_configuration": {"data_tags": ["a"]},
}
REQUESTS = 24


@pytest.fixture
def replies(office: Office) -> Subscription:
    return office.bus.subscribe(office.topics.reply("burst"))


def request(number: int, reply_to: str) -> bytes:
    return Envelope(
        id=f"request {number}",
        source="/client/burst",
        type="project.request",
        time=datetime.now(UTC),
        data=SLA,
        reply_to=reply_to,
    ).encode()


@contextmanager
def burst(office: Office) -> Iterator[None]:
    """Let the manager find at once what is published meanwhile."""
    with office.store.together():
        office.bus.publish(office.topics.project_start(), request(0, ""))
        wait_until(lambda: office.store._file._waiting > 0)
        yield


def ask_together(office: Office) -> None:
    with burst(office):
        for number in range(1, 1 + REQUESTS):
            office.bus.publish(office.topics.project_start(), request(number, office.topics.reply("burst")))


def answers(replies: Subscription) -> list[dict[str, Any]]:
    found = []
    for _ in range(REQUESTS):
        delivery = replies.receive(10)
        assert delivery is not None
        found.append(decode_envelope(delivery.topic, delivery.payload).data)
    return found


def at_save(office: Office, number: int, meet: Callable[[], object]) -> None:
    """Meet something after a save of a project, once."""
    save, saves = office.store.save, count(1)

    def save_and_meet(record: ProjectRecord, **news: Any) -> ProjectRecord:  # noqa: ANN401  whatever there is
        saved = save(record, **news)
        if next(saves) == number:
            meet()
        return saved

    office.store.save = save_and_meet  # type: ignore[method-assign]


def test_a_lease_that_ends_meanwhile_is_taken_anew(memory_broker: MemoryBroker, tmp_path: Path) -> None:
    asleep_s = 0.0
    office = Office(memory_broker, tmp_path / "flops.db", tenure=Tenure(elapsed=lambda: time.monotonic() + asleep_s))

    def fall_asleep() -> None:
        nonlocal asleep_s
        asleep_s = 1000

    office.start()
    replies = office.bus.subscribe(office.topics.reply("burst"))
    at_save(office, 9, fall_asleep)
    ask_together(office)

    assert len({answer["project_id"] for answer in answers(replies)}) == REQUESTS
    office.stop()


def test_nobody_is_refused_what_is_tried_again(office: Office, replies: Subscription) -> None:
    def fill_the_disk() -> None:
        with office.store._file.writing() as database:
            database.execute("ROLLBACK")
            raise sqlite3.OperationalError("database or disk is full")

    at_save(office, 9, fill_the_disk)
    ask_together(office)

    assert all("project_id" in answer for answer in answers(replies))
    assert replies.receive(0.1) is None
    wait_until(lambda: sum(name.startswith("observ") for name in list(office.orchestrator.deployed)) == 1 + REQUESTS)
