"""The orchestrator port, fulfilled by the daemon that runs local processes."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flops.adapters.local_processes import log_file
from flops.adapters.local_processes.environment import SERVICE_FILE
from flops.adapters.local_processes.process import SERVICE_GRACE_S, ProcessSpec, RestartPolicy, ServiceRecord
from flops.errors import DeploymentRefusedError, NotFoundError
from flops.ports import InstanceChange
from flops.project.deployment import App, Instance, InstanceState, Node, Role, Service
from flops.project.placement import choose_nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flops.adapters.local_processes.client import DaemonClient
    from flops.project.deployment import ServiceSpec
    from flops.settings import Settings

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_ANSWER_MARGIN_S: Final = 10.0
# Every live project has an observer of its own. Without docstrings it takes 4 % less memory.
_OPTIONS: Final = {Role.OBSERVER: ("-OO",)}
_ACTIVE: Final = frozenset({InstanceState.SCHEDULED, InstanceState.RUNNING})


def service_command(spec: ServiceSpec) -> tuple[str, ...]:
    """What runs a service of FLOps; everything else it reads from the file that ``FLOPS_SERVICE_FILE`` names."""
    return (sys.executable, *_OPTIONS.get(spec.role, ()), "-m", "flops.bootstrap", str(spec.role))


class LocalProcessOrchestrator:
    """Runs every instance as a process of this machine, supervised by the daemon of ``settings.home``.

    A crash is two changes: SCHEDULED with the reason, the increased ``restarts`` and the log's end, then RUNNING. Of an
    old cursor the changes that are still kept are returned (the last 10,000). ``environment`` is given to every
    instance on top of what the daemon passes through.
    """

    def __init__(
        self,
        client: DaemonClient,
        settings: Settings,
        *,
        command: Callable[[ServiceSpec], tuple[str, ...]] = service_command,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._client, self._settings = client, settings
        self._command, self._environment = command, dict(environment or {})

    def nodes(self) -> list[Node]:
        """The nodes that the settings name."""
        return [Node(node.name, node.capabilities) for node in self._settings.local_nodes]

    def create_app(self, app: App) -> None:
        """Create an app unless it exists."""
        self._client.call("create_app", user=app.user, name=app.name)

    def delete_app(self, app: App) -> None:
        """Remove an app with its services and their directories."""
        self._client.call("delete_app", user=app.user, name=app.name)

    def deploy(self, spec: ServiceSpec) -> None:
        """Take a service on."""
        if not _NAME.fullmatch(spec.name):
            raise DeploymentRefusedError(spec.name, "its name may have letters, digits, '-' and '_' only")
        nodes = choose_nodes(spec, self._settings.local_nodes, self._load)
        processes = [self._process(spec, index, node).to_json() for index, node in enumerate(nodes)]
        record = ServiceRecord(spec.name, spec.app.user, spec.app.name, str(spec.role), spec.project_id)
        self._client.call("deploy", service=record.to_json(), processes=processes)

    def undeploy(self, service_name: str) -> None:
        """Stop all instances and forget the service."""
        self._client.call("undeploy", name=service_name)

    def restart(self, instance_id: str) -> None:
        """Kill the processes of an instance."""
        self._client.call("restart", name=instance_id)

    def forget(self, service_name: str) -> None:
        """Stop all instances and remove their logs and their directories."""
        self._client.call("forget", name=service_name)

    def apps(self) -> list[App]:
        """All apps, sorted."""
        return [App(user, name) for user, name in self._client.call("apps")]

    def services(self, app: App | None = None, *, project_id: str = "") -> list[Service]:
        """All services, or those of one app or of one project."""
        services = [_service_of(document) for document in self._client.call("services", project_id=project_id)]
        return [service for service in services if app is None or service.app == app]

    def logs(self, name: str, *, tail_lines: int) -> str:
        """The end of the output of an instance, or of a service's first instance."""
        path = self._client.call("log_of", name=name)
        if path is None:
            raise NotFoundError("service or instance", name)
        return log_file.tail(Path(path), tail_lines)

    def changes(self, after: int, timeout_s: float) -> list[InstanceChange]:
        """The changes after a cursor, at most a hundred at a time."""
        answer = self._client.call("changes", timeout_s=timeout_s + _ANSWER_MARGIN_S, after=after, wait_s=timeout_s)
        return [
            InstanceChange(
                change["cursor"], _service_of(change["service"]), _instance_of(change["instance"]), change["log_tail"]
            )
            for change in answer
        ]

    def _load(self) -> Counter[str]:
        instances = (instance for service in self.services() for instance in service.instances)
        return Counter(instance.node for instance in instances if instance.state in _ACTIVE)

    def _process(self, spec: ServiceSpec, index: int, node: str) -> ProcessSpec:
        instance = f"{spec.name}.{index}"
        directory = self._settings.home / "services" / instance
        return ProcessSpec(
            id=instance,
            command=self._command(spec),
            directory=str(directory),
            log_file=str(self._settings.home / "orchestrator" / "logs" / f"{instance}.log"),
            environment={
                "PYTHONUNBUFFERED": "1",
                **self._environment,
                SERVICE_FILE: str(directory / "service.json"),
            },
            files={"service.json": json.dumps(spec.description(index, node), indent=1)},
            restart=RestartPolicy.ON_FAILURE,
            max_restarts=spec.max_restarts,
            group=spec.name,
            node=node,
            limits=spec.resources,
            grace_s=SERVICE_GRACE_S,
        )


def _service_of(document: dict[str, Any]) -> Service:
    return Service(
        name=document["name"],
        app=App(document["user"], document["app"]),
        role=Role(document["role"]),
        project_id=document["project_id"],
        instances=tuple(_instance_of(instance) for instance in document["instances"]),
    )


def _instance_of(document: dict[str, Any]) -> Instance:
    return Instance(
        id=document["id"],
        node=document["node"],
        state=InstanceState(document["state"]),
        restarts=document["restarts"],
        reason=document["reason"],
        exit_code=document["exit_code"],
    )
