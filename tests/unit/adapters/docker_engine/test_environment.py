from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from flops.adapters.docker_engine.environment import (
    builders_credentials_of,
    credentials_of,
    environment_of,
    environment_of_role,
    image_of,
)
from flops.adapters.docker_engine.provisions import Provisions
from flops.project.deployment import App, Role, ServiceSpec
from flops.settings import Settings

SETTINGS = Settings(
    home=Path("/srv/flops"),
    broker_url="mqtt://127.0.0.1:1884",
    broker_password_file="/srv/password",  # noqa: S106  the name of a file
)


def test_settings_are_passed_but_no_path_secret_or_foreign_variable() -> None:
    environment = {
        "FLOPS_CHUNK_BYTES": "9",
        "FLOPS_HOME": "/srv/flops",
        "FLOPS_STORE_URL": "mongodb://ada:secret@db",
        "FLOPS_BROKER_PASSWORD_FILE": "/srv/password",
        "FLOPS_BROKER_USERNAME": "ada",
        "PATH": "/bin",
    }
    assert environment_of(environment) == {
        "FLOPS_CHUNK_BYTES": "9",
        "FLOPS_BROKER_USERNAME": "ada",
        "FLOPS_LOOPBACK_HOST": "host.docker.internal",
    }


def test_only_builders_are_told_where_to_build() -> None:
    assert environment_of_role(Role.BUILDER)["FLOPS_BUILD_DIRECTORY"] == "/build/flops"
    assert environment_of_role(Role.LEARNER) == {}


def test_what_is_named_as_a_file_is_copied() -> None:
    assert credentials_of(SETTINGS) == {"FLOPS_BROKER_PASSWORD_FILE": "/srv/password"}


def test_only_builders_get_the_registrys_password() -> None:
    settings = replace(SETTINGS, registry_password_file="/srv/registry")  # noqa: S106  the name of a file
    provisions = Provisions(
        credentials=credentials_of(settings), builders_credentials=builders_credentials_of(settings)
    )
    assert "FLOPS_REGISTRY_PASSWORD_FILE" not in provisions.credentials_of(Role.LEARNER)
    assert provisions.credentials_of(Role.BUILDER)["FLOPS_REGISTRY_PASSWORD_FILE"] == "/srv/registry"  # noqa: S105


def test_a_role_runs_from_the_image_of_this_version_unless_it_has_its_own() -> None:
    spec = ServiceSpec("observ1", App("Ada", "observatory"), Role.OBSERVER)
    assert image_of(spec, SETTINGS) == f"flops/observer:{version('flops-fl')}"
    own = ServiceSpec("aggr1", App("Ada", "proj1"), Role.AGGREGATOR, image="ada/digits/aggregator:1")
    assert image_of(own, SETTINGS) == "ada/digits/aggregator:1"


def test_images_come_from_the_registry_unless_their_name_says_another_one() -> None:
    settings = replace(SETTINGS, registry_url="http://localhost:5000")
    spec = ServiceSpec("observ1", App("Ada", "observatory"), Role.OBSERVER)
    own = ServiceSpec("aggr1", App("Ada", "proj1"), Role.AGGREGATOR, image="ada.b/digits/aggregator:1")
    assert image_of(spec, settings) == f"localhost:5000/flops/observer:{version('flops-fl')}"
    assert image_of(own, settings) == "localhost:5000/ada.b/digits/aggregator:1"
    elsewhere = replace(settings, docker_images="registry.example.org/flops")
    assert image_of(spec, elsewhere) == f"registry.example.org/flops/observer:{version('flops-fl')}"
