"""Doubles of what the manager needs from outside, each as simple as its port allows."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from flops.errors import NotFoundError, OrchestratorUnavailableError, RepositoryUnavailableError
from flops.ports import InstanceChange
from flops.project.deployment import App, Instance, InstanceState, Node, Service, ServiceSpec

if TYPE_CHECKING:
    from pathlib import Path

COMMIT = "c" * 40


class FakeOrchestrator:
    """Remembers what was deployed; ``crash`` and ``complete`` make changes, ``outages`` makes calls fail."""

    def __init__(self) -> None:
        self.deployed: dict[str, ServiceSpec] = {}
        self.deployments: list[str] = []
        self.restarted: list[str] = []
        self.outages = 0
        self._apps: list[App] = []
        self._states: dict[str, InstanceState] = {}
        self._changes: list[InstanceChange] = []
        self._changed = threading.Condition()

    def nodes(self) -> list[Node]:
        return [Node("n1", frozenset({"learner", "image-builder"}))]

    def create_app(self, app: App) -> None:
        self._fail_during_outage()
        if app not in self._apps:
            self._apps.append(app)

    def delete_app(self, app: App) -> None:
        self._apps = [other for other in self._apps if other != app]
        for name in [name for name, spec in self.deployed.items() if spec.app == app]:
            del self.deployed[name]

    def deploy(self, spec: ServiceSpec) -> None:
        self._fail_during_outage()
        if spec.name not in self.deployed:
            self.deployed[spec.name] = spec
            self._states.pop(spec.name, None)
            self.deployments.append(spec.name)

    def undeploy(self, service_name: str) -> None:
        self.deployed.pop(service_name, None)

    def restart(self, instance_id: str) -> None:
        self.restarted.append(instance_id)

    def forget(self, service_name: str) -> None:
        self.undeploy(service_name)

    def apps(self) -> list[App]:
        return list(self._apps)

    def services(self, app: App | None = None, *, project_id: str = "") -> list[Service]:
        running = InstanceState.RUNNING
        specs = [spec for spec in self.deployed.values() if project_id in {"", spec.project_id}]
        found = [spec for spec in specs if app in {None, spec.app}]
        return [_service(spec, self._states.get(spec.name, running)) for spec in found]

    def logs(self, name: str, *, tail_lines: int) -> str:
        if name not in self.deployed:
            raise NotFoundError("service or instance", name)
        return f"the last {tail_lines} lines of {name}\n"

    def changes(self, after: int, timeout_s: float) -> list[InstanceChange]:
        with self._changed:
            self._changed.wait_for(lambda: len(self._changes) > after, min(timeout_s, 0.2))
            return self._changes[after:]

    def change(self, name: str, state: InstanceState, *, reason: str = "", index: int = 0, restarts: int = 0) -> None:
        """Let an instance change its state."""
        self.state_of(name, state)
        self.repeat(name, state, reason=reason, index=index, restarts=restarts)

    def state_of(self, name: str, state: InstanceState) -> None:
        """Let a service's instances be in a state, without telling of it."""
        self._states[name] = state

    def repeat(self, name: str, state: InstanceState, *, reason: str = "", index: int = 0, restarts: int = 0) -> None:
        """Tell of a change, which need not be how things are by now."""
        service = _service(self.deployed[name], state)
        instance = Instance(f"{name}.{index}", "n1", state, restarts=restarts, reason=reason)
        with self._changed:
            self._changes.append(InstanceChange(len(self._changes) + 1, service, instance, log_tail="the log's end"))
            self._changed.notify_all()

    def lose_changes(self) -> None:
        """Lose the log of changes, as with the disk it is on."""
        with self._changed:
            self._changes.clear()

    def _fail_during_outage(self) -> None:
        if self.outages:
            self.outages -= 1
            raise OrchestratorUnavailableError("fake", "it is away")


class FakeRegistry:
    """Images by name."""

    def __init__(self, *images: str) -> None:
        self.present = set(images)

    def exists(self, image: str) -> bool:
        return image in self.present

    def delete(self, image: str) -> None:
        self.present.discard(image)

    def images(self) -> list[str]:
        return sorted(self.present)


class FakeRepositories:
    """Every repository is at the same commit, but one whose URL holds ``missing``; ``failures`` come first.

    One whose URL holds ``hanging`` keeps silent until it ``may_answer``.
    """

    def __init__(self) -> None:
        self.failures: list[Exception] = []
        self.may_answer = threading.Event()
        self.hanging = 0

    def resolve(self, url: str) -> str:
        if self.failures:
            raise self.failures.pop()
        if "hanging" in url:
            self.hanging += 1
            self.may_answer.wait(60)
        if "missing" in url:
            raise RepositoryUnavailableError(url, "it does not exist", remedy="Check the URL.")
        return COMMIT

    def clone(self, url: str, commit: str, into: Path) -> None:
        raise AssertionError(url, commit, into)


def _service(spec: ServiceSpec, state: InstanceState) -> Service:
    instances = tuple(
        Instance(f"{spec.name}.{index}", placement.node or "n1", state)
        for index, placement in enumerate(spec.placements)
    )
    return Service(spec.name, spec.app, spec.role, spec.project_id, instances)
