"""A real swarm for tests: several Docker Engines, each in namespaces of its own, joined by a bridge.

A node can be cut off (its cable is pulled), its engine can be stopped or killed, and it can lose its power: everything
on it dies at once. Nothing of all this is left when the test run ends, even if that is killed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil
import pytest
from docker.errors import APIError
from docker.types import SwarmSpec
from tests.brokers import wait_until
from tests.servers.docker_engine import (
    PATH,
    READY_S,
    STOP_S,
    EngineProcess,
    import_busybox,
    what_is_not_installed,
    what_is_not_permitted,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

NETWORK: Final = "10.213.7"
SWITCH: Final = ("setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--fork", "--kill-child", "sleep", "infinity")
HEARTBEAT_S: Final = 1  # a node that misses three is down
DEADLINE_S: Final = 60.0
SECOND_NS: Final = 1_000_000_000


class Switch:
    """Where the cables of all nodes end."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(SWITCH)
        wait_until(lambda: bool(psutil.Process(self._holder.pid).children()), READY_S)
        self._target = psutil.Process(self._holder.pid).children()[0].pid
        wait_until(self._is_apart, READY_S)
        self.run("ip", "link", "add", "switch", "type", "bridge")
        self.run("ip", "link", "set", "switch", "up")

    def run(self, *command: str) -> None:
        """Run a command at the switch."""
        run_in(self._target, *command)

    def connect(self, cable: str, target: int) -> None:
        """Lay a cable to the namespaces of a process, where it is called ``eth0``."""
        with suppress(subprocess.CalledProcessError):  # it goes with the namespaces that it led to, but perhaps later
            self.run("ip", "link", "delete", cable)
        self.run("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", str(target))
        self.run("ip", "link", "set", cable, "master", "switch", "up")

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait(STOP_S)

    def _is_apart(self) -> bool:
        return Path(f"/proc/{self._target}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()


class SwarmNode(EngineProcess):
    """A machine of the swarm; ``number`` is the last part of its address."""

    def __init__(self, switch: Switch, number: int) -> None:
        super().__init__(DOCKER_SERVICE_PREFER_OFFLINE_IMAGE="1")
        self.number, self.name, self.address = number, f"node{number}", f"{NETWORK}.{number}"
        self._switch, self._cable = switch, f"cable{number}"

    def power_on(self) -> None:
        """Start the machine with the disk that it had."""
        if self._holder.poll() is not None:
            self.hold()
        shutil.rmtree(self.directory / "run", ignore_errors=True)
        self._switch.connect(self._cable, self.target)
        for command in (
            ("hostname", self.name),
            ("ip", "link", "set", "lo", "up"),
            ("ip", "address", "add", f"{self.address}/24", "dev", "eth0"),
            ("ip", "link", "set", "eth0", "up"),
        ):
            run_in(self.target, *command)
        self.start()

    def power_off(self) -> None:
        """Let everything on the machine die at once."""
        self._holder.kill()
        self._holder.wait(STOP_S)
        if self._dockerd is not None:
            self._dockerd.wait(STOP_S)
            self._dockerd = None

    @property
    def is_on(self) -> bool:
        """Whether it has power and its engine was not stopped."""
        return self._dockerd is not None

    def cut_off(self) -> None:
        """Pull the cable: what runs on the machine runs on."""
        self._switch.run("ip", "link", "set", self._cable, "down")

    def reconnect(self) -> None:
        """Plug the cable in again."""
        self._switch.run("ip", "link", "set", self._cable, "up")


class Swarm:
    """The first node is its manager."""

    def __init__(self, size: int) -> None:
        self._switch = Switch()
        self.nodes = [SwarmNode(self._switch, number) for number in range(1, size + 1)]

    @property
    def manager(self) -> SwarmNode:
        return self.nodes[0]

    def start(self, labels: Mapping[str, Mapping[str, str]]) -> None:
        """Start all nodes, and give them these labels."""
        for node in self.nodes:
            node.power_on()
            import_busybox(node)
        with self.manager.client() as api:
            spec = SwarmSpec(api._version, dispatcher_heartbeat_period=HEARTBEAT_S * SECOND_NS)
            api.init_swarm(self.manager.address, listen_addr=f"{self.manager.address}:2377", swarm_spec=spec)
            token = api.inspect_swarm()["JoinTokens"]["Worker"]
        for node in self.nodes[1:]:
            with node.client() as api:
                api.join_swarm([self.manager.address], token, f"{node.address}:2377", node.address)
        with self.manager.client() as api:
            for found in api.nodes():
                spec = {**found["Spec"], "Labels": dict(labels.get(found["Description"]["Hostname"], {}))}
                api.update_node(found["ID"], found["Version"]["Index"], spec)
        self.wait_until_ready()

    def set_availability(self, name: str, availability: str) -> None:
        """Let a node take tasks (``active``) or give them away (``drain``)."""
        with self.manager.client() as api:
            found = next(node for node in api.nodes() if node["Description"]["Hostname"] == name)
            api.update_node(found["ID"], found["Version"]["Index"], {**found["Spec"], "Availability": availability})

    def restore(self) -> None:
        """Repair whatever was done to the nodes."""
        for node in self.nodes:
            if not node.is_on:
                node.power_on()
            node.reconnect()
        self.wait_until_ready()
        for node in self.nodes:
            self.set_availability(node.name, "active")

    def wait_until_ready(self) -> None:
        """Wait until the manager has heard of every node."""
        wait_until(self._is_ready, DEADLINE_S, self.states)

    def _is_ready(self) -> bool:
        try:
            return set(self.states().values()) == {"ready"}
        except (APIError, OSError):  # the manager is still looking for its own leader
            return False

    def states(self) -> dict[str, str]:
        """How the manager finds each node: ``ready``, ``down``, ``unknown``."""
        with self.manager.client() as api:
            return {node["Description"]["Hostname"]: node["Status"]["State"] for node in api.nodes()}

    def close(self) -> None:
        for node in self.nodes:
            node.power_off()
            node.close()
        self._switch.close()


@contextmanager
def swarm(labels: Sequence[Mapping[str, str]]) -> Iterator[Swarm]:
    """A swarm of ``node1``, ``node2``, … with these labels, each with the image ``IMAGE``."""
    if reason := what_is_not_installed():
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    if reason := what_is_not_permitted():
        pytest.skip(reason)
    started = Swarm(len(labels))
    try:
        started.start({node.name: own for node, own in zip(started.nodes, labels, strict=True)})
        yield started
    finally:
        started.close()


def run_in(target: int, *command: str) -> None:
    """Run a command in the network and host name of a process."""
    nsenter = ("nsenter", "--target", str(target), "--net", "--uts")
    subprocess.run([*nsenter, *command], check=True, capture_output=True, env={**os.environ, "PATH": PATH})
