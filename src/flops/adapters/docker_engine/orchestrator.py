"""The orchestrator port, fulfilled by containers of one Docker Engine."""

from __future__ import annotations

import json
import re
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from flops.adapters.docker_engine import data_servers
from flops.adapters.docker_engine.connection import EngineConnection
from flops.adapters.docker_engine.container import HOME, SERVICE_GRACE_S, ContainerSpec
from flops.adapters.docker_engine.engine import Engine
from flops.adapters.docker_engine.environment import environment_of_role
from flops.adapters.docker_engine.files import DESCRIPTION, HandedOver, file_name
from flops.adapters.docker_engine.images import Images
from flops.adapters.docker_engine.ports import choose_port
from flops.adapters.docker_engine.provisions import Provisions
from flops.adapters.docker_engine.state import State
from flops.adapters.docker_engine.steps import ACTIVE
from flops.adapters.docker_engine.supervisor import Supervisor
from flops.atomic_file import write_atomically
from flops.endpoint import LOOPBACK
from flops.errors import DeploymentRefusedError, NotFoundError
from flops.project.deployment import InstanceState, Node, Role
from flops.project.placement import choose_nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from flops.ports import InstanceChange
    from flops.project.deployment import App, Service, ServiceSpec
    from flops.settings import Settings

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_MAX_LOG_LINES: Final = 100_000
_LOOK_S: Final = 0.5  # how soon a change is seen that another process has recorded
_CALLED: Final = frozenset({Role.DATA, Role.TRACKING, Role.INFERENCE})  # by users, or by services


