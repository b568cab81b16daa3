"""The orchestrator port, fulfilled by services of a Docker Swarm."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from flops.adapters.docker_engine import data_servers
from flops.adapters.docker_engine.connection import EngineConnection
from flops.adapters.docker_engine.container import HOME, SERVICE_GRACE_S, ContainerSpec
from flops.adapters.docker_engine.endings import Ending
from flops.adapters.docker_engine.environment import environment_of_role
from flops.adapters.docker_engine.images import Images
from flops.adapters.docker_engine.orchestrator import data_nodes_of
from flops.adapters.docker_engine.ports import choose_port
from flops.adapters.docker_engine.provisions import Provisions
from flops.adapters.docker_engine.swarm.cluster import Cluster
from flops.adapters.docker_engine.swarm.files import SecretFiles
from flops.adapters.docker_engine.swarm.judgement import BOUND
from flops.adapters.docker_engine.swarm.members import DEPLOYMENT, LEARNER
from flops.adapters.docker_engine.swarm.run_logs import MAX_LINES, last_lines
from flops.adapters.docker_engine.swarm.state import SwarmState
from flops.adapters.docker_engine.swarm.supervisor import ACTIVE, Supervisor
from flops.errors import DeploymentRefusedError, NotFoundError, OrchestratorUnavailableError
from flops.project.deployment import InstanceState, Node, Role
from flops.project.placement import able_nodes, choose_nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flops.adapters.docker_engine.swarm.members import Seen, SwarmNode, Task
    from flops.ports import InstanceChange
    from flops.project.deployment import App, Service, ServiceSpec
    from flops.settings import Settings

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_LOOK_S: Final = 0.5  # how soon a change is seen that another process has recorded
_STOPS_S: Final = SERVICE_GRACE_S + 30.0
_WITH_DATA: Final = frozenset({Role.DATA, Role.LEARNER, Role.MOCK_DATA, Role.TRACKING})
_REMEDY: Final = "Give it to one: docker node update --label-add flops.{capability}=true NODE."
_CALLED: Final = frozenset({Role.DATA, Role.TRACKING, Role.INFERENCE})  # by users, or by services
_HUNG: Final = "it hung and was stopped"


class SwarmOrchestrator:
    """Runs every instance as a service of a swarm. The nodes are those of the swarm, with what their labels say.

    Nothing starts before ``deploy`` or ``changes`` is called: from then on this process supervises the installation's
    services, unless another one does.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        image: Callable[[ServiceSpec], str],
        command: Callable[[ServiceSpec], tuple[str, ...]] = lambda _: (),
        provisions: Provisions = Provisions(),  # noqa: B008  it is frozen
    ) -> None:
        self._image, self._command, self._provisions = image, command, provisions
        self._state = SwarmState(settings.home / "orchestrator")
        connection = EngineConnection(settings.docker_url)
        self._images = Images(connection, provisions.images)
        self._cluster = Cluster(connection, self._state.installation, provisions.images)
        self._files = SecretFiles(settings, provisions, self._cluster.name_of)
        self._supervisor = Supervisor(self._cluster, self._state, self)

    def close(self) -> None:
        """Stop supervising; the services run on."""
        self._supervisor.close()
        self._cluster.close()
        self._state.close()

    def halt(self) -> bool:
        """Stop every service; whoever supervises next starts again what ran. Returns whether there was any."""
        instances = sorted(self._cluster.instances())
        self._at_once(self._stop, instances)
        return bool(instances)

    def nodes(self) -> list[Node]:
        """The nodes that take new tasks now."""
        return _nodes(self._cluster.look())

    def create_app(self, app: App) -> None:
        """Remember an app."""
        self._state.add_app(app)

    def delete_app(self, app: App) -> None:
        """Undeploy all services of an app, and forget it."""
        while True:
            self._at_once(self.undeploy, [service.name for service in self._state.services(app)])
            if self._state.forget_app(app):
                break

    def deploy(self, spec: ServiceSpec) -> None:
        """Take a service on."""
        self._record(spec, self._cluster.look())
        self._supervisor.begin()

    def settle(self, seen: Seen | None = None) -> None:
        """Have a data server on every learner node, in the version that this is, and on no other node.

        Raises:
            DeploymentRefusedError: their image is not there.
        """
        if not self._provisions.data_servers:
            return
        seen = seen or self._cluster.look()
        self._state.add_app(data_servers.APP)
        for service in self._state.services(data_servers.APP):
            if service.role is Role.DATA and self._is_outdated(service, seen):
                self.undeploy(service.name)
        for node in seen.usable():
            if LEARNER in node.capabilities:
                self._record(data_servers.data_server(node.name), seen)

    def files_of(self, container: ContainerSpec, node: SwarmNode) -> dict[str, str]:
        """The files of an instance on a node.

        Raises:
            OSError: one of them cannot be read.
        """
        return self._files.to(container, node)

    def elsewhere(self, container: ContainerSpec, seen: Seen) -> ContainerSpec | None:
        """The same instance on another node, or None where there is none."""
        able, load = able_nodes(Role(container.labels["role"]), _nodes(seen)), self._load()
        if not able:
            return None
        node = min(able, key=lambda name: load[name])
        description = {**json.loads(container.description), "node": node}
        return replace(container, node=node, description=json.dumps(description, indent=1))

    def undeploy(self, service_name: str) -> None:
        """Stop all instances of a service, keep their logs, and forget it."""
        self._at_once(self._remove, [spec.instance for spec in self._state.leave(service_name)])
        self._state.forget_service(service_name)

    def restart(self, instance_id: str) -> None:
        """Stop a task; what has to happen then is the same as after a crash."""
        supervised = self._state.instance(instance_id)
        if supervised is None or supervised.status.state is not InstanceState.RUNNING:
            return
        ending = Ending(supervised.status.run, _HUNG)
        self._state.record(instance_id, ending.after(supervised.status, supervised.spec.max_restarts))
        self._cluster.stop(instance_id)

    def forget(self, service_name: str) -> None:
        """Undeploy a service and remove the logs of its instances."""
        self.undeploy(service_name)
        for instance in self._state.traces_of_service(service_name):
            self._state.logs.remove(instance)
            self._state.forget_trace(instance)

    def apps(self) -> list[App]:
        """All apps, sorted."""
        return self._state.apps()

    def services(self, app: App | None = None, *, project_id: str = "") -> list[Service]:
        """All services, or those of one app or of one project."""
        self._cluster.ping()
        return self._state.services(app, project_id)

    def logs(self, name: str, *, tail_lines: int) -> str:
        """The end of the output of an instance, or of a service's first instance."""
        instance = self._state.trace(name)
        if instance is None:
            raise NotFoundError("service or instance", name)
        texts = [self._cluster.logs(task.id, tail_lines) for task in self._unkept(instance)]
        return last_lines(self._state.logs.read(instance) + "".join(texts), tail_lines)

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
                self._cluster.ping()
                return []
            self._state.wait(writes, min(left_s, _LOOK_S))

    def _load(self) -> Counter[str]:
        instances = (instance for service in self._state.services() for instance in service.instances)
        return Counter(instance.node for instance in instances if instance.state in ACTIVE)

    def _container(self, spec: ServiceSpec, index: int, node: str, image: str) -> ContainerSpec:
        is_bound = spec.role in _WITH_DATA or bool(spec.placements[index].node)
        labels = {"app": spec.app.name, "user": spec.app.user, "project": spec.project_id, "role": str(spec.role)}
        labels |= {DEPLOYMENT: secrets.token_hex(4)}
        return ContainerSpec(
            instance=f"{spec.name}.{index}",
            service=spec.name,
            node=node,
            image=image,
            command=self._command(spec),
            environment=self._environment(spec.role),
            description=json.dumps(spec.description(index, node), indent=1),
            labels={**labels, BOUND: "true"} if is_bound else labels,
            limits=spec.resources,
            max_restarts=spec.max_restarts,
            port=choose_port(self._state.ports()) if spec.role in _CALLED else 0,
            data_nodes=data_nodes_of(spec, node),
            is_builder=spec.role is Role.BUILDER,
        )

    def _environment(self, role: Role) -> dict[str, str]:
        own = {**self._files.settings(role), "FLOPS_HOME": HOME}
        return {**self._provisions.environment, **environment_of_role(role), **own}

    def _record(self, spec: ServiceSpec, seen: Seen) -> None:
        if not _NAME.fullmatch(spec.name):
            raise DeploymentRefusedError(spec.name, "its name may have letters, digits, '.', '-' and '_' only")
        nodes = choose_nodes(spec, _nodes(seen), self._load, remedy=_REMEDY)
        image = self._image(spec)
        if not self._images.can_have(image):
            reason = f"this manager of the swarm has no image {image!r}, and it is in no registry that FLOps knows"
            raise DeploymentRefusedError(spec.name, reason, remedy="Push it to the registry of FLOPS_REGISTRY_URL.")
        containers = [self._container(spec, index, node, image) for index, node in enumerate(nodes)]
        if not self._state.add_service(spec, containers):
            reason = f"there is no app {spec.app.name!r} of user {spec.app.user!r}"
            raise DeploymentRefusedError(spec.name, reason)

    def _is_outdated(self, service: Service, seen: Seen) -> bool:
        """Whether a data server has to be deployed anew: of another version, failed, or on a node that is none now."""
        instance = service.instances[0]
        node, container = seen.named(instance.node), self._state.spec(instance.id)
        if node is None or LEARNER not in node.capabilities or container is None:
            return True
        return instance.state is InstanceState.FAILED or container.image != self._image(
            data_servers.data_server(instance.node)
        )

    def _stop(self, instance: str) -> None:
        """Stop the tasks of an instance; returns when none runs on a node that answers."""
        deadline = time.monotonic() + _STOPS_S
        self._cluster.stop(instance)
        while True:
            seen = self._cluster.look()
            left = [task for task in seen.tasks.get(instance, ()) if task.is_at_work and not seen.is_lost(task)]
            if not left:
                return
            if time.monotonic() > deadline:
                reason = f"it has not stopped {instance} within {_STOPS_S:g} s"
                raise OrchestratorUnavailableError("Docker Swarm", reason)
            time.sleep(_LOOK_S / 5)

    def _remove(self, instance: str) -> None:
        """Stop an instance and remove its service; its log is kept."""
        if any(task.is_at_work for task in self._cluster.look().tasks.get(instance, ())):
            self._stop(instance)
        for task in self._unkept(instance):
            self._state.logs.keep(instance, task, self._cluster.logs(task.id, MAX_LINES))
        self._cluster.remove(instance)

    def _unkept(self, instance: str) -> list[Task]:
        """The tasks of an instance whose output is on their nodes only, as far as these answer."""
        seen = self._cluster.look()
        found = [task for task in seen.tasks.get(instance, ()) if task.has_container and not seen.is_lost(task)]
        return [task for task in found if not self._state.logs.has(instance, task)]

    @staticmethod
    def _at_once(call: Callable[[str], None], names: Sequence[str]) -> None:
        """Make several calls side by side; the first error is raised when all have ended."""
        if names:
            with ThreadPoolExecutor(len(names)) as threads:
                outcomes = [threads.submit(call, name) for name in names]
            for outcome in outcomes:
                outcome.result()


def _nodes(seen: Seen) -> list[Node]:
    return [Node(node.name, node.capabilities) for node in seen.usable()]
