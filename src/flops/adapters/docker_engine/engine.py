"""Containers of a Docker Engine as the orchestrator needs them."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import requests
from docker.errors import APIError, NotFound
from docker.types import DriverConfig, LogConfig, Mount

from flops.adapters.docker_engine.connection import EngineConnection, EngineRefusedError
from flops.adapters.docker_engine.container import (
    BUILD_DIRECTORY,
    HOME,
    LABEL,
    USER_ID,
    read_container,
    read_event,
)
from flops.adapters.docker_engine.files import archive
from flops.endpoint import LOOPBACK_HOST

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flops.adapters.docker_engine.container import Container, ContainerEvent, ContainerSpec
    from flops.adapters.docker_engine.images import Images

log = logging.getLogger(__name__)

MIB: Final = 1024 * 1024
LEAST_MEMORY_MB: Final = 6  # the engine refuses less
MAX_PROCESSES: Final = 512
NO_QUOTA: Final = "no quota support"
_EVENTS: Final = ("start", "kill", "die", "oom", "destroy")
_LOOPBACK: Final = "127.0.0.1"
_EVERYWHERE: Final = "0.0.0.0"  # noqa: S104  only where the user wants it


class Engine:
    """One engine, seen by one installation: whatever has another installation's label does not exist for it.

    Any thread may call. Every method raises OrchestratorUnavailableError when the engine does not answer, or fails.
    """

    def __init__(
        self,
        connection: EngineConnection,
        images: Images,
        installation: str,
        *,
        network: str = "",
        is_advertised: bool = False,
    ) -> None:
        self.images = images
        self._connection, self._installation = connection, installation
        self._given_network, self._is_advertised = network, is_advertised
        self._label = f"{LABEL}installation={installation}"
        self._making_network = threading.Lock()
        self._stream: Any = None

    def hang_up(self) -> None:
        """End the stream of events, in whatever thread it is heard. Idempotent."""
        stream = self._stream
        if stream is not None:
            with suppress(OSError):  # it has ended already
                stream.close()

    def close(self) -> None:
        """End every connection."""
        self._connection.close()

    @property
    def network(self) -> str:
        """The name of the network of all containers."""
        return self._given_network or f"flops-{self._installation}"

    def name_of(self, instance: str) -> str:
        """The name of an instance's container, and of its volume."""
        return f"flops-{self._installation}-{instance}"

    def ping(self) -> None:
        """Return if the engine answers."""
        with self._connection.answered():
            self._connection.api().ping()

    # --- one container

    def inspect(self, instance: str) -> Container | None:
        """The container of an instance, if there is one."""
        with self._connection.answered():
            try:
                return read_container(self._connection.api().inspect_container(self.name_of(instance)))
            except NotFound:
                return None

    def create(self, spec: ContainerSpec) -> None:
        """Create the container of an instance unless it is there.

        Raises:
            EngineRefusedError: with the engine's reason.
        """
        gateway = self._ensure_network()
        try:
            self._create(spec, gateway, spec.limits.storage_mb)
        except EngineRefusedError as error:
            if not spec.limits.storage_mb or NO_QUOTA not in str(error):
                raise
            log.warning(
                "the storage of %s is not limited to %d MB: volumes of this Docker Engine cannot be, as they can on XFS"
                " mounted with 'pquota'",
                spec.instance,
                spec.limits.storage_mb,
            )
            self._create(spec, gateway, 0)

    def _create(self, spec: ContainerSpec, gateway: str, storage_mb: int) -> None:
        with self._connection.explained():
            api = self._connection.api()
            host_config = api.create_host_config(
                mounts=self._mounts(spec, storage_mb),
                network_mode=self.network,
                port_bindings=self._published(spec, gateway),
                extra_hosts={LOOPBACK_HOST: gateway},
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
                    name=self.name_of(spec.instance),
                    user=f"{USER_ID}:{USER_ID}",
                    environment=dict(spec.environment),
                    ports=[spec.port] if spec.port else None,
                    labels={**spec.all_labels(), **self._labels()},
                    host_config=host_config,
                )
            except APIError as error:
                if error.status_code != requests.codes.conflict:
                    raise

    def start(self, spec: ContainerSpec, files: Mapping[str, str]) -> Container:
        """Start a container with its files (by their paths in its volume) in place, unless it runs.

        Raises:
            MissingError: it was removed.
            PortTakenError: something else listens at its port.
            EngineRefusedError: with the engine's reason.
        """
        name = self.name_of(spec.instance)
        with self._connection.explained():
            api = self._connection.api()
            api.put_archive(name, HOME, archive(files))
            api.start(name)
            return read_container(api.inspect_container(name))

    def stop(self, instance: str, grace_s: int) -> None:
        """End a container: SIGTERM, then, after its grace, SIGKILL. Idempotent."""
        with self._connection.if_there():
            self._connection.api().stop(self.name_of(instance), timeout=grace_s)

    def kill(self, instance: str) -> None:
        """Kill whatever runs in a container."""
        with self._connection.if_there():
            self._connection.api().kill(self.name_of(instance), "SIGKILL")

    def remove(self, instance: str) -> None:
        """Remove a container, whether or not it runs; its volume stays. Idempotent."""
        with self._connection.if_there():
            self._connection.api().remove_container(self.name_of(instance), force=True)

    def remove_volume(self, instance: str) -> None:
        """Remove the volume of an instance that has no container any more. Idempotent."""
        with self._connection.if_there():
            self._connection.api().remove_volume(self.name_of(instance))

    def logs(self, instance: str, tail_lines: int) -> str:
        """The end of a container's output; empty if there is no container, or one that is just being removed."""
        output: bytes = b""
        with self._connection.if_there():
            output = self._connection.api().logs(self.name_of(instance), tail=tail_lines)
        return output.decode("utf-8", "replace")

    # --- all of them

    def instances(self) -> set[str]:
        """The instances that have a container."""
        with self._connection.answered():
            found = self._connection.api().containers(all=True, filters={"label": self._label})
            return {container["Labels"][f"{LABEL}instance"] for container in found}

    def remembered_events(self, until: int) -> list[ContainerEvent]:
        """What the engine still knows of the past (in seconds since the epoch): the last 256 events of its own life."""
        with self._connection.answered():
            events = self._events(since=1, until=until)
            return [read_event(event) for event in events]

    def remove_network(self) -> None:
        """Remove the network, if it is FLOps' own and no container is in it."""
        if self._given_network:
            return
        with self._connection.if_there():
            self._connection.api().remove_network(self.network)

    @contextmanager
    def events(self, since: int) -> Iterator[Iterator[ContainerEvent]]:
        """What happens from now on, until the engine ends or the stream is closed."""
        with self._connection.answered():
            self._stream = self._events(since=since)
            try:
                yield (read_event(event) for event in self._stream)
            finally:
                self.hang_up()
                self._stream._response.close()  # noqa: SLF001  the SDK leaves it, and its socket, to the garbage collector
                self._stream = None

    def _events(self, **times: int) -> Any:  # noqa: ANN401  the SDK has no types
        filters = {"type": "container", "label": self._label, "event": list(_EVENTS)}
        return self._connection.api().events(decode=True, filters=filters, **times)

    def _ensure_network(self) -> str:
        """Make the network unless it is there; returns the host's address in it."""
        with self._making_network, self._connection.explained():
            try:
                found = self._connection.api().inspect_network(self.network)
            except NotFound:
                if self._given_network:
                    reason = f"there is no network {self.network!r}, which FLOPS_DOCKER_NETWORK names"
                    raise EngineRefusedError(reason) from None
                options = {"com.docker.network.bridge.enable_icc": "false"}
                self._connection.api().create_network(
                    self.network, driver="bridge", options=options, labels=self._labels(), check_duplicate=True
                )
                found = self._connection.api().inspect_network(self.network)
            gateway: str = found["IPAM"]["Config"][0]["Gateway"]
            return gateway

    def _mounts(self, spec: ContainerSpec, storage_mb: int) -> list[Mount]:
        """A container's own volume, and for builders the one that keeps what they can use again."""
        limit = DriverConfig("local", {"size": f"{storage_mb}m"}) if storage_mb else None
        name, labels = self.name_of(spec.instance), self._labels()
        mounts = [Mount(HOME, name, type="volume", labels=labels, driver_config=limit)]
        if spec.is_builder:
            mounts.append(Mount(BUILD_DIRECTORY, self.name_of("builds"), type="volume", labels=labels))
        return mounts

    def _published(self, spec: ContainerSpec, gateway: str) -> dict[int, list[tuple[str, int]]]:
        """On which addresses of the host a container is reached: those that its users and other containers know."""
        if not spec.port:
            return {}
        addresses = [_EVERYWHERE] if self._is_advertised and not spec.data_nodes else [_LOOPBACK, gateway]
        return {spec.port: [(address, spec.port) for address in addresses]}

    def _limits(self, spec: ContainerSpec) -> dict[str, Any]:
        limits: dict[str, Any] = {}
        if spec.limits.memory_mb:
            memory_bytes = max(spec.limits.memory_mb, LEAST_MEMORY_MB) * MIB
            limits |= {"mem_limit": memory_bytes, "memswap_limit": memory_bytes}
        if 0 < spec.limits.vcpus < self._connection.api().info()["NCPU"]:
            limits["nano_cpus"] = max(int(spec.limits.vcpus * 1e9), 10_000_000)
        return limits

    def _labels(self) -> dict[str, str]:
        return {f"{LABEL}installation": self._installation}
