"""What the services of FLOps are given in containers: their images, their settings, their credentials."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from flops.adapters.docker_engine.container import BUILD_DIRECTORY
from flops.adapters.docker_engine.provisions import ImageSource
from flops.endpoint import LOOPBACK_HOST
from flops.project.deployment import Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flops.project.deployment import ServiceSpec
    from flops.settings import Settings

# Paths of this machine, what is told to each container by itself, and what only managers need.
_NOT_PASSED: Final = frozenset(
    {
        "FLOPS_HOME", "FLOPS_SERVICE_FILE", "FLOPS_INSTANCE", "FLOPS_CONFIG", "FLOPS_CONTEXT", "FLOPS_STORE_URL",
        "FLOPS_ORCHESTRATOR", "FLOPS_DOCKER_URL", "FLOPS_DOCKER_NETWORK", "FLOPS_EMBEDDED_BROKER",
        "FLOPS_LOOPBACK_HOST", "FLOPS_ADVERTISED_HOST", "FLOPS_BUILD_DIRECTORY", "FLOPS_BROKER_PASSWORD_FILE",
        "FLOPS_BROKER_CA_FILE", "FLOPS_REGISTRY_PASSWORD_FILE", "FLOPS_REGISTRY_CA_FILE",
    }
)  # fmt: skip


def image_of(spec: ServiceSpec, settings: Settings) -> str:
    """The image of a service, as the engine knows it: its own, or that of its role in the version that this is."""
    image = spec.image or f"{settings.docker_images}/{spec.role}:{version('flops-fl')}"
    is_elsewhere = not settings.registry_prefix or (not spec.image and _names_a_host(image))
    return image if is_elsewhere else f"{settings.registry_prefix}/{image}"


def environment_of(environment: Mapping[str, str]) -> dict[str, str]:
    """The settings of FLOps that hold in a container, too."""
    passed = {
        name: value for name, value in environment.items() if name.startswith("FLOPS_") and name not in _NOT_PASSED
    }
    return {**passed, "FLOPS_LOOPBACK_HOST": LOOPBACK_HOST}


def source_of(settings: Settings) -> ImageSource:
    """Where the engine pulls images from."""
    return ImageSource(settings.registry_prefix, settings.registry_username, settings.registry_password_file)


def environment_of_role(role: Role) -> dict[str, str]:
    """What only services of one role are told."""
    if role is not Role.BUILDER:
        return {}
    return {"FLOPS_BUILD_DIRECTORY": BUILD_DIRECTORY, "UV_CACHE_DIR": f"{BUILD_DIRECTORY}/uv-cache"}


def credentials_of(settings: Settings) -> dict[str, str]:
    """The settings that name a file which every service needs, with the files."""
    named = {
        "FLOPS_BROKER_PASSWORD_FILE": settings.broker_password_file,
        "FLOPS_BROKER_CA_FILE": settings.broker_ca_file,
    }
    return {setting: path for setting, path in named.items() if path}


def builders_credentials_of(settings: Settings) -> dict[str, str]:
    """The same of what builders alone need."""
    named = {
        "FLOPS_REGISTRY_PASSWORD_FILE": settings.registry_password_file,
        "FLOPS_REGISTRY_CA_FILE": settings.registry_ca_file,
    }
    return {setting: path for setting, path in named.items() if path}


def _names_a_host(image: str) -> bool:
    """As Docker tells a registry's host from the beginning of a repository's name."""
    first, _, rest = image.partition("/")
    return bool(rest) and (first == "localhost" or "." in first or ":" in first)
