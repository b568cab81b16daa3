"""What runs and what should run are brought together; services that hang do not go unnoticed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.brokers import wait_until
from tests.unit.manager.conftest import Office

from flops.delivery.presence import presence_payload
from flops.delivery.service import ServiceIdentity
from flops.errors import OrchestratorUnavailableError
from flops.manager.service import Tenure
from flops.project.deployment import App, InstanceState, Role, ServiceSpec
from flops.project.state import Phase

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flops.adapters.memory_bus import MemoryBroker

UNKNOWN = "f" * 24
LEASE_S = 0.5


@pytest.fixture
def hasty(memory_broker: MemoryBroker, tmp_path: Path) -> Iterator[Office]:
    """A manager that gives services a short lease."""
    made = Office(memory_broker, tmp_path / "flops.db", tenure=Tenure(service_lease_s=LEASE_S))
    made.start()
    yield made
    made.stop()


def request(office: Office) -> str:
    office.say_data(digits=100)
    return office.request(
        {
            "customerID": "Ada",
            "ml_repo_url": "https://github.com/ada/digits",
            "ml_model_flavor": "sklearn",
            "training_configuration": {"data_tags": ["digits"]},
        }
    )


def build(office: Office) -> tuple[str, str]:
    """A project that builds, with nothing left to be done; returns its id and its builder."""
    project_id = request(office)
    builder = office.await_deployed("builder")
    office.await_event("service.deployed", project_id)
    wait_until(lambda: not office.store.pending("manager"))
    return project_id, builder


def restart(office: Office) -> None:
    office.stop()
    office.start()


def set_phase(office: Office, project_id: str, phase: Phase, **changes: Any) -> None:  # noqa: ANN401  any field
    """Have a project in a phase, whatever has led to it; the manager must not run."""
    store = type(office.store)(office.path)
    record = store.load(project_id)
    assert record
    store.save(replace(record, project=replace(record.project, phase=phase, **changes)))
    store.close()


class TestLeftovers:
    def test_a_service_of_no_known_project_is_removed_with_its_app(self, office: Office) -> None:
        app = App("Ada", "projffffffffffff")
        office.orchestrator.create_app(app)
        office.orchestrator.deploy(ServiceSpec("aggrffffffffffff", app, Role.AGGREGATOR, project_id=UNKNOWN))

        restart(office)

        wait_until(lambda: not office.orchestrator.deployed and app not in office.orchestrator.apps())

    def test_mock_data_providers_and_tracking_servers_belong_to_no_project(self, office: Office) -> None:
        app = App("Ada", "helper")
        office.orchestrator.deploy(ServiceSpec("mockdata1", app, Role.MOCK_DATA, project_id=UNKNOWN))
        office.orchestrator.deploy(ServiceSpec("tracking1", app, Role.TRACKING))
        office.orchestrator.deploy(ServiceSpec("aggr1", app, Role.AGGREGATOR, project_id=UNKNOWN))

        restart(office)

        wait_until(lambda: "aggr1" not in office.orchestrator.deployed)
        assert set(office.orchestrator.deployed) == {"mockdata1", "tracking1"}

    def test_what_an_ended_project_does_not_keep_is_removed(self, office: Office) -> None:
        project_id, builder = build(office)
        office.stop()
        set_phase(office, project_id, Phase.CANCELLED, deployed=())

        office.start()

        wait_until(lambda: builder not in office.orchestrator.deployed)
        office.await_event("service.removed", project_id)
        assert any(name.startswith("observ") for name in office.orchestrator.deployed)

    def test_an_ended_projects_observer_goes_once_it_has_ended(self, office: Office) -> None:
        project_id, _ = build(office)
        office.stop()
        set_phase(office, project_id, Phase.CANCELLED, deployed=())
        observer = office.await_deployed("observ")
        office.orchestrator.state_of(observer, InstanceState.COMPLETED)

        office.start()

        wait_until(lambda: observer not in office.orchestrator.deployed)

    def test_a_served_model_stays(self, office: Office) -> None:
        project_id, builder = build(office)
        office.stop()
        server = ServiceSpec(f"trmodel{project_id[:12]}", App("Ada", "x"), Role.INFERENCE, project_id=project_id)
        office.orchestrator.deploy(server)
        set_phase(office, project_id, Phase.COMPLETED, deployed=(), inference_url="http://x")

        office.start()

        wait_until(lambda: builder not in office.orchestrator.deployed)
        assert server.name in office.orchestrator.deployed

    def test_what_a_live_project_needs_stays(self, office: Office) -> None:
        build(office)
        before = set(office.orchestrator.deployed)
        app = App("Ada", "helper")
        office.orchestrator.deploy(ServiceSpec("aggr1", app, Role.AGGREGATOR, project_id=UNKNOWN))

        restart(office)

        wait_until(lambda: "aggr1" not in office.orchestrator.deployed)
        assert set(office.orchestrator.deployed) == before


class TestMissing:
    def test_a_service_that_is_not_known_any_more_fails_the_project_with_that_reason(self, office: Office) -> None:
        project_id, builder = build(office)
        office.stop()
        del office.orchestrator.deployed[builder]

        office.start()

        failed = office.await_event("project.failed", project_id)
        assert "the orchestrator knows nothing of it" in failed.data["reason"]
        assert office.await_event("service.missing", project_id).data["role"] == "builder"

    def test_a_missing_observer_is_deployed_again(self, office: Office) -> None:
        project_id, _ = build(office)
        observer = office.await_deployed("observ")
        office.stop()
        del office.orchestrator.deployed[observer]

        office.start()

        wait_until(lambda: observer in office.orchestrator.deployed)
        record = office.store.load(project_id)
        assert record
        assert record.project.phase is Phase.BUILDING

    def test_it_is_looked_for_after_an_outage_of_the_orchestrator(
        self, office: Office, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        project_id, builder = build(office)
        was_asked: list[int] = []

        def changes(after: int, timeout_s: float) -> list[Any]:  # noqa: ARG001  as the port has it
            was_asked.append(after)
            raise OrchestratorUnavailableError("fake", "it is away")

        with monkeypatch.context() as patched:
            patched.setattr(office.orchestrator, "changes", changes)
            wait_until(lambda: bool(was_asked))
            del office.orchestrator.deployed[builder]

        office.await_event("project.failed", project_id)

    def test_what_is_about_to_be_deployed_is_not_missing(self, office: Office) -> None:
        office.orchestrator.outages = 1_000_000
        project_id = request(office)

        restart(office)

        office.orchestrator.outages = 0
        office.await_deployed("builder")
        assert "service.missing" not in {envelope.type for _, envelope in events(office, project_id)}


def events(office: Office, project_id: str) -> list[tuple[int, Any]]:
    return office.store.events(project_id, after=0, limit=999)


@dataclass
class Instance:
    """A service of a project as it shows on the broker."""

    office: Office
    project_id: str
    service: str
    role: str
    identity: ServiceIdentity = field(init=False)

    def __post_init__(self) -> None:
        self.identity = ServiceIdentity(
            self.service, f"{self.service}.0", self.role, "proj", "Ada", "n1", self.project_id
        )

    def say(self, *, online: bool) -> None:
        """Say whether it is online; offline is what its last will says."""
        topic = self.office.topics.presence(self.identity.instance)
        self.office.bus.publish(topic, presence_payload(self.identity, online=online), retain=True)


class TestLeases:
    def test_a_service_that_runs_but_is_not_heard_of_is_started_again(self, hasty: Office) -> None:
        project_id, builder = build(hasty)
        service = Instance(hasty, project_id, builder, "builder")
        service.say(online=True)

        service.say(online=False)

        ended = hasty.await_event("lease.ended", project_id)
        assert ended.data["instance"] == f"{builder}.0"
        wait_until(lambda: f"{builder}.0" in hasty.orchestrator.restarted)

    def test_if_that_does_not_help_it_is_done_again(self, hasty: Office) -> None:
        project_id, builder = build(hasty)

        Instance(hasty, project_id, builder, "builder").say(online=False)

        wait_until(lambda: hasty.orchestrator.restarted.count(f"{builder}.0") > 1)

    def test_who_comes_back_in_time_is_left_alone(self, hasty: Office) -> None:
        project_id, builder = build(hasty)
        observer = Instance(hasty, project_id, hasty.await_deployed("observ"), "observer")
        back = Instance(hasty, project_id, builder, "builder")
        back.say(online=False)
        back.say(online=True)

        observer.say(online=False)

        wait_until(lambda: f"{observer.service}.0" in hasty.orchestrator.restarted)
        assert f"{builder}.0" not in hasty.orchestrator.restarted

    def test_who_has_ended_need_not_be_online(self, hasty: Office) -> None:
        project_id, builder = build(hasty)
        observer = Instance(hasty, project_id, hasty.await_deployed("observ"), "observer")
        hasty.orchestrator.state_of(builder, InstanceState.COMPLETED)

        Instance(hasty, project_id, builder, "builder").say(online=False)
        observer.say(online=False)

        wait_until(lambda: f"{observer.service}.0" in hasty.orchestrator.restarted)
        assert f"{builder}.0" not in hasty.orchestrator.restarted

    def test_a_manager_that_was_away_counts_anew(self, hasty: Office) -> None:
        project_id, builder = build(hasty)
        hasty.stop()
        Instance(hasty, project_id, builder, "builder").say(online=False)

        hasty.start()

        wait_until(lambda: f"{builder}.0" in hasty.orchestrator.restarted)

    def test_a_users_tracking_server_that_hangs_is_started_again(self, hasty: Office) -> None:
        hasty.orchestrator.deploy(ServiceSpec("tracking1", App("Ada", "observatory"), Role.TRACKING))

        Instance(hasty, "", "tracking1", "tracking").say(online=False)

        wait_until(lambda: "tracking1.0" in hasty.orchestrator.restarted)
