"""The Docker Engine as the orchestrator needs it. No type and no exception of the docker SDK leaves this module."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import docker
import requests
import urllib3
from docker.errors import APIError, DockerException, NotFound
from docker.types import LogConfig, Mount

from flops.adapters.docker_engine.container import HOME, LABEL, USER_ID, read_container, read_event
from flops.adapters.docker_engine.files import archive
from flops.errors import OrchestratorUnavailableError
from flops.settings import UNIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flops.adapters.docker_engine.container import Container, ContainerEvent, ContainerSpec

TIMEOUT_S: Final = 60
MIB: Final = 1024 * 1024
LEAST_MEMORY_MB: Final = 6  # the engine refuses less
MAX_PROCESSES: Final = 512
BROKER_ALIAS: Final = "host.docker.internal"
_EVENTS: Final = ("start", "kill", "die", "oom", "destroy")
_GONE: Final = (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError)


class EngineRefusedError(Exception):
    """The engine answers, but will not do what it was asked; the message is its reason."""


class MissingError(EngineRefusedError):
    """What the engine was asked about is not there."""


class Engine:
    """One engine, seen by one installation: whatever has another installation's label does not exist for it.

    Any thread may call. Every method raises OrchestratorUnavailableError when the engine does not answer, or fails.
    """

    def __init__(self, url: str, installation: str) -> None:
        self._url, self._installation = url, installation
        self._label = f"{LABEL}installation={installation}"
        self._connecting, self._making_network = threading.Lock(), threading.Lock()
        self._connected: Any = None
        self._stream: Any = None

    def close(self) -> None:
        """End the stream of events and every connection."""
        with self._connecting:
            if self._stream is not None:
                self._stream.close()
            if self._connected is not None:
                self._connected.close()

    @property
    def network(self) -> str:
        """The name of the network of all containers."""
        return f"flops-{self._installation}"

    def name_of(self, instance: str) -> str:
        """The name of an instance's container, and of its volume."""
        return f"flops-{self._installation}-{instance}"

    def ping(self) -> None:
        """Return if the engine answers."""
        with self._answered():
            self._api().ping()

    def has_image(self, image: str) -> bool:
        """Whether an image can be run without pulling it."""
        with self._answered():
            try:
                self._api().inspect_image(image)
            except NotFound:
                return False
            return True

    # --- one container

    def inspect(self, instance: str) -> Container | None:
        """The container of an instance, if there is one."""
        with self._answered():
            try:
                return read_container(self._api().inspect_container(self.name_of(instance)))
            except NotFound:
                return None

    def create(self, spec: ContainerSpec) -> None:
        """Create the container of an instance unless it is there.

        Raises:
            EngineRefusedError: with the engine's reason.
        """
        gateway = self._ensure_network()
        name = self.name_of(spec.instance)
        with self._explained():
            api = self._api()
            host_config = api.create_host_config(
                mounts=[Mount(HOME, name, type="volume", labels=self._labels())],
                network_mode=self.network,
                extra_hosts={BROKER_ALIAS: gateway},
                init=True,
                read_only=True,
                tmpfs={"/tmp": "mode=1777"},  # noqa: S108  the container's own
                cap_drop=["ALL"],
                security_opt=["no-new-privileges:true"],
                pids_limit=MAX_PROCESSES,
                log_config=LogConfig(type="json-file", config={"max-size": "5m", "max-file": "2"}),
                **self._limits(spec),
            )
            try:
                api.create_container(
                    spec.image,
                    list(spec.command) or None,
                    name=name,
                    user=f"{USER_ID}:{USER_ID}",
                    environment=dict(spec.environment),
                    labels={**spec.all_labels(), **self._labels()},
                    host_config=host_config,
                )
            except APIError as error:
                if error.status_code != requests.codes.conflict:
                    raise

    def start(self, spec: ContainerSpec, files: Mapping[str, str]) -> Container:
        """Start a container with its files in place, unless it runs.

        Raises:
            MissingError: it was removed.
            EngineRefusedError: with the engine's reason.
        """
        name = self.name_of(spec.instance)
        with self._explained():
            self._api().put_archive(name, HOME, archive(spec.directory.removeprefix(f"{HOME}/"), files))
            self._api().start(name)
            return read_container(self._api().inspect_container(name))

    def stop(self, instance: str, grace_s: int) -> None:
        """End a container: SIGTERM, then, after its grace, SIGKILL. Idempotent."""
        with self._if_there():
            self._api().stop(self.name_of(instance), timeout=grace_s)

    def kill(self, instance: str) -> None:
        """Kill whatever runs in a container."""
        with self._if_there():
            self._api().kill(self.name_of(instance), "SIGKILL")

    def remove(self, instance: str) -> None:
        """Remove a container, whether or not it runs; its volume stays. Idempotent."""
        with self._if_there():
            self._api().remove_container(self.name_of(instance), force=True)

    def remove_volume(self, instance: str) -> None:
        """Remove the volume of an instance that has no container any more. Idempotent."""
        with self._if_there():
            self._api().remove_volume(self.name_of(instance))

    def logs(self, instance: str, tail_lines: int) -> str:
        """The end of a container's output; empty if there is no container, or one that is just being removed."""
        output: bytes = b""
        with self._if_there():
            output = self._api().logs(self.name_of(instance), tail=tail_lines)
        return output.decode("utf-8", "replace")

    # --- all of them

    def instances(self) -> set[str]:
        """The instances that have a container."""
        with self._answered():
            found = self._api().containers(all=True, filters={"label": self._label})
            return {container["Labels"][f"{LABEL}instance"] for container in found}

    def remembered_events(self, until: int) -> list[ContainerEvent]:
        """What the engine still knows of the past (in seconds since the epoch): the last 256 events of its own life."""
        with self._answered():
            events = self._events(since=1, until=until)
            return [read_event(event) for event in events]

    def remove_network(self) -> None:
        """Remove the network, if no container is in it."""
        with self._if_there():
            self._api().remove_network(self.network)

    @contextmanager
    def events(self, since: int) -> Iterator[Iterator[ContainerEvent]]:
        """What happens from now on, until the engine ends or the stream is closed."""
        with self._answered():
            self._stream = self._events(since=since)
            try:
                yield (read_event(event) for event in self._stream)
            finally:
                self._stream.close()

    def _events(self, **times: int) -> Any:  # noqa: ANN401  the SDK has no types
        filters = {"type": "container", "label": self._label, "event": list(_EVENTS)}
        return self._api().events(decode=True, filters=filters, **times)

    def _ensure_network(self) -> str:
        """Make the network unless it is there; returns the host's address in it."""
        with self._making_network, self._explained():
            try:
                found = self._api().inspect_network(self.network)
            except NotFound:
                options = {"com.docker.network.bridge.enable_icc": "false"}
                self._api().create_network(
                    self.network, driver="bridge", options=options, labels=self._labels(), check_duplicate=True
                )
                found = self._api().inspect_network(self.network)
            gateway: str = found["IPAM"]["Config"][0]["Gateway"]
            return gateway

    def _limits(self, spec: ContainerSpec) -> dict[str, Any]:
        limits: dict[str, Any] = {}
        if spec.limits.memory_mb:
            memory_bytes = max(spec.limits.memory_mb, LEAST_MEMORY_MB) * MIB
            limits |= {"mem_limit": memory_bytes, "memswap_limit": memory_bytes}
        if 0 < spec.limits.vcpus < self._api().info()["NCPU"]:
            limits["nano_cpus"] = max(int(spec.limits.vcpus * 1e9), 10_000_000)
        return limits

    def _labels(self) -> dict[str, str]:
        return {f"{LABEL}installation": self._installation}

    def _api(self) -> Any:  # noqa: ANN401  the SDK has no types
        # The SDK would explain at length why it cannot connect, and leave a socket to the garbage collector.
        with socket.socket(socket.AF_UNIX) as knocking:
            knocking.connect(self._url.removeprefix(UNIX))
        with self._connecting:
            if self._connected is None:
                self._connected = docker.APIClient(base_url=self._url, version="auto", timeout=TIMEOUT_S)
            return self._connected

    @contextmanager
    def _if_there(self) -> Iterator[None]:
        """Let what is missing, or has ended, be no error."""
        with self._answered():
            try:
                yield
            except APIError as error:
                if error.status_code not in (requests.codes.not_found, requests.codes.conflict):
                    raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """For what an engine may refuse for good reasons."""
        with self._answered():
            try:
                yield
            except NotFound as error:
                raise MissingError(_reason(error)) from error
            except APIError as error:
                raise EngineRefusedError(_reason(error)) from error

    @contextmanager
    def _answered(self) -> Iterator[None]:
        try:
            yield
        except (DockerException, *_GONE) as error:
            raise OrchestratorUnavailableError(self._shown, _reason(error)) from error

    @property
    def _shown(self) -> str:
        return f"Docker Engine at {self._url}"


def _reason(error: Exception) -> str:
    text = error.explanation if isinstance(error, APIError) and error.explanation else str(error)
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror.lower()
    return str(text).strip().rstrip(".").splitlines()[0] if str(text).strip() else type(error).__name__
