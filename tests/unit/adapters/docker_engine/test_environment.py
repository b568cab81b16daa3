from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from flops.adapters.docker_engine.environment import broker_url_inside, credentials_of, environment_of, image_of
from flops.errors import DeploymentRefusedError
from flops.project.deployment import App, Role, ServiceSpec
from flops.settings import Settings

SETTINGS = Settings(
    home=Path("/srv/flops"),
    broker_url="mqtt://127.0.0.1:1884",
    broker_password_file="/srv/password",  # noqa: S106  the name of a file
)


@pytest.mark.parametrize(
    ("url", "inside"),
    [
        ("mqtt://127.0.0.1:1884", "mqtt://host.docker.internal:1884"),
        ("mqtt://localhost", "mqtt://host.docker.internal"),
        ("mqtts://[::1]:8883", "mqtts://host.docker.internal:8883"),
        ("mqtts://broker.example.org:8883", "mqtts://broker.example.org:8883"),
    ],
)
def test_this_machines_loopback_is_not_that_of_a_container(url: str, inside: str) -> None:
    assert broker_url_inside(url) == inside


def test_settings_are_passed_but_no_path_secret_or_foreign_variable() -> None:
    environment = {
        "FLOPS_CHUNK_BYTES": "9",
        "FLOPS_HOME": "/srv/flops",
        "FLOPS_STORE_URL": "mongodb://ada:secret@db",
        "FLOPS_BROKER_PASSWORD_FILE": "/srv/password",
        "FLOPS_BROKER_USERNAME": "ada",
        "PATH": "/bin",
    }
    assert environment_of(environment, SETTINGS) == {
        "FLOPS_CHUNK_BYTES": "9",
        "FLOPS_BROKER_USERNAME": "ada",
        "FLOPS_BROKER_URL": "mqtt://host.docker.internal:1884",
    }


def test_what_is_named_as_a_file_is_copied() -> None:
    assert credentials_of(SETTINGS) == {"FLOPS_BROKER_PASSWORD_FILE": "/srv/password"}


def test_a_role_runs_from_the_image_of_this_version_unless_it_has_its_own() -> None:
    spec = ServiceSpec("observ1", App("Ada", "observatory"), Role.OBSERVER)
    assert image_of(spec, SETTINGS) == f"flops/observer:{version('flops-fl')}"
    own = ServiceSpec("aggr1", App("Ada", "proj1"), Role.AGGREGATOR, image="ada/digits/aggregator:1")
    assert image_of(own, SETTINGS) == "ada/digits/aggregator:1"


def test_a_role_that_would_be_of_no_use_is_refused() -> None:
    spec = ServiceSpec("builder1", App("Ada", "proj1"), Role.BUILDER)
    with pytest.raises(DeploymentRefusedError, match="the role builder cannot run in containers yet"):
        image_of(spec, SETTINGS)
