"""From settings to ports. Every adapter is imported only where it is chosen."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from flops.wire.topics import Topics

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from flops.adapters.docker_engine.orchestrator import DockerOrchestrator
    from flops.adapters.docker_engine.provisions import Provisions
    from flops.adapters.docker_engine.swarm.orchestrator import SwarmOrchestrator
    from flops.adapters.images.runnable import LocalImage
    from flops.adapters.local_processes.client import DaemonClient
    from flops.configuration import Configuration
    from flops.ports import Bus, ImageBuilder, Orchestrator, Registry, Repositories, Store, Tracking, TrainingData
    from flops.registry_access import RegistryAccess
    from flops.retries import RetryPolicy
    from flops.settings import BrokerAccess, Settings

CONNECT_TIMEOUT_S = 15.0
SERVICE_FILE = "FLOPS_SERVICE_FILE"


def read_settings() -> Settings:
    """The settings of this process: of a service's environment; elsewhere of flags, environment and files."""
    from flops.settings import Settings  # noqa: PLC0415  most commands of the CLI need nothing of it

    if SERVICE_FILE in os.environ:  # whoever started the service has read the files
        return Settings.from_environment(os.environ)
    return configuration().settings()


def _environment() -> Mapping[str, str]:
    """The environment with all settings in it, wherever they were set."""
    return os.environ if SERVICE_FILE in os.environ else configuration().environment()


def configuration() -> Configuration:
    """What is set, and where."""
    from flops.configuration import CHOICE, read  # noqa: PLC0415

    return read(os.environ, CHOICE.get())


def topics(settings: Settings) -> Topics:
    """The topics of this installation."""
    return Topics(settings.topic_prefix)


def broker_access(settings: Settings) -> BrokerAccess:
    """How the broker that the settings name, or the embedded one, is reached."""
    from flops.adapters.embedded_broker import read_access  # noqa: PLC0415
    from flops.endpoint import seen_from  # noqa: PLC0415

    access = read_access(settings)
    return replace(access, url=seen_from(settings.loopback_host, access.url))


def connect(
    settings: Settings,
    client_id: str,
    *,
    persistent: bool,
    will: tuple[str, bytes] | None = None,
    timeout_s: float = CONNECT_TIMEOUT_S,
) -> Bus:
    """A connection to the broker that the settings name, or to the embedded one."""
    from flops.adapters import mqtt  # noqa: PLC0415

    return mqtt.connect(
        broker_access(settings),
        f"{settings.topic_prefix.replace('/', '-')}{client_id}",
        persistent=persistent,
        will=will,
        max_payload_bytes=settings.max_payload_bytes,
        timeout_s=timeout_s,
    )


def store_path(settings: Settings) -> Path:
    """The file of the managers' store, where it is one."""
    from pathlib import Path  # noqa: PLC0415

    from flops.settings import SQLITE  # noqa: PLC0415

    url = settings.store_url
    return Path(url.removeprefix(SQLITE)) if url else settings.home / "store" / "flops.db"


def store(settings: Settings) -> Store:
    """The managers' store."""
    from flops.settings import is_mongodb  # noqa: PLC0415

    if is_mongodb(settings.store_url):
        return _mongo_store(settings.store_url)
    from flops.adapters.sqlite_store import SqliteStore  # noqa: PLC0415

    return SqliteStore(store_path(settings))


def _mongo_store(url: str) -> Store:
    from flops.errors import InvalidSettingError  # noqa: PLC0415
    from flops.settings import without_credentials  # noqa: PLC0415

    try:
        from flops.adapters.mongo_store import MongoStore  # noqa: PLC0415
    except ModuleNotFoundError as error:
        expected = "a store that is installed: for MongoDB, FLOps with its extra 'mongo'"
        raise InvalidSettingError("FLOPS_STORE_URL", without_credentials(url), expected) from error
    return MongoStore(url)


def daemon(settings: Settings) -> DaemonClient:
    """The daemon that supervises this installation's local processes, whether or not it runs."""
    from flops.adapters.local_processes.client import DaemonClient  # noqa: PLC0415

    return DaemonClient(settings.home)


