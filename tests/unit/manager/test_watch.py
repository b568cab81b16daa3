"""What happens by itself is heard, whatever becomes of the orchestrator's log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.brokers import wait_until

from flops.manager.watch import CURSOR
from flops.project.deployment import App, InstanceState, Role, ServiceSpec
from flops.wire.requests import ListData

if TYPE_CHECKING:
    from tests.unit.manager.conftest import Office


def test_changes_are_heard_after_the_orchestrator_has_lost_its_log(office: Office) -> None:
    office.say_data(digits=100)
    wait_until(lambda: bool(office.client.ask("data", ListData(), 10)["nodes"]))
    project_id = office.request(
        {
            "customerID": "Ada",
            "ml_repo_url": "https://github.com/ada/digits",
            "ml_model_flavor": "sklearn",
            "training_configuration": {"data_tags": ["digits"]},
        }
    )
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
