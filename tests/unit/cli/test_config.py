"""``flops config`` and the flags that go before a command."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest
    from tests.doubles.answers import Outcome


def test_every_value_is_shown_with_where_it_comes_from(
    flops: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOPS_STORE_URL", "mongodb://ada:secret@host/flops")
    file = tmp_path / "flops.toml"
    file.write_text('[contexts.lab]\nuser = "Lab"')

    done = flops("--config", str(file), "--context", "lab", "--set", "managers=2", "config", "show", "--json")

    shown = {item["setting"]: (item["value"], item["from"]) for item in json.loads(done.stdout)}
    assert shown["user"] == ("Lab", f"{file}, line 2")
    assert shown["managers"] == ("2", "flag --set")
    assert shown["chunk_bytes"][1] == "default"
    assert shown["store_url"] == ("mongodb://host/flops", "environment variable FLOPS_STORE_URL")
    assert "secret" not in done.stdout


def test_flags_hold_for_one_command_only(flops: Callable[..., Outcome]) -> None:
    assert "Lab" in flops("--set", "user=Lab", "config", "show").stdout
    assert "Lab" not in flops("config", "show").stdout


def test_a_wrong_flag_is_answered_with_what_was_meant(flops: Callable[..., Outcome]) -> None:
    assert flops("--set", "user", "config", "show").exit_code == 2
    done = flops("--set", "usr=x", "config", "show")
    assert (done.exit_code, "Did you mean 'user'?" in done.stderr) == (7, True)


def test_contexts_are_listed(flops: Callable[..., Outcome], tmp_path: Path) -> None:
    file = tmp_path / "flops.toml"
    file.write_text('context = "b"\n[contexts.a]\n[contexts.b]')
    done = flops("--config", str(file), "config", "contexts", "--jsonl")
    assert [(item["name"], item["current"]) for item in map(json.loads, done.stdout.splitlines())] == [
        ("a", False),
        ("b", True),
    ]


def test_an_empty_context_list_says_how_to_make_one(flops: Callable[..., Outcome]) -> None:
    assert "[contexts.NAME]" in flops("config", "contexts").stderr