def orchestrator(settings: Settings) -> Orchestrator:
    """What runs the services."""
    if settings.orchestrator == "docker":
        return _docker_orchestrator(settings)
    if settings.orchestrator == "swarm":
        return _swarm_orchestrator(settings)
    from flops.adapters.local_processes.orchestrator import LocalProcessOrchestrator  # noqa: PLC0415
    from flops.errors import InvalidSettingError  # noqa: PLC0415

    if settings.registry_url:
        expected = "no registry where services are processes of this machine (FLOPS_ORCHESTRATOR=local)"
        raise InvalidSettingError("FLOPS_REGISTRY_URL", settings.registry_url, expected)

    return LocalProcessOrchestrator(daemon(settings), settings)


def halt_containers(settings: Settings) -> bool:
    """Stop the containers of this installation, which the next manager starts again; whether there were any."""
    if settings.orchestrator == "local":
        return False
    made = _swarm_orchestrator(settings) if settings.orchestrator == "swarm" else _docker_orchestrator(settings)
    with closing(made) as containers:
        return containers.halt()


def settle_containers(settings: Settings) -> None:
    """Have the containers deployed that belong to FLOps itself: the data servers.

    Raises:
        FlopsError: they cannot be.
    """
    if settings.orchestrator == "docker":
        with closing(_docker_orchestrator(settings)) as containers:
            containers.settle()
    elif settings.orchestrator == "swarm":
        with closing(_swarm_orchestrator(settings)) as services:
            services.settle()


def learner_nodes(settings: Settings) -> tuple[str, ...]:
    """The nodes that hold data: those that the settings name, or those of the swarm that answer."""
    if settings.orchestrator != "swarm":
        return tuple(node.name for node in settings.local_nodes if "learner" in node.capabilities)
    with closing(_swarm_orchestrator(settings)) as services:
        return tuple(node.name for node in services.nodes() if "learner" in node.capabilities)


def _docker_orchestrator(settings: Settings) -> DockerOrchestrator:
    from flops.errors import InvalidSettingError  # noqa: PLC0415

    if not settings.broker_url:
        expected = "a broker that containers can reach, where services run in them"
        raise InvalidSettingError("FLOPS_BROKER_URL", "", expected)
    try:
        from flops.adapters.docker_engine.orchestrator import DockerOrchestrator  # noqa: PLC0415
    except ModuleNotFoundError as error:
        expected = "an orchestrator that is installed: for Docker, FLOps with its extra 'docker'"
        raise InvalidSettingError("FLOPS_ORCHESTRATOR", settings.orchestrator, expected) from error
    from flops.adapters.docker_engine.environment import image_of  # noqa: PLC0415

    return DockerOrchestrator(settings, image=lambda spec: image_of(spec, settings), provisions=_provisions(settings))


def _provisions(settings: Settings) -> Provisions:
    from flops.adapters.docker_engine import environment  # noqa: PLC0415
    from flops.adapters.docker_engine.provisions import Provisions  # noqa: PLC0415
    from flops.bootstrap import machine  # noqa: PLC0415

    return Provisions(
        environment=environment.environment_of(_environment()),
        credentials=environment.credentials_of(settings),
        builders_credentials=environment.builders_credentials_of(settings),
        files=lambda role: machine.files_for(role, os.environ),
        images=environment.source_of(settings),
        data_servers=True,
    )


def _swarm_orchestrator(settings: Settings) -> SwarmOrchestrator:
    from urllib.parse import urlsplit  # noqa: PLC0415

    from flops.endpoint import LOOPBACK  # noqa: PLC0415
    from flops.errors import InvalidSettingError  # noqa: PLC0415

    for name, url in (("FLOPS_BROKER_URL", settings.broker_url), ("FLOPS_REGISTRY_URL", settings.registry_url)):
        if urlsplit(url).hostname in LOOPBACK or (not url and name == "FLOPS_BROKER_URL"):
            raise InvalidSettingError(name, url, "an address at which every node of the swarm reaches it")
    try:
        from flops.adapters.docker_engine.swarm.orchestrator import SwarmOrchestrator  # noqa: PLC0415
    except ModuleNotFoundError as error:
        expected = "an orchestrator that is installed: for Docker Swarm, FLOps with its extra 'docker'"
        raise InvalidSettingError("FLOPS_ORCHESTRATOR", settings.orchestrator, expected) from error
    from flops.adapters.docker_engine.environment import image_of  # noqa: PLC0415

    return SwarmOrchestrator(settings, image=lambda spec: image_of(spec, settings), provisions=_provisions(settings))


