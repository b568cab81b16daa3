"""Two whole managers on one broker and one store."""

from __future__ import annotations

import itertools
import json
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.brokers import wait_until
from tests.unit.manager.conftest import Office

from flops.adapters.sqlite_store import SqliteStore
from flops.errors import StoreUnavailableError
from flops.manager.kept import Kept, SomebodyElsesError
from flops.manager.service import Tenure
from flops.manager.succession import INTAKE, Succession
from flops.project.commands import Deploy
from flops.project.deployment import Role
from flops.wire import events as e
from flops.wire import requests as r
from flops.wire.confirmation import decode_confirmation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flops.adapters.memory_bus import MemoryBroker
    from flops.delivery.routing import RoutedDelivery
    from flops.manager.kept import KeptMessage
    from flops.ports import Delivery
    from flops.project.deployment import ServiceSpec

LEASE_S = 1.0
SLA: dict[str, Any] = {
    "customerID": "Ada",
    "ml_repo_url": "https://github.com/ada/digits",
    "ml_model_flavor": "sklearn",
    "training_configuration": {"data_tags": ["digits"]},
}
BARE = json.dumps(SLA).encode()
BUILDER = "/builder/b.0"


@pytest.fixture
def hire(memory_broker: MemoryBroker, tmp_path: Path, office: Office) -> Iterator[Callable[..., Office]]:
    """Start another manager beside the one of the office."""
    hired: list[Office] = []

    def hire(name: str, *, lease_s: float = 10.0) -> Office:
        made = Office(memory_broker, tmp_path / "flops.db", office.orchestrator, tenure=Tenure(name, lease_s))
        made.start()
        hired.append(made)
        return made

    yield hire
    for made in hired:
        made.stop()


def bare_copies(office: Office) -> list[str]:
    """The ids of all projects."""
    return [record.project.id for record in office.store.projects()]


def acknowledge_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no acknowledgement reach the broker, as when a manager is killed after a commit."""
    monkeypatch.setattr("flops.delivery.routing.RoutedDelivery.acknowledge", lambda _: None)


class TestBareRequests:
    def test_one_that_comes_again_makes_no_second_project(
        self, office: Office, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patched:
            acknowledge_nothing(patched)
            office.bus.publish(office.topics.project_start(), BARE)
            wait_until(lambda: len(bare_copies(office)) == 1)
            office.stop()
        office.start()

        office.request(SLA)  # waits until what came before it is handled

        assert len(bare_copies(office)) == 2

    def test_two_equal_ones_are_two_projects_also_when_they_come_again(
        self, office: Office, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patched:
            acknowledge_nothing(patched)
            for _ in range(2):
                office.bus.publish(office.topics.project_start(), BARE)
            wait_until(lambda: len(bare_copies(office)) == 2)
            office.stop()
        office.start()

        office.request(SLA)

        assert len(bare_copies(office)) == 3

    def test_one_that_comes_again_although_nobody_has_handled_it_is_handled(self, office: Office) -> None:
        office.bus.publish(office.topics.project_start(), BARE)
        wait_until(lambda: len(bare_copies(office)) == 1)
        office.stop()
        session = office.broker.connect("manager", persistent=True)
        session.subscribe(office.topics.project_start())
        office.bus.publish(office.topics.project_start(), BARE)
        session.close()
        office.start()

        office.request(SLA)

        assert len(bare_copies(office)) == 3

    def test_one_that_the_former_manager_has_handled_is_not_handled_again(
        self, office: Office, hire: Callable[..., Office]
    ) -> None:
        second = hire("manager-2")
        office.bus.publish(office.topics.project_start(), BARE)
        wait_until(lambda: len(bare_copies(office)) == 1)
        office.stop()
        wait_until(lambda: second.store.holder(INTAKE) == "manager-2")

        second.request(SLA)

        assert len(bare_copies(second)) == 2
        office.start()

    def test_one_that_the_former_manager_has_not_handled_is_handled(
        self, office: Office, hire: Callable[..., Office], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        second = hire("manager-2", lease_s=LEASE_S)
        with monkeypatch.context() as patched:
            patched.setattr(Succession, "resign", lambda _: None)
            office.stop()
        office.bus.publish(office.topics.project_start(), BARE)

        wait_until(lambda: len(bare_copies(second)) == 1, 20)

        wait_until(lambda: second.store.holder(INTAKE) == "manager-2")
        office.start()


class TestRequests:
    def test_one_manager_answers(self, office: Office, hire: Callable[..., Office]) -> None:
        second = hire("manager-2")
        replies = office.bus.subscribe(office.topics.reply("client-of-manager"))

        assert office.client.ask("projects", r.ListProjects(), 10)["projects"] == []
        assert second.client.ask("projects", r.ListProjects(), 10)["projects"] == []

        assert replies.receive(1)
        assert replies.receive(0.2) is None

    def test_what_cannot_be_understood_is_put_aside_once(self, office: Office, hire: Callable[..., Office]) -> None:
        second = hire("manager-2")
        for bus in (office.bus, second.bus):
            bus.publish(office.topics.project_events("0" * 24), b"\xff")
        second.request(SLA)

        wait_until(lambda: len(office.store.dead_letters(0, 9)) == 2)


class TestEvents:
    def test_the_owner_alone_confirms(self, office: Office, hire: Callable[..., Office]) -> None:
        hire("manager-2")
        project_id = office.request(SLA)
        office.tell(project_id, BUILDER, 1, e.Warned(message="hm"))

        confirmation = office.confirmations.receive(10)

        assert confirmation
        assert decode_confirmation(confirmation.topic, confirmation.payload) == ({BUILDER: 1}, "manager")
        assert office.confirmations.receive(0.3) is None

    def test_a_cancellation_reaches_the_owner(self, office: Office, hire: Callable[..., Office]) -> None:
        second = hire("manager-2")
        office.say_data(digits=100)
        project_id = office.request(SLA)
        office.stop()
        wait_until(lambda: second.store.holder(INTAKE) == "manager-2")
        office.start()

        office.bus.publish(office.topics.project_cancel(project_id), b"")

        second.await_event("project.cancelled", project_id)
        events = [envelope for _, envelope in second.store.events(project_id, after=0, limit=99)]
        assert [envelope.type for envelope in events].count("cancellation.requested") == 1

    def test_adopted_projects_are_confirmed_by_their_new_owner(
        self, office: Office, hire: Callable[..., Office]
    ) -> None:
        second = hire("manager-2")
        office.say_data(digits=100)
        project_id = office.request(SLA)
        office.await_deployed("builder")
        office.tell(project_id, BUILDER, 1, e.Warned(message="hm"))
        wait_until(lambda: bool(office.confirmations.receive(0.1)))
        office.stop()

        told = second.confirmations.receive(10)
        while told and decode_confirmation(told.topic, told.payload)[1] != "manager-2":
            told = second.confirmations.receive(10)

        assert told
        assert decode_confirmation(told.topic, told.payload)[0] == {BUILDER: 1}
        office.start()


class TestKept:
    """Messages for others, with a clock of the test's own."""

    def test_they_are_given_up_once_their_manager_has_outlived_them(self, office: Office) -> None:
        living: set[str] = set()
        kept = Kept(lambda manager, _: manager in living, itertools.count().__next__, lambda: 0.0)
        deliveries = [receive(office) for _ in range(2)]
        for delivery in deliveries:
            kept.keep(delivery)

        kept.settle(somebody_elses("manager-2"))
        assert kept.is_due()
        living.add("manager-2")
        kept.settle(somebody_elses("manager-2"))

        assert not kept.is_due()

    def test_what_nobody_is_there_for_is_kept(self, office: Office) -> None:
        kept = Kept(lambda *_: True, itertools.count().__next__, lambda: 0.0)
        kept.keep(receive(office))

        kept.settle(somebody_elses(""))

        assert kept.is_due()

    def test_what_has_become_ones_own_is_handled_in_order(self, office: Office) -> None:
        kept = Kept(lambda *_: True, itertools.count().__next__, lambda: 7.0)
        deliveries = [receive(office) for _ in range(3)]
        for delivery in deliveries:
            kept.keep(delivery)
        handled: list[Delivery] = []

        kept.settle(lambda message: handled.append(message.delivery))

        assert handled == deliveries
        assert not kept.is_due()


