"""The daemon for local processes as a double: it speaks the daemon's protocol, so the real adapter deploys through it.

Observers run as the real processes that they are; every other service is played by the cast.
"""

from __future__ import annotations

import shutil
import signal
import socketserver
import subprocess
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flops.adapters.local_processes import protocol
from flops.adapters.local_processes.environment import HOME_MARKER, INSTANCE_MARKER
from flops.atomic_file import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.chaos.cast import Cast

PROTOCOL_ERROR: Final = {"code": "orchestrator.unavailable"}
STOP_S: Final = 10.0
Json = dict[str, Any]


@dataclass
class _Deployed:
    """A service: its record, what its instances are to be, how they are, and the processes of those that are real."""

    record: Json
    specs: list[Json]
    statuses: dict[str, Json]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    is_leaving: bool = False

    @property
    def document(self) -> Json:
        return {**self.record, "instances": [dict(status) for status in self.statuses.values()]}


class ScriptedOrchestrator:
    """Answers the calls of the real adapter for ``home``; counts what was deployed, by the service's name."""

    def __init__(
        self, home: Path, cast: Cast, environment: Mapping[str, str], *, real_roles: frozenset[str] | None = None
    ) -> None:
        self.deployments: Counter[str] = Counter()
        self._home, self._cast, self._environment = home, cast, dict(environment)
        self._real_roles = frozenset({"observer"}) if real_roles is None else real_roles
        self._changed = threading.Condition(threading.RLock())
        self._apps: set[tuple[str, str]] = set()
        self._services: dict[str, _Deployed] = {}
        self._changes: list[Json] = []
        self._logs: dict[str, str] = {}
        self._directories: dict[str, set[Path]] = {}
        cast.ended = self.complete
        self._server = self._serve()

    def close(self) -> None:
        """Stop answering, and stop what runs."""
        self._server.shutdown()
        self._server.server_close()
        for name in list(self._services):
            self.undeploy(name)

    def complete(self, instance: str) -> None:
        """Let a played instance end by itself, successfully."""
        self._end(instance, "COMPLETED", "")

    def fail(self, instance: str, reason: str) -> None:
        """Let a played instance crash for good."""
        self._end(instance, "FAILED", reason)

    def process(self, instance: str) -> subprocess.Popen[bytes]:
        """The process of a real instance."""
        with self._changed:
            return self._services[instance.rpartition(".")[0]].processes[instance]

    def running(self, project_id: str) -> list[str]:
        """The services of a project that are deployed."""
        with self._changed:
            return [name for name, service in self._services.items() if service.record["project_id"] == project_id]

    # --- the daemon's calls

    def create_app(self, user: str, name: str) -> None:
        with self._changed:
            self._apps.add((user, name))

    def delete_app(self, user: str, name: str) -> None:
        with self._changed:
            records = [deployed.record for deployed in self._services.values()]
        for record in records:
            if (record["user"], record["app"]) == (user, name):
                self.undeploy(record["name"])
        with self._changed:
            self._apps.discard((user, name))

    def deploy(self, service: Json, processes: list[Json]) -> None:
        with self._changed:
            if service["name"] in self._services:
                return
            statuses = {spec["id"]: _status(spec) for spec in processes}
            deployed = self._services[service["name"]] = _Deployed(service, processes, statuses)
            self.deployments[service["name"]] += 1
            for spec in processes:
                self._change(deployed, spec["id"])
                self._run(deployed, spec)

    def undeploy(self, name: str) -> None:
        with self._changed:
            deployed = self._services.get(name)
            if deployed is None:
                return
            deployed.is_leaving = True
        for process in deployed.processes.values():
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
        with self._changed:
            for instance in deployed.statuses:
                self._cast.leave(instance)
                self._set(deployed, instance, "REMOVED")
            self._services.pop(name, None)

    def restart(self, name: str) -> None:
        with self._changed:
            deployed = self._services.get(name.rpartition(".")[0])
            process = deployed.processes.get(name) if deployed is not None else None
        if process is not None:
            process.kill()

    def forget(self, name: str) -> None:
        self.undeploy(name)
        for directory in self._directories.pop(name, ()):
            shutil.rmtree(directory, ignore_errors=True)

    def apps(self) -> list[list[str]]:
        with self._changed:
            return sorted([user, name] for user, name in self._apps)

    def services(self, project_id: str = "") -> list[Json]:
        with self._changed:
            deployed = [item for item in self._services.values() if project_id in {"", item.record["project_id"]}]
            return [item.document for item in deployed]

    def log_of(self, name: str) -> str | None:
        return self._logs.get(name)

    def changes(self, after: int, wait_s: float) -> list[Json]:
        with self._changed:
            self._changed.wait_for(lambda: len(self._changes) > after, wait_s)
            return self._changes[after : after + 100]

    # --- instances

    def _run(self, deployed: _Deployed, spec: Json) -> None:
        role = deployed.record["role"]
        self._set(deployed, spec["id"], "RUNNING")
        if role not in self._real_roles:
            self._cast.play(role, protocol.decode(spec["files"]["service.json"].encode()))
            return
        directory = Path(spec["directory"])
        directory.mkdir(parents=True, exist_ok=True)
        self._directories.setdefault(deployed.record["name"], set()).add(directory)
        for file, text in spec["files"].items():
            write_atomically(directory / file, text)
        self._logs[spec["id"]] = spec["log_file"]
        log = Path(spec["log_file"])
        log.parent.mkdir(parents=True, exist_ok=True)
        markers = {HOME_MARKER: str(self._home), INSTANCE_MARKER: spec["id"]}
        with log.open("ab") as output:
            process = subprocess.Popen(
                spec["command"],
                cwd=directory,
                env={**self._environment, **spec["environment"], **markers},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        deployed.processes[spec["id"]] = process
        deployed.statuses[spec["id"]]["pid"] = process.pid
        threading.Thread(target=self._await_exit, args=(deployed, spec, process), daemon=True).start()

    def _await_exit(self, deployed: _Deployed, spec: Json, process: subprocess.Popen[bytes]) -> None:
        exit_code = process.wait()
        with self._changed:
            if deployed.is_leaving:
                return
            if exit_code == 0:
                self._set(deployed, spec["id"], "COMPLETED")
                return
            reason = f"killed by {signal.Signals(-exit_code).name}" if exit_code < 0 else f"exit code {exit_code}"
            deployed.statuses[spec["id"]]["restarts"] += 1
            self._set(deployed, spec["id"], "SCHEDULED", reason)
            self._run(deployed, spec)

    def _end(self, instance: str, state: str, reason: str) -> None:
        with self._changed:
            deployed = self._services.get(instance.rpartition(".")[0])
            if deployed is not None and deployed.statuses[instance]["state"] == "RUNNING":
                self._cast.leave(instance)
                self._set(deployed, instance, state, reason)

    def _set(self, deployed: _Deployed, instance: str, state: str, reason: str = "") -> None:
        deployed.statuses[instance] |= {"state": state, "reason": reason}
        self._change(deployed, instance)

    def _change(self, deployed: _Deployed, instance: str) -> None:
        status = dict(deployed.statuses[instance])
        change = {"cursor": len(self._changes) + 1, "service": deployed.document, "instance": status, "log_tail": ""}
        self._changes.append(change)
        self._changed.notify_all()

    # --- the socket

    def _serve(self) -> socketserver.ThreadingUnixStreamServer:
        orchestrator = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                line = self.rfile.readline()
                if line:
                    with suppress(ConnectionError):  # a manager that was killed does not want its answer any more
                        self.wfile.write(protocol.encode(orchestrator.answer(line)))

        path, address = protocol.socket_path(self._home), protocol.address_file(self._home)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        address.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        server = _Server(str(path), Handler)
        write_atomically(address, str(path))
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return server

    def answer(self, line: bytes) -> Json:
        """The answer to one call, as the daemon gives it."""
        request = protocol.decode(line)
        call = getattr(self, request["call"], None)
        if call is None or request["call"].startswith("_"):
            return {"error": {**PROTOCOL_ERROR, "facts": ["scripted", f"it does not know {request['call']}"]}}
        return {"result": call(**request["arguments"])}


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 256


def _status(spec: Json) -> Json:
    return {
        "id": spec["id"],
        "group": spec["group"],
        "node": spec["node"],
        "state": "SCHEDULED",
        "restarts": 0,
        "reason": "",
        "exit_code": None,
        "pid": 0,
    }


def remove_socket(home: Path) -> None:
    """Remove the socket, also where its path was too long to lie below ``home``."""
    path = protocol.socket_path(home)
    path.unlink(missing_ok=True)
    if path.parent != home / "run":
        shutil.rmtree(path.parent, ignore_errors=True)