def registry_access(settings: Settings) -> RegistryAccess:
    """How the registry that the settings name is reached.

    Raises:
        InvalidSettingError: the password file cannot be read.
    """
    from pathlib import Path  # noqa: PLC0415

    from flops.endpoint import seen_from  # noqa: PLC0415
    from flops.errors import InvalidSettingError  # noqa: PLC0415
    from flops.registry_access import RegistryAccess  # noqa: PLC0415

    path = settings.registry_password_file
    try:
        password = Path(path).read_text("utf-8").rstrip("\r\n") if path else ""
    except OSError as error:
        raise InvalidSettingError("FLOPS_REGISTRY_PASSWORD_FILE", path, "a file that can be read") from error
    url = seen_from(settings.loopback_host, settings.registry_url)
    return RegistryAccess(url, settings.registry_username, password, settings.registry_ca_file)


def registry(settings: Settings) -> Registry:
    """Where images are."""
    if settings.registry_url:
        from flops.adapters.images.oci import OciRegistry  # noqa: PLC0415

        return OciRegistry(registry_access(settings))
    from flops.adapters.images.local import LocalImageRegistry  # noqa: PLC0415

    return LocalImageRegistry(settings.home)


def repositories(settings: Settings, stopping: threading.Event | None = None) -> Repositories:
    """Where ML repositories come from; ``stopping`` ends what is running."""
    from flops.adapters.git import GitRepositories  # noqa: PLC0415

    return GitRepositories(examples=settings.home / "examples", stopping=stopping)


def image_builder(settings: Settings, stopping: threading.Event | None = None) -> ImageBuilder:
    """What makes images; ``stopping`` ends what is running and leaves nothing half made."""
    from pathlib import Path  # noqa: PLC0415

    from flops.retries import Retries  # noqa: PLC0415

    retries, sources = Retries(retry_policy(settings), stopping), repositories(settings, stopping)
    if settings.registry_url:
        from flops.adapters.images.oci import OciImageBuilder, OciPlan  # noqa: PLC0415

        directory = Path(settings.build_directory) if settings.build_directory else settings.home
        bases = settings.docker_images.removeprefix(f"{settings.registry_prefix}/")
        plan = OciPlan(registry_access(settings), bases, directory, settings.image_platforms)
        return OciImageBuilder(plan, sources, stopping=stopping, retries=retries)
    from flops.adapters.images.local import LocalImageBuilder  # noqa: PLC0415

    return LocalImageBuilder(settings.home, sources, stopping=stopping, retries=retries)


def retry_policy(settings: Settings) -> RetryPolicy:
    """How often, and after which waits, something is tried again."""
    from flops.retries import RetryPolicy  # noqa: PLC0415

    return RetryPolicy(settings.retry_attempts, settings.retry_longest_s)


def local_image(settings: Settings, image: str) -> LocalImage:
    """Where an image lies: around this process, or on this machine."""
    from flops.adapters.images.runnable import image_around  # noqa: PLC0415

    if (around := image_around(image)) is not None:
        return around
    from flops.adapters.images.local import LocalImageStore  # noqa: PLC0415

    return LocalImageStore(settings.home).locate(image)


def training_data(settings: Settings) -> Callable[[str], TrainingData]:
    """The data of a node of this machine, by the node's name."""
    from flops.adapters import flight  # noqa: PLC0415

    return lambda node: flight.connect(settings.node_directory(node))


def tracking(settings: Settings) -> Callable[[str], Tracking]:
    """The tracking server by the URL that it announces."""
    from flops.adapters.mlflow_tracking import MlflowTracking  # noqa: PLC0415
    from flops.endpoint import seen_from  # noqa: PLC0415

    return lambda url: MlflowTracking(url, reached_at=seen_from(settings.loopback_host, url))


def make_examples(settings: Settings) -> Path:
    """Turn the shipped example ML repositories into Git repositories under the home directory."""
    from flops.examples.repositories import create, names  # noqa: PLC0415

    directory = settings.home / "examples"
    for name in names():
        create(name, directory)
    return directory
