"""Who may say what: facts of the manager's own and entries of the observer's are taken from nobody else."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from tests.brokers import wait_until

from flops.errors import UndecodableMessageError
from flops.wire import events as e
from flops.wire.envelope import Envelope

if TYPE_CHECKING:
    from tests.unit.manager.conftest import Office

FORGED = e.InstanceFailed(service="x", role="builder", instance="x.0", reason="forged")


def begun(office: Office) -> str:
    project_id = office.request(
        {
            "customerID": "Ada",
            "ml_repo_url": "https://github.com/ada/digits",
            "ml_model_flavor": "sklearn",
            "training_configuration": {"data_tags": ["digits"]},
        }
    )
    office.await_deployed("observ")
    return project_id


def put_aside(office: Office) -> list[str]:
    """Why messages were put aside."""
    with closing(sqlite3.connect(office.path)) as database:
        return [reason for (reason,) in database.execute("SELECT reason FROM dead_letters")]


def watermark(office: Office, project_id: str, source: str) -> int:
    record = office.store.load(project_id)
    return record.watermarks.get(source, 0) if record else 0


@pytest.mark.parametrize("sequence", [0, 1])
def test_what_the_manager_alone_may_say_is_put_aside_from_others(office: Office, sequence: int) -> None:
    project_id = begun(office)

    office.tell(project_id, "/builder/b.0", sequence, e.ProjectFailed(stage="building", reason="forged"))
    wait_until(lambda: put_aside(office) == ["only the manager says that"])

    record = office.store.load(project_id)
    assert record is not None
    assert record.status.reason == ""


def test_a_source_that_said_too_much_is_heard_further(office: Office) -> None:
    project_id = begun(office)

    office.tell(project_id, "/builder/b.0", 1, FORGED)
    office.tell(project_id, "/builder/b.0", 2, e.Warned(message="low on disk"))

    wait_until(lambda: watermark(office, project_id, "/builder/b.0") == 2)


@pytest.mark.parametrize("source", ["/observer/other.0/inbox", "/builder/b.0", "/manager"])
def test_entries_of_anybody_but_the_projects_observer_are_put_aside(office: Office, source: str) -> None:
    project_id = begun(office)
    entry = Envelope(id="1", source=source, type="inbox.entry", time=datetime.now(UTC), data={"text": "x"}, sequence=1)

    office.bus.publish(office.topics.project_inbox(project_id), entry.encode())

    wait_until(lambda: any("makes entries of this project" in reason for reason in put_aside(office)))
    assert office.store.entries(project_id, after=0, limit=10) == []


def phase(office: Office, project_id: str) -> str:
    record = office.store.load(project_id)
    return str(record.project.phase) if record else ""


@pytest.mark.parametrize("payload", [b"\xff", b"{", b"7", b"[]", b'{"specversion":"1.0"}'])
def test_garbage_cancels_nothing(office: Office, payload: bytes) -> None:
    project_id = begun(office)

    office.bus.publish(office.topics.project_cancel(project_id), payload)
    wait_until(lambda: len(put_aside(office)) == 1)

    assert phase(office, project_id) not in {"stopping", "cancelled"}


@pytest.mark.parametrize("payload", [b"", b"{}", b'{"by":"Ada"}'])
def test_a_cancellation_by_hand_needs_no_envelope(office: Office, payload: bytes) -> None:
    project_id = begun(office)

    office.bus.publish(office.topics.project_cancel(project_id), payload)

    wait_until(lambda: phase(office, project_id) in {"stopping", "cancelled"})


def test_a_retained_cancellation_counts_when_it_is_sent_and_never_again(office: Office) -> None:
    project_id = begun(office)
    office.bus.publish(office.topics.project_cancel(project_id), b"{}", retain=True)
    wait_until(lambda: phase(office, project_id) in {"stopping", "cancelled"})

    office.stop()
    office.start()

    wait_until(lambda: any("retained" in reason for reason in put_aside(office)))


@pytest.mark.parametrize("kind", sorted(e.TOLD_BY_MANAGER_ALONE))
def test_nobody_reads_a_fact_of_the_managers_from_another_source(kind: str) -> None:
    told = Envelope(id="1", source="/manager.x", type=kind, time=datetime.now(UTC))

    with pytest.raises(UndecodableMessageError, match="only the manager says that"):
        told.event()
