"""What could not be understood can be looked at without harm, and dropped."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from flops.cli.output import in_one_line, visible

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.doubles.answers import Manager, Outcome

HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202egnp.exe\x00"


def letter(number: int, payload: bytes | None = None, **changes: Any) -> dict[str, Any]:  # noqa: ANN401  any field
    fields = {"number": number, "topic": "project/start", "time": "2030-01-01T10:00:00+00:00", "reason": "it is odd"}
    content = {} if payload is None else {"payload": base64.b64encode(payload).decode()}
    return {**fields, "size_bytes": len(payload or b""), **content, **changes}


def test_all_pages_are_listed(flops: Callable[..., Outcome], manager: Manager) -> None:
    manager.pages["dead-letters"] = [{"letters": [letter(1)], "more": True}, {"letters": [letter(2)], "more": False}]

    listed = json.loads(flops("dead-letters", "list", "--json").stdout)

    assert [item["number"] for item in listed] == [1, 2]
    assert [question["after"] for name, question in manager.heard if name == "dead-letters"] == [0, 1]


def test_a_list_without_any_says_so(flops: Callable[..., Outcome], manager: Manager) -> None:
    manager.replies["dead-letters"] = {"letters": [], "more": False}

    assert "no dead letters" in flops("dead-letters", "list").stderr


def test_a_payload_is_shown_as_text_without_being_obeyed(flops: Callable[..., Outcome], manager: Manager) -> None:
    manager.replies["dead-letter"] = letter(7, HOSTILE.encode(), topic="x/\x1b[31m", reason="odd \x07")

    shown = flops("dead-letters", "show", "7").stdout

    assert not {"\x1b", "\x07", "\r", "\x9b", "\x00", "\u202e"} & set(shown)
    assert r"\x1b]0;owned\x07" in shown
    assert r"\u202e" in shown


def test_what_is_no_text_is_shown_in_hexadecimal_and_cut(flops: Callable[..., Outcome], manager: Manager) -> None:
    manager.replies["dead-letter"] = letter(7, b"\xff\x00" * 4000)

    shown = flops("dead-letters", "show", "7").stdout

    assert "8,000 bytes kept, as hex, the first 4,096 bytes:" in shown
    assert shown.count("ff00") == 2048
    assert json.loads(flops("dead-letters", "show", "7", "--json").stdout)["hex"] == "ff00" * 4000


def test_a_text_that_was_cut_inside_of_a_character_is_a_text(flops: Callable[..., Outcome], manager: Manager) -> None:
    manager.replies["dead-letter"] = letter(7, "größe".encode()[:3])

    assert json.loads(flops("dead-letters", "show", "7", "--json").stdout)["text"] == "gr"


def test_many_numbers_are_dropped_in_several_requests(flops: Callable[..., Outcome], manager: Manager) -> None:
    manager.replies["dead-letters-drop"] = {"dropped": 5}

    dropped = flops("dead-letters", "drop", *map(str, range(1, 1502)))

    assert dropped.stdout == "10 dropped.\n"
    assert [len(question["numbers"]) for _, question in manager.heard] == [1000, 501]


@pytest.mark.parametrize("arguments", [(), ("1", "--all")])
def test_what_to_drop_has_to_be_said_once(flops: Callable[..., Outcome], arguments: tuple[str, ...]) -> None:
    assert flops("dead-letters", "drop", *arguments).exit_code == 2


def test_a_terminal_obeys_nothing_of_a_service_that_logs_escape_sequences(
    flops: Callable[..., Outcome], manager: Manager
) -> None:
    manager.replies["logs"] = {"text": f"epoch 1\r\n\tloss {HOSTILE}\n"}

    shown = flops("logs", "flearner").stdout

    assert shown.startswith("epoch 1\n\tloss \\x1b]0;owned")
    assert not {"\x1b", "\x07", "\r", "\x9b"} & set(shown)


def test_json_stays_json_when_it_is_made_visible() -> None:
    assert json.loads(in_one_line({"text": HOSTILE})) == {"text": HOSTILE}
    assert not {"\x9b", "\u202e"} & set(in_one_line(HOSTILE))
    assert visible("as it is, ä\t→\n") == "as it is, ä\t→\n"
