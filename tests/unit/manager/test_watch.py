"""What happens by itself is heard, whatever becomes of the orchestrator's log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.brokers import wait_until
from tests.unit.manager.conftest import Office

from flops.manager.service import Tenure
from flops.manager.watch import CURSOR
from flops.project.deployment import App, InstanceState, Role, ServiceSpec
from flops.project.state import Deadlines
from flops.wire.requests import ListData

if TYPE_CHECKING:
    from pathlib import Path

    from flops.adapters.memory_bus import MemoryBroker

SLA: dict[str, Any] = {
    "customerID": "Ada",
    "ml_repo_url": "https://github.com/ada/digits",
    "ml_model_flavor": "sklearn",
    "training_configuration": {"data_tags": ["digits"]},
}


def test_changes_are_heard_after_the_orchestrator_has_lost_its_log(office: Office) -> None:
    office.say_data(digits=100)
    wait_until(lambda: bool(office.client.ask("data", ListData(), 10)["nodes"]))
    project_id = office.request(SLA)
    builder = office.await_deployed("builder")
    for _ in range(3):
        office.orchestrator.change(builder, InstanceState.RUNNING)
    wait_until(lambda: office.store.recall(f"{CURSOR}:manager") == "3")

    office.orchestrator.lose_changes()
    office.orchestrator.change(builder, InstanceState.FAILED, reason="killed by SIGKILL")

    assert "SIGKILL" in office.await_event("project.failed", project_id).data["reason"]


def test_a_tracking_server_that_was_started_anew_is_not_removed_for_an_old_end(office: Office) -> None:
    app = App("Ada", "observatory")
    for name in ("tracking1", "tracking2"):
        office.orchestrator.deploy(ServiceSpec(name=name, app=app, role=Role.TRACKING))
    office.orchestrator.repeat("tracking1", InstanceState.FAILED)

    office.orchestrator.change("tracking2", InstanceState.FAILED)

    wait_until(lambda: "tracking2" not in office.orchestrator.deployed)
    assert "tracking1" in office.orchestrator.deployed


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
def test_a_deadline_passes_in_time_while_the_wall_clock_jumps(
    memory_broker: MemoryBroker, tmp_path: Path, jump_s: float
) -> None:
    offset_s = 0.0
    tenure = Tenure(wall=lambda: time.time() + offset_s)
    office = Office(memory_broker, tmp_path / "flops.db", deadlines=Deadlines(building_s=2.0), tenure=tenure)
    office.start()
    office.say_data(digits=100)
    try:
        project_id = office.request(SLA)
        office.await_deployed("builder")
        began, offset_s = time.monotonic(), jump_s

        failed = office.await_event("project.failed", project_id)
        lasted_s = time.monotonic() - began
    finally:
        office.stop()

    assert "building took longer than 2 s" in failed.data["reason"]
    assert 1 < lasted_s < 5
