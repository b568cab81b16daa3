"""Long lists come page by page, and nothing is missing or repeated between two pages."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from tests.brokers import wait_until

from flops.errors import NotFoundError, RequestRefusedError
from flops.manager import requests as requests_module
from flops.wire import requests as r
from flops.wire.limits import KEPT_LETTER_BYTES

if TYPE_CHECKING:
    from tests.unit.manager.conftest import Office

SLA = {
    "customerID": "Ada",
    "ml_repo_url": "https://github.com/ada/digits",
    "ml_model_flavor": "sklearn",
    "training_configuration": {"data_tags": ["digits"]},
}


def poison(office: Office, *payloads: bytes) -> None:
    """Put messages aside."""
    before = len(office.store.dead_letters(0, 1000))
    for payload in payloads:
        office.bus.publish(office.topics.project_events("0" * 24), payload)
    wait_until(lambda: len(office.store.dead_letters(0, 1000)) == before + len(payloads))


def test_projects_come_newest_first_however_many_are_started_meanwhile(office: Office) -> None:
    ids = [office.request(SLA) for _ in range(5)]
    seen: list[str] = []
    after, more = "", True
    while more:
        answer = office.client.ask("projects", r.ListProjects(after=after, limit=2), 10)
        seen += [item["project_id"] for item in answer["projects"]]
        after, more = answer["next"], bool(answer["next"])
        office.request(SLA)

    assert seen == ids[::-1]


def test_only_one_users_projects_are_listed(office: Office) -> None:
    mine = office.request(SLA)
    office.request({**SLA, "customerID": "Bob"})

    answer = office.client.ask("projects", r.ListProjects(user="Ada"), 10)

    assert ([item["project_id"] for item in answer["projects"]], answer["next"]) == ([mine], "")


def test_dead_letters_are_listed_shown_and_dropped(office: Office) -> None:
    large = b"\xff" * (KEPT_LETTER_BYTES + 1)
    poison(office, b"{", b"\x00\x1b[31m", large)
    first = office.client.ask("dead-letters", r.ListDeadLetters(limit=2), 10)
    second = office.client.ask("dead-letters", r.ListDeadLetters(limit=2, after=first["letters"][-1]["number"]), 10)
    numbers = [letter["number"] for letter in (*first["letters"], *second["letters"])]

    assert (first["more"], second["more"], len(numbers)) == (True, False, 3)
    assert "payload" not in first["letters"][0]
    shown = [office.client.ask("dead-letter", r.ShowDeadLetter(number=number), 10) for number in numbers]
    assert [base64.b64decode(letter["payload"]) for letter in shown] == [b"{", b"\x00\x1b[31m", large[:-1]]
    assert f"of its {len(large):,} bytes the first {KEPT_LETTER_BYTES:,} are kept" in shown[2]["reason"]

    assert office.client.ask("dead-letters-drop", r.DropDeadLetters(numbers=numbers[:1]), 10) == {"dropped": 1}
    with pytest.raises(NotFoundError):
        office.client.ask("dead-letter", r.ShowDeadLetter(number=numbers[0]), 10)
    assert office.client.ask("dead-letters-drop", r.DropDeadLetters(all=True), 10) == {"dropped": 2}
    assert office.client.ask("dead-letters", r.ListDeadLetters(), 10) == {"letters": [], "more": False}


@pytest.mark.parametrize("number", [2**63 - 1, 2**62])
def test_numbers_that_no_letter_has_are_not_found(office: Office, number: int) -> None:
    with pytest.raises(NotFoundError):
        office.client.ask("dead-letter", r.ShowDeadLetter(number=number), 10)


def test_more_requests_than_can_be_answered_are_refused(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests_module, "MAX_WAITING", 0)

    with pytest.raises(RequestRefusedError) as refused:
        office.client.ask("projects", r.ListProjects(), 10)

    assert refused.value.refusal_code == "manager.overloaded"
