"""Each finding of the doctor has its remedy, and none keeps the others from being told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.doubles.answers import status

from flops.bootstrap import adapters, installation
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
    return manager


def subjects(found: set[tuple[str, str]]) -> set[str]:
    return {subject for subject, _ in found}


def test_what_works_is_told(diagnose: Callable[[], Levels], answering: Manager) -> None:
    assert answering
    levels = diagnose()
    wanted = {"configuration", "versions", "disk", "credentials", "store", "registry", "broker", "manager", "tracking"}
    assert wanted | {"data of node a"} <= subjects(levels["ok"] | levels["advice"])
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
        "projects": {"projects": [status(updated="2999-01-01T00:00:00+00:00")]},
        "services": {"services": [{"role": "aggregator", "user": "Ada", "instances": [failed]}]},
        "data": {"nodes": {}},
    }
    levels = diagnose()
    assert {"clock", "configuration"} <= subjects(levels["advice"])
    assert subjects(levels["fault"]) == {"aggregator", "data"}


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
