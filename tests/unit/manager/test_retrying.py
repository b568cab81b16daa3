"""Trying again, cancelling and deleting, as a user meets them at the manager."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from tests.brokers import wait_until
from tests.doubles.outside import COMMIT

from flops.errors import (
    NotFoundError,
    OrchestratorUnavailableError,
    RegistryUnavailableError,
    RepositoryUnreachableError,
    RequestRefusedError,
)
from flops.wire import events as e
from flops.wire import requests as r
from flops.wire.envelope import Envelope, decode_envelope

if TYPE_CHECKING:
    from tests.unit.manager.conftest import Office

URL = "https://github.com/ada/digits"
BOTH = ["build_image_for_trained_model", "deploy_trained_model_image"]
ACTORS = {f"ada/digits/{actor}:{COMMIT}" for actor in ("aggregator", "learner")}


def sla(**changes: Any) -> dict[str, Any]:  # noqa: ANN401  any JSON
    training = {"data_tags": ["digits"], "min_available_clients": 2}
    return {
        "customerID": "Ada",
        "ml_repo_url": URL,
        "ml_model_flavor": "sklearn",
        "training_configuration": training,
        **changes,
    }


def failed_in_training(office: Office, **changes: Any) -> str:  # noqa: ANN401  any JSON
    """A project with images whose training has failed."""
    office.registry.present |= ACTORS
    office.say_data(digits=100)
    project_id = office.request(sla(**changes))
    aggregator = office.await_deployed(f"aggr{project_id[:12]}")
    office.tell(project_id, f"/aggregator/{aggregator}.0", 1, e.TrainingFailed(reason="fit raised"))
    office.await_phase(project_id, "failed")
    return project_id


def retry(office: Office, project_id: str, stage: str = "", request_id: str = "") -> str:
    question = {"project_id": project_id, "from_stage": stage, "by": "Ada"}
    topic = office.topics.request("retry")
    answer = office.client.ask_on(topic, question, 10, kind="request.retry", request_id=request_id)
    return str(answer["stage"])


def retried(office: Office, project_id: str) -> list[Envelope]:
    """What the manager has told of attempts that failed."""
    events = [told for _, told in office.store.events(project_id, after=0, limit=500)]
    return [told for told in events if told.type == "command.retried"]


class TestRetry:
    def test_a_failed_project_goes_on_from_the_stage_that_failed_with_services_of_other_names(
        self, office: Office
    ) -> None:
        project_id = failed_in_training(office)

        assert retry(office, project_id) == "training"

        office.await_phase(project_id, "deploying")
        again = office.await_deployed(f"aggr{project_id[:12]}r1")
        assert office.orchestrator.deployed[again].config["former"] == [f"aggr{project_id[:12]}.0"]
        status = office.client.ask("project", r.ShowProject(project_id=project_id), 10)["status"]
        assert (status["phase"], status["reason"]) == ("deploying", "")

    def test_asked_twice_with_one_id_it_goes_on_once(self, office: Office) -> None:
        project_id = failed_in_training(office)
        retry(office, project_id, request_id="same")
        office.await_deployed(f"flearner{project_id[:12]}r1")

        retry(office, project_id, request_id="same")

        record = office.store.load(project_id)
        assert record is not None
        assert record.project.attempt == 1

    def test_what_a_service_of_an_earlier_attempt_says_moves_the_new_one_no_more(self, office: Office) -> None:
        project_id = failed_in_training(office)
        retry(office, project_id)
        office.await_phase(project_id, "deploying")

        late = office.tell(
            project_id, f"/aggregator/aggr{project_id[:12]}.0", 2, e.TrainingFailed(reason="said too late")
        )

        wait_until(lambda: office.store.has_event(project_id, late))
        record = office.store.load(project_id)
        assert record is not None
        assert record.project.phase == "deploying"

    def test_a_project_that_is_under_way_or_completed_is_refused(self, office: Office) -> None:
        project_id = failed_in_training(office)
        retry(office, project_id)
        with pytest.raises(RequestRefusedError, match="cannot be retried: it is deploying"):
            retry(office, project_id)

        aggregator = office.await_deployed(f"aggr{project_id[:12]}r1")
        finished = e.TrainingFinished(rounds=3, best_round=1, best_accuracy=1, duration_s=1, model_uri="runs:/1/model")
        office.tell(project_id, f"/aggregator/{aggregator}.0", 1, finished)
        office.await_phase(project_id, "completed")
        with pytest.raises(RequestRefusedError, match="it is completed"):
            retry(office, project_id, "checking")

    @pytest.mark.parametrize(
        ("stage", "steps", "missing", "instead"),
        [
            ("training", [], "the actors' images", "building"),
            ("packaging", BOTH, "the actors' images", "building"),
            ("packaging", [], "the actors' images", "building"),
            ("serving", BOTH, "the actors' images", "building"),
        ],
    )
    def test_a_stage_whose_needs_are_missing_is_refused_with_one_that_is_possible(
        self, office: Office, stage: str, steps: list[str], missing: str, instead: str
    ) -> None:
        project_id = failed_in_training(office, post_training_steps=steps)
        office.registry.present.clear()

        with pytest.raises(RequestRefusedError, match=missing) as refused:
            retry(office, project_id, stage)

        assert f"--from-stage {instead}" in refused.value.remedy

    def test_without_a_model_nothing_can_be_packaged(self, office: Office) -> None:
        project_id = failed_in_training(office, post_training_steps=BOTH)

        with pytest.raises(RequestRefusedError, match="a trained model, which there is not yet") as refused:
            retry(office, project_id, "packaging")

        assert "--from-stage training" in refused.value.remedy

    def test_a_deleted_retry_leaves_nothing(self, office: Office) -> None:
        project_id = failed_in_training(office)
        retry(office, project_id)
        office.await_deployed(f"flearner{project_id[:12]}r1")
        office.client.ask("cancel", r.CancelProject(project_id=project_id), 10)
        office.await_phase(project_id, "cancelled")

        office.client.ask("delete", r.DeleteProject(project_id=project_id), 10)

        assert not [name for name in office.orchestrator.deployed if project_id[:12] in name]


class TestAttempts:
    def test_forty_repositories_that_hang_keep_no_other_project_waiting(self, office: Office) -> None:
        office.say_data(digits=100)
        try:
            for number in range(40):
                office.request(sla(ml_repo_url=f"https://github.com/ada/hanging-{number}"))
            wait_until(lambda: office.repositories.hanging == 40)

            project_id = office.request(sla())

            office.await_phase(project_id, "building")
            assert office.repositories.hanging == 40
        finally:
            office.repositories.may_answer.set()

    def test_an_orchestrator_that_is_away_is_asked_again_and_every_attempt_told(self, office: Office) -> None:
        office.say_data(digits=100)
        office.orchestrator.outages = 2

        project_id = office.request(sla())

        office.await_phase(project_id, "building")
        wait_until(lambda: len(retried(office, project_id)) == 2)
        assert [told.data["attempt"] for told in retried(office, project_id)] == [1, 2]
        assert retried(office, project_id)[0].data["command"] == "CreateApp"
        assert "it is away" in retried(office, project_id)[0].data["reason"]

    def test_a_repository_that_cannot_be_reached_now_is_asked_again(self, office: Office) -> None:
        office.say_data(digits=100)
        office.repositories.failures = [RepositoryUnreachableError(URL, "it did not answer within 60 s")]

        project_id = office.request(sla())

        office.await_phase(project_id, "building")
        assert [told.data["where"] for told in retried(office, project_id)] == [URL]

    def test_a_registry_that_is_down_is_asked_again(self, office: Office) -> None:
        office.say_data(digits=100)
        failures: list[Exception] = [RegistryUnavailableError("r", "it is down")]
        look = office.registry.exists

        def exists(image: str) -> bool:
            if failures:
                raise failures.pop()
            return look(image)

        office.registry.exists = exists  # type: ignore[method-assign]
        project_id = office.request(sla())

        office.await_phase(project_id, "building")
        assert [told.data["command"] for told in retried(office, project_id)] == ["FindImages"]

    def test_what_does_not_pass_fails_at_once(self, office: Office) -> None:
        project_id = office.request(sla(ml_repo_url="https://github.com/ada/missing"))

        office.await_phase(project_id, "failed")
        assert retried(office, project_id) == []

    def test_what_cannot_be_removed_lets_the_project_end_and_is_removed_later(self, office: Office) -> None:
        office.stop()
        office.deadlines = type(office.deadlines)(stopping_s=0.2)
        office.start()
        office.say_data(digits=100)
        project_id = office.request(sla())
        builder = office.await_deployed("builder")
        undeploy = office.orchestrator.undeploy

        def fail(service_name: str) -> None:
            if service_name == builder:
                raise OrchestratorUnavailableError("fake", "its processes survive SIGKILL")
            undeploy(service_name)

        office.orchestrator.undeploy = fail  # type: ignore[method-assign]
        office.client.ask("cancel", r.CancelProject(project_id=project_id), 10)

        left = office.await_event("services.left", project_id)
        office.await_phase(project_id, "cancelled")
        assert left.data["services"] == [builder]
        office.orchestrator.undeploy = undeploy  # type: ignore[method-assign]
        wait_until(lambda: builder not in office.orchestrator.deployed)
        last_words = [told for _, told in office.store.events(project_id, after=0, limit=500)]
        assert [told.type for told in last_words].count("project.cancelled") == 1


class TestCancellation:
    def test_of_an_unknown_project_is_refused_and_put_aside(self, office: Office) -> None:
        replies = office.bus.subscribe(office.topics.reply("somebody"))
        for reply_to in (office.topics.reply("somebody"), ""):
            asked = Envelope(
                id=str(uuid.uuid4()), source="/x", type="request.cancel", time=datetime.now(UTC), reply_to=reply_to
            )
            office.bus.publish(office.topics.project_cancel("0" * 24), asked.encode())
        office.bus.publish(office.topics.project_cancel("0" * 24), b"")

        delivery = replies.receive(10)
        assert delivery is not None
        assert decode_envelope(delivery.topic, delivery.payload).data["code"] == NotFoundError.code
        wait_until(lambda: len(office.store.dead_letters(0, 10)) == 3)

    def test_on_the_projects_topic_is_answered_where_an_answer_is_asked_for(self, office: Office) -> None:
        project_id = office.request(sla())
        answer = office.client.ask_on(office.topics.project_cancel(project_id), {}, 10, kind="request.cancel")

        assert answer["outcome"] == "cancelled"
        office.await_phase(project_id, "cancelled")

    def test_of_an_ended_project_changes_and_tells_nothing(self, office: Office) -> None:
        project_id = failed_in_training(office)
        before = len(office.store.events(project_id, after=0, limit=500))

        answer = office.client.ask("cancel", r.CancelProject(project_id=project_id), 10)

        assert answer == {"phase": "failed", "outcome": "failed"}
        assert len(office.store.events(project_id, after=0, limit=500)) == before

    def test_racing_with_completion_ends_in_one_terminal_state(self, office: Office) -> None:
        office.registry.present |= ACTORS
        office.say_data(digits=100)
        for index in range(20):
            project_id = office.request(sla())
            aggregator = office.await_deployed(f"aggr{project_id[:12]}")
            finished = e.TrainingFinished(rounds=1, best_round=1, best_accuracy=1, duration_s=1, model_uri="runs:/1/m")
            cancel = r.CancelProject(project_id=project_id)
            if index % 2:
                office.tell(project_id, f"/aggregator/{aggregator}.0", 1, finished)
                office.client.ask("cancel", cancel, 10)
            else:
                office.client.ask("cancel", cancel, 10)
                office.tell(project_id, f"/aggregator/{aggregator}.0", 1, finished)
            _await_end(office, project_id)
            types = [told.type for _, told in office.store.events(project_id, after=0, limit=500)]
            ends = [kind for kind in types if kind in {"project.completed", "project.cancelled", "project.failed"}]
            assert ends == [f"project.{_phase(office, project_id)}"]

    def test_while_it_stops_a_project_cannot_be_deleted_and_the_advice_fits(self, office: Office) -> None:
        office.say_data(digits=100)
        project_id = office.request(sla())
        office.await_deployed("builder")

        with pytest.raises(RequestRefusedError, match="is building") as refused:
            office.client.ask("delete", r.DeleteProject(project_id=project_id), 10)
        assert refused.value.remedy == f"To stop and delete it: flops project delete {project_id} --cancel"

        office.orchestrator.undeploy = _never  # type: ignore[method-assign]
        office.client.ask("cancel", r.CancelProject(project_id=project_id), 10)
        with pytest.raises(RequestRefusedError, match="is stopping") as refused:
            office.client.ask("delete", r.DeleteProject(project_id=project_id), 10)
        assert "seconds away" in refused.value.remedy


class TestTokens:
    def test_the_same_token_for_another_sla_is_refused(self, office: Office) -> None:
        first = office.request(sla(), request_id="token")

        with pytest.raises(RequestRefusedError, match=first):
            office.request(sla(verbose=True), request_id="token")

        assert len(office.store.projects()) == 1


def _await_end(office: Office, project_id: str) -> None:
    wait_until(lambda: _phase(office, project_id) in {"completed", "cancelled"})


def _phase(office: Office, project_id: str) -> str:
    record = office.store.load(project_id)
    return str(record.project.phase) if record else ""


def _never(service_name: str) -> None:
    raise OrchestratorUnavailableError("fake", f"{service_name} cannot be removed")
