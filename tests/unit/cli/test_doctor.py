"""Each finding of the doctor has its remedy, and none keeps the others from being told."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from tests.servers.pulled import free_port

from flops.adapters.sqlite_store import SqliteStore
from flops.bootstrap import adapters, installation
from flops.cli import doctor
from flops.errors import RegistryUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.doubles.answers import Manager, Outcome

Levels = dict[str, set[tuple[str, str]]]


@pytest.fixture
def diagnose(flops: Callable[..., Outcome]) -> Callable[[], Levels]:
    def run() -> Levels:
        done = flops("doctor", "--json")
        found = json.loads(done.stdout)
        assert all(item["remedy"] for item in found if item["level"] != "ok")
        assert done.exit_code == any(item["level"] == "fault" for item in found)
        levels: Levels = {"ok": set(), "advice": set(), "fault": set()}
        for item in found:
            levels[item["level"]].add((item["subject"], item["found"]))
        return levels

    return run


@pytest.fixture
def answering(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> Manager:
    monkeypatch.setattr(installation, "is_up", lambda _: True)
    manager.replies |= {"services": {"services": []}, "data": {"nodes": {"a": {"digits": 10}}}}
    manager.replies["tracking"] = {"url": "http://127.0.0.1:9"}
    monkeypatch.setattr(adapters, "training_data", lambda _: lambda _: DataServer())
    return manager


class DataServer:
    """One that answers."""

    def partitions(self) -> list[str]:
        return []


def subjects(found: set[tuple[str, str]]) -> set[str]:
    return {subject for subject, _ in found}


def test_what_works_is_told(diagnose: Callable[[], Levels], answering: Manager) -> None:
    assert answering
    levels = diagnose()
    of_this_machine = {"configuration", "versions", "disk", "credentials", "store", "registry"}
    of_what_answers = {"broker", "manager", "tracking", "clock", "data of node a"}
    assert of_this_machine | of_what_answers <= subjects(levels["ok"] | levels["advice"])
    assert levels["fault"] == set()


def test_with_nothing_up_the_remedy_is_to_start_it(diagnose: Callable[[], Levels]) -> None:
    assert subjects(diagnose()["fault"]) == {"local orchestrator"}


def test_a_wrong_setting_is_a_finding(diagnose: Callable[[], Levels], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOPS_MANAGERS", "none")
    assert subjects(diagnose()["fault"]) == {"configuration"}


def test_a_check_that_fails_keeps_no_other_from_being_told(
    diagnose: Callable[[], Levels], answering: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering.replies["projects"] = {"projects": []}

    def refuse(_: object) -> None:
        raise RegistryUnavailableError("here", "it is away")

    monkeypatch.setattr(adapters, "registry", refuse)
    monkeypatch.setattr(adapters, "store_path", _refuse)
    levels = diagnose()
    assert {"registry", "store"} <= subjects(levels["fault"])
    assert "manager" in subjects(levels["ok"])


def _refuse(_: object) -> None:
    raise PermissionError(13, "Permission denied")


def test_clocks_services_data_and_variables_that_are_wrong_are_found(
    diagnose: Callable[[], Levels], answering: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOPS_BROKR_URL", "x")
    failed = {"id": "aggr1.0", "state": "FAILED", "reason": "exit code 1"}
    answering.replies |= {
        "services": {
            "services": [
                {"role": "aggregator", "user": "Ada", "instances": [failed]},
                {"role": "tracking", "user": "Ada", "instances": [{"id": "t.0", "state": "RUNNING"}]},
            ]
        },
        "data": {"nodes": {}},
    }
    levels = diagnose()
    assert "configuration" in subjects(levels["advice"])
    assert subjects(levels["fault"]) == {"aggregator", "data", "tracking"}


@pytest.mark.parametrize(("hours", "how"), [(3, "s ahead of"), (-3, "10,800 s behind")])
def test_a_clock_that_is_wrong_is_found_by_the_time_of_the_answer(hours: int, how: str) -> None:
    finding = doctor._clock((datetime.now(UTC) + timedelta(hours=hours)).isoformat())
    assert (finding.level, how in finding.found) == ("advice", True)


def test_a_store_that_is_damaged_or_none_is_found(
    diagnose: Callable[[], Levels], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "flops.db"
    SqliteStore(path).close()
    content = bytearray(path.read_bytes())
    content[3 * 4096 : 4 * 4096] = b"\xff" * 4096
    path.write_bytes(content)
    monkeypatch.setenv("FLOPS_STORE_URL", f"sqlite://{path}")
    assert any(subject == "store" and "damaged" in found for subject, found in diagnose()["fault"])
    path.write_text("none " * 1000)
    assert "store" in subjects(diagnose()["fault"])


def test_images_that_cannot_be_kept_are_found(diagnose: Callable[[], Levels], tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "images").touch()
    assert "registry" in subjects(diagnose()["fault"])


def test_a_registry_that_cannot_be_reached_is_found(
    diagnose: Callable[[], Levels], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOPS_REGISTRY_URL", f"http://127.0.0.1:{free_port()}")
    assert any(subject == "registry" and "refused" in found for subject, found in diagnose()["fault"])


def test_a_home_that_nobody_can_write_to_is_found(
    diagnose: Callable[[], Levels], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # who tests as root may write anywhere
    assert "disk" in subjects(diagnose()["fault"])


def test_credentials_that_others_can_read_or_hear_are_found(
    diagnose: Callable[[], Levels], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text("secret")
    password.chmod(0o644)
    for name, value in (("URL", "mqtt://broker.invalid"), ("USERNAME", "ada"), ("PASSWORD_FILE", str(password))):
        monkeypatch.setenv(f"FLOPS_BROKER_{name}", value)
    told = {found for subject, found in diagnose()["advice"] if subject == "credentials"}
    assert told == {f"others may read {password}", "the password goes to broker.invalid unencrypted"}
