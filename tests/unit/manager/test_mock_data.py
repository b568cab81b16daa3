"""Mock data: whoever waits for them hears of a provider that was killed, and nothing of it stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.brokers import wait_until

from flops.delivery.presence import presence_payload
from flops.delivery.service import ServiceIdentity
from flops.project.deployment import InstanceState
from flops.wire.requests import ListData, ProvideMockData

if TYPE_CHECKING:
    from tests.unit.manager.conftest import Office

SLA = {"customerID": "Ada", "mock_data_configuration": {"dataset_name": "digits", "data_tag": "digits"}}


def provide(office: Office) -> tuple[str, str]:
    """The request's id and its provider."""
    office.say_data(digits=1)
    wait_until(lambda: bool(office.client.ask("data", ListData(), 10)["nodes"]))
    answer = office.client.ask("mock-data", ProvideMockData(sla=SLA), 10)
    return answer["request_id"], answer["service"]


def test_a_provider_that_is_killed_is_told_to_whoever_waits(office: Office) -> None:
    request_id, provider = provide(office)

    office.orchestrator.change(provider, InstanceState.FAILED, reason="killed by SIGKILL")

    failed = office.await_event("mock-data.failed", request_id)
    assert failed.data["reason"] == "killed by SIGKILL"
    assert failed.sequence == 0
    wait_until(lambda: provider not in office.orchestrator.deployed)


def test_a_provider_that_is_done_leaves_neither_service_nor_presence(office: Office) -> None:
    _, provider = provide(office)
    presence = office.topics.presence(f"{provider}.0")
    identity = ServiceIdentity(provider, f"{provider}.0", "data", "helper", "Ada", "n2", "")
    office.bus.publish(presence, presence_payload(identity, online=True, data_tags={"digits": 1}), retain=True)
    wait_until(lambda: "n2" in office.client.ask("data", ListData(), 10)["nodes"])
    cleared = office.bus.subscribe(presence)

    office.orchestrator.change(provider, InstanceState.COMPLETED)

    wait_until(lambda: (heard := cleared.receive(0.1)) is not None and not heard.payload)
    assert provider not in office.orchestrator.deployed
