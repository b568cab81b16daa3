"""Tracking servers: one for each user who has projects, and none for whoever is asked about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flops.delivery.presence import presence_payload
from flops.delivery.service import ServiceIdentity
from flops.errors import NotFoundError
from flops.project.services import tracking_server
from flops.wire.requests import ShowTracking

if TYPE_CHECKING:
    from tests.unit.manager.conftest import Office

SLA = {
    "customerID": "Ada",
    "ml_repo_url": "https://github.com/ada/digits",
    "ml_model_flavor": "sklearn",
    "training_configuration": {"data_tags": ["digits"]},
}
URL = "http://127.0.0.1:5000"


def say_that_it_runs(office: Office, user: str) -> None:
    spec = tracking_server(user)
    instance = f"{spec.name}.0"
    identity = ServiceIdentity(spec.name, instance, "tracking", spec.app.name, user, "n1", "")
    payload = presence_payload(identity, online=True, url=URL)
    office.bus.publish(office.topics.presence(instance), payload, retain=True)


def test_asking_for_a_user_without_projects_starts_nothing(office: Office) -> None:
    with pytest.raises(NotFoundError, match="nobody"):
        office.client.ask("tracking", ShowTracking(user="nobody"), 10)

    assert tracking_server("nobody").name not in office.orchestrator.deployed


def test_a_user_with_a_project_has_one(office: Office) -> None:
    office.request(SLA)
    say_that_it_runs(office, "Ada")

    assert office.client.ask("tracking", ShowTracking(user="Ada"), 10) == {"url": URL}


def test_one_that_runs_is_told_also_when_all_projects_are_deleted(office: Office) -> None:
    spec = tracking_server("Ada")
    office.orchestrator.create_app(spec.app)
    office.orchestrator.deploy(spec)
    say_that_it_runs(office, "Ada")

    assert office.client.ask("tracking", ShowTracking(user="Ada"), 10) == {"url": URL}