class DockerOrchestrator:
    """Runs every instance as a container. The named nodes of the settings are names within this one engine.

    Nothing starts before ``deploy`` or ``changes`` is called: from then on this process supervises the installation's
    containers, unless another one does.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        image: Callable[[ServiceSpec], str],
        command: Callable[[ServiceSpec], tuple[str, ...]] = lambda _: (),
        provisions: Provisions = Provisions(),  # noqa: B008  it is frozen
    ) -> None:
        self._settings, self._image, self._command = settings, image, command
        self._provisions = provisions
        directory = settings.home / "orchestrator"
        self._state = State(directory / "docker.db")
        self._logs = directory / "logs"
        connection = EngineConnection(settings.docker_url)
        self._engine = Engine(
            connection,
            Images(connection, provisions.images),
            self._state.installation,
            network=settings.docker_network,
            is_advertised=settings.advertised_host not in LOOPBACK,
        )
        handed_over = HandedOver(settings, provisions)
        self._supervisor = Supervisor(self._engine, self._state, directory / "docker.lock", handed_over, self.settle)

    def close(self) -> None:
        """Stop supervising; the containers run on."""
        self._supervisor.close()
        self._state.close()

    def halt(self) -> bool:
        """Stop every container; whoever supervises next starts again what ran. Returns whether there was any."""
        instances = sorted(self._engine.instances())
        self._at_once(lambda instance: self._engine.stop(instance, SERVICE_GRACE_S), instances)
        return bool(instances)

    def nodes(self) -> list[Node]:
        """The nodes that the settings name."""
        return [Node(node.name, node.capabilities) for node in self._settings.local_nodes]

    def create_app(self, app: App) -> None:
        """Remember an app."""
        self._state.add_app(app)

    def delete_app(self, app: App) -> None:
        """Undeploy all services of an app, remove the volumes of its instances, and forget it."""
        while True:
            self._at_once(self.undeploy, [service.name for service in self._state.services(app)])
            if self._state.forget_app(app):
                break
        for instance in self._state.traces_of(app):
            self._engine.remove_volume(instance)

    def deploy(self, spec: ServiceSpec) -> None:
        """Take a service on."""
        self._record(spec)
        self._supervisor.begin()

    def settle(self) -> None:
        """Have a data server on every learner node, in the version that this is, and on no other node.

        Raises:
            DeploymentRefusedError: their image is not there.
        """
        if not self._provisions.data_servers:
            return
        self._state.add_app(data_servers.APP)
        for service in self._state.services(data_servers.APP):
            if service.role is Role.DATA and self._is_outdated(service):
                self.undeploy(service.name)
        for node in data_servers.learner_nodes(self._settings):
            self._record(data_servers.data_server(node))

    def _is_outdated(self, service: Service) -> bool:
        """Whether a data server has to be deployed anew: of another version, failed, or on a node that is none now."""
        if not data_servers.is_on_a_learner_node(service.name, self._settings):
            return True
        image = self._image(data_servers.data_server(service.instances[0].node))
        container = self._state.spec(service.instances[0].id)
        return service.instances[0].state is InstanceState.FAILED or (
            container is not None and container.image != image
        )

    def _record(self, spec: ServiceSpec) -> None:
        if not _NAME.fullmatch(spec.name):
            raise DeploymentRefusedError(spec.name, "its name may have letters, digits, '-' and '_' only")
        nodes = choose_nodes(spec, self._settings.local_nodes, self._load)
        image = self._image(spec)
        if not self._engine.images.can_have(image):
            raise DeploymentRefusedError(
                spec.name, f"the Docker Engine has no image {image!r}", remedy="Build it, or pull it, with docker."
            )
        containers = [self._container(spec, index, node, image) for index, node in enumerate(nodes)]
        if not self._state.add_service(spec, containers):
            reason = f"there is no app {spec.app.name!r} of user {spec.app.user!r}"
            raise DeploymentRefusedError(spec.name, reason)

    def undeploy(self, service_name: str) -> None:
        """Stop all containers of a service, keep their logs, and forget it."""
        self._at_once(self._remove, [spec.instance for spec in self._state.leave(service_name)])
        self._state.forget_service(service_name)

    def restart(self, instance_id: str) -> None:
        """Kill a container; what has to happen then is the same as after a crash."""
        self._engine.kill(instance_id)

    def forget(self, service_name: str) -> None:
        """Undeploy a service and remove the logs and the volumes of its instances."""
        self.undeploy(service_name)
        for image in self._state.images_of(service_name):
            self._engine.images.remove(image)
        for instance in self._state.traces_of_service(service_name):
            self._engine.remove_volume(instance)
            self._log_file(instance).unlink(missing_ok=True)
            self._state.forget_trace(instance)

    def apps(self) -> list[App]:
        """All apps, sorted."""
        return self._state.apps()

    def services(self, app: App | None = None, *, project_id: str = "") -> list[Service]:
        """All services, or those of one app or of one project."""
        self._engine.ping()
        return self._state.services(app, project_id)

    def logs(self, name: str, *, tail_lines: int) -> str:
        """The end of the output of an instance, or of a service's first instance."""
        instance = self._state.trace(name)
        if instance is None:
            raise NotFoundError("service or instance", name)
        return _last_lines(self._kept_log(instance) + self._engine.logs(instance, tail_lines), tail_lines)

    def changes(self, after: int, timeout_s: float) -> list[InstanceChange]:
        """The changes after a cursor, at most a hundred at a time; of an old cursor those that are still kept."""
        self._supervisor.begin()
        deadline = time.monotonic() + timeout_s
        while True:
            writes = self._state.writes
            if found := self._state.changes(after):
                return found
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                self._engine.ping()
                return []
            self._state.wait(writes, min(left_s, _LOOK_S))

    def _load(self) -> Counter[str]:
        instances = (instance for service in self._state.services() for instance in service.instances)
        return Counter(instance.node for instance in instances if instance.state in ACTIVE)

    def _container(self, spec: ServiceSpec, index: int, node: str, image: str) -> ContainerSpec:
        instance = f"{spec.name}.{index}"
        container = ContainerSpec(
            instance=instance,
            service=spec.name,
            node=node,
            image=image,
            command=self._command(spec),
            description=json.dumps(spec.description(index, node), indent=1),
            labels={"app": spec.app.name, "user": spec.app.user, "project": spec.project_id},
            limits=spec.resources,
            max_restarts=spec.max_restarts,
            port=choose_port(self._state.ports()) if spec.role in _CALLED else 0,
            data_nodes=data_nodes_of(spec, node),
            is_builder=spec.role is Role.BUILDER,
            image_may_change=bool(spec.image),
        )
        return replace(container, environment=self._environment_of(container, spec.role))

    def _environment_of(self, container: ContainerSpec, role: Role) -> dict[str, str]:
        copies = {
            setting: f"{container.directory}/{file_name(setting)}" for setting in self._provisions.credentials_of(role)
        }
        own = {"FLOPS_HOME": HOME, "FLOPS_SERVICE_FILE": f"{container.directory}/{DESCRIPTION}"}
        return {**self._provisions.environment, **environment_of_role(role), **copies, **own}

    def _remove(self, instance: str) -> None:
        """Stop a container and remove it; its log is kept in a file."""
        self._engine.stop(instance, SERVICE_GRACE_S)
        text = self._kept_log(instance) + self._engine.logs(instance, _MAX_LOG_LINES)
        self._logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(self._log_file(instance), _last_lines(text, _MAX_LOG_LINES), durably=False)
        self._engine.remove(instance)

    def _kept_log(self, instance: str) -> str:
        try:
            return self._log_file(instance).read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def _log_file(self, instance: str) -> Path:
        return self._logs / f"{instance}.log"

    @staticmethod
    def _at_once(call: Callable[[str], None], names: Sequence[str]) -> None:
        """Make several calls side by side; the first error is raised when all have ended."""
        if names:
            with ThreadPoolExecutor(len(names)) as threads:
                outcomes = [threads.submit(call, name) for name in names]
            for outcome in outcomes:
                outcome.result()


def _last_lines(text: str, count: int) -> str:
    return "".join(deque(text.splitlines(keepends=True), maxlen=count))


def data_nodes_of(spec: ServiceSpec, node: str) -> tuple[str, ...]:
    """The nodes whose data an instance on a node may use."""
    match spec.role:
        case Role.DATA | Role.LEARNER:
            return (node,)
        case Role.MOCK_DATA:
            return tuple(spec.config.get("nodes", ()))
        case _:
            return ()
