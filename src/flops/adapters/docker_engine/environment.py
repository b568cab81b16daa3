"""What the services of FLOps are given in containers: their images, their settings, their credentials."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from flops.adapters.docker_engine.engine import BROKER_ALIAS
from flops.errors import DeploymentRefusedError
from flops.project.deployment import Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flops.project.deployment import ServiceSpec
    from flops.settings import Settings

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
# The others need images of ML repositories, or listen where no other container reaches them.
_AT_HOME_IN_CONTAINERS: Final = frozenset({Role.OBSERVER})
# Paths of this machine, what is told to each container by itself, and what only managers need.
_NOT_PASSED: Final = frozenset(
    {
        "FLOPS_HOME", "FLOPS_SERVICE_FILE", "FLOPS_INSTANCE", "FLOPS_CONFIG", "FLOPS_CONTEXT", "FLOPS_STORE_URL",
        "FLOPS_ORCHESTRATOR", "FLOPS_DOCKER_URL", "FLOPS_DOCKER_IMAGES", "FLOPS_EMBEDDED_BROKER", "FLOPS_BROKER_URL",
        "FLOPS_BROKER_PASSWORD_FILE", "FLOPS_BROKER_CA_FILE",
    }
)  # fmt: skip


def image_of(spec: ServiceSpec, settings: Settings) -> str:
    """The image of a service: its own, or that of its role in the version that this is.

    Raises:
        DeploymentRefusedError: it would be of no use in a container.
    """
    if spec.image:
        return spec.image
    if spec.role not in _AT_HOME_IN_CONTAINERS:
        reason = f"services of the role {spec.role} cannot run in containers yet"
        raise DeploymentRefusedError(spec.name, reason, remedy="Run them as processes: FLOPS_ORCHESTRATOR=local.")
    return f"{settings.docker_images}/{spec.role}:{version('flops-fl')}"


def environment_of(environment: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """The settings of FLOps that hold in a container, too."""
    passed = {
        name: value for name, value in environment.items() if name.startswith("FLOPS_") and name not in _NOT_PASSED
    }
    return {**passed, "FLOPS_BROKER_URL": broker_url_inside(settings.broker_url)}


def credentials_of(settings: Settings) -> dict[str, str]:
    """The settings that name a file which every service needs, with the files."""
    named = {
        "FLOPS_BROKER_PASSWORD_FILE": settings.broker_password_file,
        "FLOPS_BROKER_CA_FILE": settings.broker_ca_file,
    }
    return {setting: path for setting, path in named.items() if path}


def broker_url_inside(url: str) -> str:
    """The broker's address as containers see it: this machine's loopback is not theirs."""
    parts = urlsplit(url)
    if parts.hostname not in _LOOPBACK:
        return url
    port = "" if parts.port is None else f":{parts.port}"
    return f"{parts.scheme}://{BROKER_ALIAS}{port}"
