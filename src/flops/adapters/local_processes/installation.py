"""What the daemon does when it is called: apps, services and the processes of FLOps itself."""

from __future__ import annotations

import asyncio
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from flops.adapters.local_processes import log_file
from flops.adapters.local_processes.process import ProcessSpec, ProcessStatus, ServiceRecord
from flops.adapters.local_processes.supervisor import Supervised, Supervisor, stop_all
from flops.errors import DeploymentRefusedError, StoreUnavailableError
from flops.project.deployment import InstanceState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flops.adapters.local_processes.state import Change, StateFile

_log = logging.getLogger(__name__)

Json = dict[str, Any]


class Installation:
    """Everything that runs under one home. Each public method is one call; its arguments and its answer are JSON."""

    def __init__(self, home: Path, state: StateFile, inherited: Mapping[str, str]) -> None:
        self._state = state
        self.supervisor = Supervisor(home, inherited, self._report)
        remembered = state.load()
        self._apps, self._services = remembered.apps, remembered.services
        self._processes = {spec.id: Supervised(spec, status) for spec, status in remembered.processes}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._changed = asyncio.Event()

    # --- the processes of FLOps itself

    async def ensure(self, spec: Json) -> Json:
        """Keep a system process running as specified; one with another specification is stopped first."""
        wanted = ProcessSpec.from_json(spec)
        async with self._lock(f"process {wanted.id}"):
            process = self._processes.get(wanted.id)
            if process is None or process.spec != wanted:
                outdated, process = process, Supervised(wanted, ProcessStatus(wanted.id, node=wanted.node))
                self._state.put_process(process.spec, process.status)
                if outdated is not None:
                    await self.supervisor.stop(outdated)
                self._processes[wanted.id] = process
                self.supervisor.start(process)
            await process.attempted.wait()
            return process.status.to_json()

    async def stop(self, name: str) -> None:
        """Stop a system process and forget it."""
        async with self._lock(f"process {name}"):
            process = self._processes.get(name)
            if process is None or not process.is_system:
                return
            await self.supervisor.stop(process)
            self._state.forget_processes([name])
            del self._processes[name]

    async def processes(self) -> list[Json]:
        """Every process, in the order in which it was first asked for."""
        return [process.status.to_json() for process in self._processes.values()]

    async def resume(self) -> None:
        """Start again the services that ran when FLOps was stopped."""
        if self._state.is_suspended():
            self._state.set_suspended(suspended=False)
            self._start_again(self._instances())

    # --- apps and services

    async def create_app(self, user: str, name: str) -> None:
        """Remember an app."""
        async with self._lock(f"app {user} {name}"):
            if (user, name) not in self._apps:
                self._state.add_app(user, name)
                self._apps.add((user, name))

    async def delete_app(self, user: str, name: str) -> None:
        """Undeploy all services of an app, remove the directories of its instances, and forget it."""
        async with self._lock(f"app {user} {name}"):
            known = (user, name) in self._apps
            self._apps.discard((user, name))
            try:
                services = [record for record in self._services.values() if (record.user, record.app) == (user, name)]
                await asyncio.gather(*(self.undeploy(record.name) for record in services))
                traces = self._state.traces_of(user, name)
                self._state.forget_app(user, name)
            except BaseException:
                if known:
                    self._apps.add((user, name))
                raise
            for trace in traces:
                shutil.rmtree(trace.directory, ignore_errors=True)

    async def deploy(self, service: Json, processes: list[Json]) -> None:
        """Remember a service and start its processes; does nothing when there is one of that name."""
        record = ServiceRecord(**service)
        async with self._lock(f"service {record.name}"):
            if record.name in self._services:
                return
            if (record.user, record.app) not in self._apps:
                raise DeploymentRefusedError(record.name, f"there is no app {record.app!r} of user {record.user!r}")
            specs = [ProcessSpec.from_json(document) for document in processes]
            added = [Supervised(spec, ProcessStatus(spec.id, spec.group, spec.node)) for spec in specs]
            changes = [_change(record, added, process, "") for process in added]
            try:
                self._state.add_service(record, [(process.spec, process.status) for process in added], changes)
            except StoreUnavailableError as error:
                raise DeploymentRefusedError(record.name, f"it cannot be recorded: {error.reason}") from error
            self._services[record.name] = record
            self._processes.update({process.spec.id: process for process in added})
            self._wake()
            for process in added:
                self.supervisor.start(process)

    async def undeploy(self, name: str) -> None:
        """Stop all processes of a service and forget it."""
        async with self._lock(f"service {name}"):
            if name not in self._services:
                return
            record, own = self._services[name], self._processes_of(name)
            await stop_all(self.supervisor, own)
            for process in own:
                process.status.state = InstanceState.REMOVED
            self._state.forget_service(name, [_change(record, own, process, "") for process in own])
            del self._services[name]
            for process in own:
                del self._processes[process.spec.id]
            self._wake()

    async def restart(self, name: str) -> None:
        """Kill an instance; what has to happen then is the same as after a crash."""
        process = self._processes.get(name)
        if process is not None and not process.is_system:
            self.supervisor.kill(process)

    async def forget(self, name: str) -> None:
        """Undeploy a service and remove the logs and the directories of its instances."""
        await self.undeploy(name)
        for trace in self._state.traces_of_service(name):
            log_file.remove(Path(trace.log_file))
            shutil.rmtree(trace.directory, ignore_errors=True)
        self._state.forget_traces(name)

    async def apps(self) -> list[list[str]]:
        """Every app as user and name."""
        return sorted([user, name] for user, name in self._apps)

    async def services(self, project_id: str = "") -> list[Json]:
        """Every service, or those of one project, with their instances."""
        wanted = [record for record in self._services.values() if project_id in {"", record.project_id}]
        return [_service(record, self._processes_of(record.name)) for record in wanted]

    async def log_of(self, name: str) -> str | None:
        """The log file of an instance or of a service's first instance."""
        process = self._processes.get(name)
        return process.spec.log_file if process is not None else self._state.log_of(name)

    async def changes(self, after: int, wait_s: float) -> list[Change]:
        """The changes after a cursor; waits for the first."""
        deadline = asyncio.get_running_loop().time() + wait_s
        while True:
            changed = self._changed
            found = self._state.changes(after)
            left_s = deadline - asyncio.get_running_loop().time()
            if found or left_s <= 0:
                return found
            try:
                await asyncio.wait_for(changed.wait(), left_s)
            except TimeoutError:
                return []

    # --- the daemon's own life

    def start_remembered(self) -> None:
        """Start everything that should be running after the daemon was killed; after a stop, nothing."""
        self._start_again([process for process in self._processes.values() if process.is_system])
        if not self._state.is_suspended():
            self._start_again(self._instances())

    async def stop_everything(self) -> None:
        """Stop the services, then the system processes, the one that was asked for last first."""
        instances = self._instances()
        system = [process for process in self._processes.values() if process.is_system]
        try:
            self._state.set_suspended(suspended=True)
        except StoreUnavailableError as error:
            _log.warning("the services will start again by themselves: %s", error)
        await stop_all(self.supervisor, instances)
        for process in instances:
            process.status.state, process.status.reason = InstanceState.SCHEDULED, "FLOps was stopped"
            self._report(process, "")
        for process in reversed(system):
            await self.supervisor.stop(process)
        self._state.forget_processes(process.spec.id for process in system)

    def _start_again(self, processes: list[Supervised]) -> None:
        for process in processes:
            process.status.pid = 0
            if process.status.state is InstanceState.RUNNING:
                process.status.state, process.status.reason = InstanceState.SCHEDULED, "the orchestrator was restarted"
                self._report(process, "")
            self.supervisor.start(process)

    def _instances(self) -> list[Supervised]:
        """The instances that run or are about to."""
        active = {InstanceState.SCHEDULED, InstanceState.RUNNING}
        return [p for p in self._processes.values() if not p.is_system and p.status.state in active]

    def _processes_of(self, service: str) -> list[Supervised]:
        return [process for process in self._processes.values() if process.spec.group == service]

    def _report(self, process: Supervised, log_tail: str) -> None:
        record = self._services.get(process.spec.group)
        change = None if record is None else _change(record, self._processes_of(record.name), process, log_tail)
        self._state.record(process.status, change)
        _log.info("%s: %s %s", process.spec.id, process.status.state, process.status.reason)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _lock(self, name: str) -> asyncio.Lock:
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        return lock


def _service(record: ServiceRecord, processes: list[Supervised]) -> Json:
    return {**record.to_json(), "instances": [process.status.to_json() for process in processes]}


def _change(record: ServiceRecord, processes: list[Supervised], process: Supervised, log_tail: str) -> Change:
    return {"service": _service(record, processes), "instance": process.status.to_json(), "log_tail": log_tail}