def receive(office: Office) -> RoutedDelivery:
    heard = office.bus.subscribe("kept")
    office.bus.publish("kept", b"x")
    delivery = heard.receive(10)
    assert delivery
    return delivery


def somebody_elses(manager: str) -> Callable[[KeptMessage], None]:
    def handle(_: KeptMessage) -> None:
        raise SomebodyElsesError(manager)

    return handle


def test_a_manager_whose_lease_is_over_does_nothing_until_it_has_looked(
    memory_broker: MemoryBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = Office(memory_broker, tmp_path / "flops.db", tenure=Tenure(lease_s=LEASE_S))
    office.start()
    office.say_data(digits=100)
    first = office.request(SLA)
    builder = office.await_deployed("builder")
    wait_until(lambda: not office.store.pending("manager"))

    def fail(_: str) -> None:
        raise StoreUnavailableError("test", "it does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(office.store, "beat", fail)
        before = time.monotonic()
        wait_until(lambda: time.monotonic() > before + LEASE_S)
        office.bus.publish(office.topics.project_cancel(first), b"")
        wait_until(lambda: bool(office.store.pending("manager")))
        assert builder in office.orchestrator.deployed

    wait_until(lambda: builder not in office.orchestrator.deployed)
    office.await_event("project.cancelled", first)
    office.stop()


def test_a_command_that_was_being_done_when_another_took_over_is_left_to_that_one(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy, deployed = office.orchestrator.deploy, threading.Event()

    def deploy_late(spec: ServiceSpec) -> None:
        if spec.role is Role.BUILDER:
            office.store.adopt("manager", "manager-2")
        deploy(spec)
        if spec.role is Role.BUILDER:
            deployed.set()

    monkeypatch.setattr(office.orchestrator, "deploy", deploy_late)
    office.say_data(digits=100)
    office.request(SLA)
    assert deployed.wait(10)

    office.stop()

    successor = SqliteStore(office.path)
    commands = [item.command for item in successor.pending("manager-2")]
    assert any(isinstance(command, Deploy) and command.spec.role is Role.BUILDER for command in commands)
    successor.close()
    office.start()
