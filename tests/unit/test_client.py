"""FLOps from Python: the verbs of the command line; tests/system/test_command_line.py does what its page says."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.doubles.answers import ID, OTHER_ID, Manager, status

import flops
from flops.bootstrap import adapters
from flops.errors import InvalidSlaError, NoAnswerError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flops.adapters.memory_bus import MemoryBroker
    from flops.ports import Bus


def entry(sequence: int, event_type: str) -> dict[str, Any]:
    fields = {"project_id": ID, "time": "2030-01-01T10:00:00+00:00", "severity": "info", "source": "/manager"}
    return {"sequence": sequence, "event_type": event_type, "event_id": f"e{sequence}", "text": "told", **fields}


@pytest.fixture
def manager(memory_broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Manager]:
    def connect(_: object, client_id: str, **__: object) -> Bus:
        return memory_broker.connect(client_id)

    monkeypatch.setenv("FLOPS_HOME", str(tmp_path))
    monkeypatch.setattr(adapters, "connect", connect)
    made = Manager(memory_broker.connect("manager"))
    done = status(model_uri="runs:/1/model", tracking_url="http://t")
    made.replies |= {
        "start": {"project_id": ID},
        "projects": {"projects": [done, status(project_id=OTHER_ID)]},
        "project": {"status": done, "sla": {}, "services": []},
        "inbox": {"entries": [entry(1, "project.accepted"), entry(2, "project.completed")], "more": False},
        "data": {"nodes": {"local": {"digits": 1797}}},
    }
    thread = threading.Thread(target=made.run)
    thread.start()
    yield made
    made.stopping.set()
    thread.join(10)


def test_a_project_is_followed_waited_for_and_its_model_found(manager: Manager) -> None:
    with flops.Client() as client:
        project = client.start("digits_sklearn_small")
        assert [entry.event_type for entry in project.events()] == ["project.accepted", "project.completed"]
        assert [entry.sequence for entry in project.events(wait=False)] == [1, 2]
        assert project.wait(timeout_s=5).phase == "completed"
        assert (project.model().uri, project.model().accuracy) == ("runs:/1/model", 0.97222)
        assert [item.id for item in client.projects()] == [ID, OTHER_ID]
        assert client.data() == {"local": {"digits": 1797}}
    assert manager.heard[0][0] == "start"


def test_mock_data_are_checked_before_anything_is_asked_for(manager: Manager) -> None:
    with flops.Client() as client, pytest.raises(InvalidSlaError):
        client.mock_data({"mock_data_configuration": {}})
    assert manager.heard == []


def test_what_goes_wrong_is_an_error_with_its_facts(manager: Manager) -> None:
    with flops.Client(user="Ada") as client:
        with pytest.raises(InvalidSlaError):
            client.start({"ml_repo_url": 1})
        manager.replies["project"] = {"status": status(phase="training", model_uri="")}
        project = client.project(ID)
        with pytest.raises(NotFoundError, match="wait"):
            project.model()
        with pytest.raises(NoAnswerError):
            project.wait(timeout_s=0)
        assert client.session.settings.user == "Ada"


def test_a_model_that_is_not_served_says_what_its_sla_lacks(manager: Manager) -> None:
    assert manager
    with flops.Client() as client, pytest.raises(NotFoundError, match="deploy_trained_model_image"):
        client.project(ID).model().predict([[1]])


def test_an_unknown_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = flops.nonsense


def test_importing_the_package_imports_nothing_of_it() -> None:
    script = (
        "import sys, flops; print([name for name in sys.modules if name.startswith(('flops.', 'pydantic', 'click'))])"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout.strip() == "[]"
