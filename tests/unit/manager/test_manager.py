"""What the manager does with what it hears."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from tests.brokers import wait_until

from flops.delivery.presence import presence_payload
from flops.delivery.service import ServiceIdentity
from flops.errors import InvalidSlaError, NotFoundError, RequestRefusedError
from flops.ports import Deadline
from flops.project.deployment import InstanceState
from flops.wire import events as e
from flops.wire import requests as r
from flops.wire.confirmation import decode_watermarks
from flops.wire.envelope import Envelope, decode_envelope
from flops.wire.limits import EVENT

if TYPE_CHECKING:
    from tests.unit.manager.conftest import Office

    from flops.ports import Subscription

BUILDER = "/builder/b.0"


def sla(**changes: Any) -> dict[str, Any]:  # noqa: ANN401  any JSON
    return {
        "customerID": "Ada",
        "ml_repo_url": "https://github.com/ada/digits",
        "ml_model_flavor": "sklearn",
        "training_configuration": {"data_tags": ["digits"], "min_available_clients": 2},
        **changes,
    }


def envelope(kind: str, data: dict[str, Any]) -> Envelope:
    return Envelope(id=str(uuid.uuid4()), source="/x", type=kind, time=datetime.now(UTC), data=data)


def to_building(office: Office) -> str:
    office.say_data(digits=100)
    project_id = office.request(sla())
    office.await_phase(project_id, "building")
    return project_id


class TestRequests:
    def test_a_project_is_accepted_with_an_id_and_its_inbox(self, office: Office) -> None:
        project_id = office.request(sla())

        assert len(project_id) == 24
        assert office.await_event("project.accepted").subject == project_id
        office.await_deployed("observ")

    def test_the_same_request_twice_is_one_project(self, office: Office) -> None:
        first = office.request(sla(), request_id="same")

        assert office.request(sla(), request_id="same") == first
        assert len(office.store.projects()) == 1

    def test_a_bare_sla_is_a_request_too(self, office: Office) -> None:
        office.bus.publish(office.topics.project_start(), json.dumps(sla()).encode())

        assert office.await_event("project.accepted").data["user"] == "Ada"

    def test_a_broken_sla_is_refused_with_every_fault(self, office: Office) -> None:
        broken = sla(ml_model_flavour="sklearn", training_configuration={"training_rounds": 0})

        with pytest.raises(InvalidSlaError) as refused:
            office.request(broken)

        paths = {fault.path for fault in refused.value.errors}
        assert {"ml_model_flavour", "training_configuration.training_rounds"} <= paths
        assert office.store.projects() == []
        assert office.await_event("project.rejected").data["errors"]

    def test_a_bare_document_that_is_no_json_is_refused_with_line_and_column(self, office: Office) -> None:
        office.bus.publish(office.topics.project_start(), b'{"customerID": "Ada", // me\n}')

        rejected = office.await_event("project.rejected")

        assert rejected.data["errors"][0]["line"] == 1

    def test_what_is_not_built_yet_is_refused_with_that_reason(self, office: Office) -> None:
        hierarchical = sla(training_configuration={"data_tags": ["digits"], "mode": "hierarchical"})

        with pytest.raises(InvalidSlaError) as refused:
            office.request(hierarchical)

        assert "not built yet" in str(refused.value.errors)

    def test_nonsense_is_put_aside_and_the_next_message_is_handled(self, office: Office) -> None:
        for payload in (b"\xff\xfe", b"{", b"[" * 10_000, b"null", b'"text"', b""):
            for topic in (office.topics.project_start(), office.topics.project_events("0" * 24), "request/projects"):
                office.bus.publish(topic, payload)

        assert office.client.ask("projects", r.ListProjects(), 10) == {"projects": [], "next": ""}

    @pytest.mark.parametrize(
        ("name", "payload"),
        [
            ("projects", b""),
            ("projects", b"\xff{"),
            ("projects", b"[]"),
            ("projects", b"{}"),
            ("bogus", envelope("request.bogus", {}).encode()),
        ],
    )
    def test_a_request_that_cannot_be_understood_is_refused(self, office: Office, name: str, payload: bytes) -> None:
        replies = office.bus.subscribe(office.topics.reply("somebody"))

        topic, reply_topic = office.topics.request(name), office.topics.reply("somebody")
        office.bus.publish(topic, payload, response_topic=reply_topic, correlation_data=b"7")

        refusal = _answer(replies)
        assert (refusal.type, refusal.data["code"], refusal.correlation_id) == ("refusal", "wire.undecodable", "7")

    @pytest.mark.parametrize("source", ['"/x"', "null", "7"])
    def test_what_a_broken_envelope_says_of_who_asks_is_enough_to_refuse_it(self, office: Office, source: str) -> None:
        replies = office.bus.subscribe(office.topics.reply("somebody"))
        said = f'{{"source":{source},"id":{source},"replyto":"{office.topics.reply("somebody")}","correlationid":"7"}}'

        office.bus.publish(office.topics.request("projects"), said.encode())

        refusal = _answer(replies)
        assert (refusal.type, refusal.data["code"], refusal.correlation_id) == ("refusal", "wire.undecodable", "7")

    @pytest.mark.parametrize(
        ("kind", "data"),
        [
            ("phase.entered", '{"phase": "bogus"}'),
            ("project.accepted", '{"user": "x", "sla": {"training_configuration": []}}'),
            ("project.accepted", '{"user": "x", "sla": {"training_configuration": {"training_rounds": "many"}}}'),
            ("unknown.event", '{"half": "\\ud800"}'),
            ("unknown.event", '{"number": 1e999}'),
        ],
    )
    def test_no_event_that_anybody_may_publish_spoils_a_project(self, office: Office, kind: str, data: str) -> None:
        project_id = to_building(office)
        poison = f'{{"specversion":"1.0","id":"p","source":"/x","type":"{kind}","time":"2026-01-01T00:00:00Z"'
        office.bus.publish(office.topics.project_events(project_id), f'{poison},"data":{data}}}'.encode())

        office.tell(project_id, BUILDER, 1, e.BuildFinished(purpose="actors", images=[], duration_s=1))

        office.await_phase(project_id, "deploying")
        assert office.client.ask("projects", r.ListProjects(), 10)["projects"][0]["rounds"] == 3
        assert office.client.ask("events", r.ReadEvents(project_id=project_id), 10)["events"]

    def test_an_event_whose_data_do_not_fit_holds_up_no_later_one(self, office: Office) -> None:
        project_id = to_building(office)
        office.tell(
            project_id, BUILDER, 1, e.BuildFailed.model_construct(purpose="actors", step="x", reason="x" * 20_000)
        )
        office.tell(project_id, BUILDER, 2, e.BuildFinished(purpose="actors", images=[], duration_s=1))

        office.await_phase(project_id, "deploying")

    def test_asking_again_for_what_takes_long_keeps_nobody_else_waiting(self, office: Office) -> None:
        project_id = office.request(sla())
        question = envelope("request.tracking", {"user": "Ada"})
        for _ in range(20):
            office.bus.publish(office.topics.request("tracking"), question.encode())

        (listed,) = office.client.ask("projects", r.ListProjects(), 5)["projects"]
        assert listed["project_id"] == project_id

        instance = f"{office.await_deployed('tracking')}.0"
        identity = ServiceIdentity(instance, instance, "tracking", "observatory", "Ada", "", "")
        office.bus.publish(office.topics.presence(instance), presence_payload(identity, online=True, url="http://x"))

    def test_events_that_are_too_large_for_one_answer_come_in_several(self, office: Office) -> None:
        project_id = to_building(office)
        size_bytes = EVENT.size_bytes - 1000
        count = office.bus.max_payload_bytes // size_bytes + 2
        for _ in range(count):
            large = envelope("large.event", {"text": "x" * size_bytes})
            office.bus.publish(office.topics.project_events(project_id), large.encode())
        wait_until(lambda: _types(office, project_id).count("large.event") == count)

        after, more, seen = 0, True, 0
        while more:
            answer = office.client.ask("events", r.ReadEvents(project_id=project_id, after=after), 10)
            after, more = answer["events"][-1]["position"], answer["more"]
            seen += sum(item["envelope"]["type"] == "large.event" for item in answer["events"])

        assert seen == count

    def test_unknown_projects_are_not_found(self, office: Office) -> None:
        for name, question in (
            ("project", r.ShowProject(project_id="0" * 24)),
            ("inbox", r.ReadInbox(project_id="0" * 24)),
            ("cancel", r.CancelProject(project_id="0" * 24)),
            ("delete", r.DeleteProject(project_id="0" * 24)),
        ):
            with pytest.raises(NotFoundError):
                office.client.ask(name, question, 10)

    def test_a_project_that_runs_is_not_deleted(self, office: Office) -> None:
        project_id = to_building(office)

        with pytest.raises(RequestRefusedError, match="cannot be deleted"):
            office.client.ask("delete", r.DeleteProject(project_id=project_id), 10)

    def test_a_deleted_project_leaves_nothing(self, office: Office) -> None:
        project_id = to_building(office)
        office.client.ask("cancel", r.CancelProject(project_id=project_id, by="Ada"), 10)
        office.await_phase(project_id, "cancelled")

        office.client.ask("delete", r.DeleteProject(project_id=project_id), 10)

        assert office.store.load(project_id) is None
        assert not [name for name in office.orchestrator.deployed if project_id[:12] in name]


class TestFlow:
    def test_without_data_the_project_fails_with_the_tags_that_exist(self, office: Office) -> None:
        office.say_data(other=5)
        project_id = office.request(sla())

        failed = office.await_event("project.failed", project_id)

        assert "digits" in failed.data["reason"]
        assert "other" in failed.data["remedy"]

    def test_what_the_manager_did_not_expect_ends_the_project_with_its_reason(self, office: Office) -> None:
        office.say_data(digits=100)
        office.registry.exists = lambda _: 1 / 0  # type: ignore[method-assign,assignment,return-value]
        project_id = office.request(sla())

        failed = office.await_event("project.failed", project_id)

        assert "ZeroDivisionError" in failed.data["reason"]

    def test_a_repository_that_does_not_exist_ends_the_project(self, office: Office) -> None:
        project_id = office.request(sla(ml_repo_url="https://github.com/ada/missing"))

        assert "does not exist" in office.await_event("project.failed", project_id).data["reason"]

    def test_events_of_services_move_the_project_and_are_confirmed(self, office: Office) -> None:
        project_id = to_building(office)

        office.tell(project_id, BUILDER, 1, e.BuildStarted(images=[], steps=[]))
        office.tell(project_id, BUILDER, 2, e.BuildFinished(purpose="actors", images=[], duration_s=1))

        office.await_phase(project_id, "deploying")
        wait_until(lambda: _confirmed(office).get(BUILDER) == 2)

    def test_an_event_before_its_predecessor_waits_for_it(self, office: Office) -> None:
        project_id = to_building(office)
        finished = e.BuildFinished(purpose="actors", images=[], duration_s=1)

        office.tell(project_id, BUILDER, 2, finished, event_id="second")
        assert not _confirmed(office).get(BUILDER)
        office.tell(project_id, BUILDER, 1, e.BuildStarted(images=[], steps=[]))
        office.tell(project_id, BUILDER, 2, finished, event_id="second")

        office.await_phase(project_id, "deploying")

    def test_an_event_delivered_three_times_happens_once(self, office: Office) -> None:
        project_id = to_building(office)
        finished = e.BuildFinished(purpose="actors", images=[], duration_s=1)

        for _ in range(3):
            office.tell(project_id, BUILDER, 1, finished, event_id="once")
        office.await_phase(project_id, "deploying")
        office.await_deployed("flearner")

        assert len(office.orchestrator.deployments) == len(set(office.orchestrator.deployments))
        assert [item.id for _, item in office.store.events(project_id, after=0, limit=500)].count("once") == 1

    def test_a_service_that_crashes_for_good_ends_the_project(self, office: Office) -> None:
        project_id = to_building(office)
        builder = office.await_deployed("builder")

        office.orchestrator.change(builder, InstanceState.FAILED, reason="killed by SIGKILL")

        assert "SIGKILL" in office.await_event("project.failed", project_id).data["reason"]
        wait_until(lambda: builder not in office.orchestrator.deployed)

    def test_a_deadline_that_passes_ends_the_project(self, office: Office) -> None:
        office.stop()
        office.deadlines = type(office.deadlines)(building_s=0.2)
        office.start()
        project_id = to_building(office)

        assert "building took longer" in office.await_event("project.failed", project_id).data["reason"]

    def test_a_deadline_of_a_phase_that_was_left_in_time_is_not_told(self, office: Office) -> None:
        project_id = to_building(office)

        office.store.set_deadline(Deadline(project_id, "checking", 0.0, 1.0))

        wait_until(lambda: not office.store.take_due("manager", 1.0))
        assert "deadline.passed" not in _types(office, project_id)

    def test_a_tracking_server_that_is_not_started_any_more_can_be_deployed_again(self, office: Office) -> None:
        project_id = to_building(office)
        office.tell(project_id, BUILDER, 1, e.BuildFinished(purpose="actors", images=[], duration_s=1))
        tracking = office.await_deployed("tracking")

        office.orchestrator.change(tracking, InstanceState.FAILED, reason="exit code 1")

        wait_until(lambda: tracking not in office.orchestrator.deployed)

    def test_the_inbox_is_kept_and_read_in_order(self, office: Office) -> None:
        project_id = to_building(office)
        source = f"/observer/{office.await_deployed('observ')}.0/inbox"
        for number in (1, 2, 3):
            entry = {"project_id": project_id, "sequence": number, "text": f"entry {number}"}
            office.bus.publish(
                office.topics.project_inbox(project_id),
                json.dumps(
                    {
                        "specversion": "1.0",
                        "id": f"i{number}",
                        "source": source,
                        "type": "inbox.entry",
                        "time": "2026-01-01T00:00:00Z",
                        "sequence": number,
                        "data": entry,
                    }
                ).encode(),
            )
        wait_until(lambda: _confirmed(office).get(source) == 3)

        answer = office.client.ask("inbox", r.ReadInbox(project_id=project_id, after=1), 10)

        assert [entry["sequence"] for entry in answer["entries"]] == [2, 3]
        listed = office.client.ask("projects", r.ListProjects(), 10)["projects"]
        assert listed[0]["last_entry"] == "entry 3"


class TestRestart:
    def test_what_was_pending_is_performed_after_a_restart(self, office: Office) -> None:
        office.say_data(digits=100)
        office.orchestrator.outages = 10_000
        project_id = office.request(sla())
        office.stop()
        assert office.orchestrator.deployments == []

        office.orchestrator.outages = 0
        office.start()

        office.await_phase(project_id, "building")
        office.await_deployed("observ")
        assert len(office.orchestrator.deployments) == len(set(office.orchestrator.deployments))

    def test_an_outage_of_the_orchestrator_is_waited_for(self, office: Office) -> None:
        office.say_data(digits=100)
        office.orchestrator.outages = 2
        project_id = office.request(sla())

        office.await_phase(project_id, "building")

    def test_events_told_while_it_was_away_are_handled_afterwards(self, office: Office) -> None:
        project_id = to_building(office)
        office.stop()
        office.tell(project_id, BUILDER, 1, e.BuildFinished(purpose="actors", images=[], duration_s=1))
        office.start()

        office.await_phase(project_id, "deploying")


def _types(office: Office, project_id: str) -> list[str]:
    """The types of the events that the manager has of a project."""
    return [told.type for _, told in office.store.events(project_id, after=0, limit=500)]


def _answer(replies: Subscription) -> Envelope:
    delivery = replies.receive(10)
    assert delivery is not None
    return decode_envelope(delivery.topic, delivery.payload)


def _confirmed(office: Office) -> dict[str, int]:
    """The last watermarks that were published."""
    while (delivery := office.confirmations.receive(0.01)) is not None:
        office.watermarks = decode_watermarks(delivery.topic, delivery.payload)
    return office.watermarks


def test_presence_messages_that_are_no_presence_are_put_aside(office: Office) -> None:
    office.bus.publish(office.topics.presence("x"), b'{"specversion":"1.0"}')

    assert office.client.ask("data", r.ListData(), 10) == {"nodes": {}}
