"""Brokers for tests: real processes on free loopback ports, and the one in memory, behind one face."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest
from tests.servers.pulled import PulledServer, why_not

from flops.adapters import embedded_broker
from flops.adapters.memory_bus import MemoryBroker, MemoryBus
from flops.adapters.mqtt import MqttBus, connect
from flops.adapters.mqtt.buffered_socket import BufferedSocket
from flops.settings import MIB, BrokerAccess, Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from flops.ports import Bus

ROOT = Path(__file__).parents[1]
DATA = "/mosquitto/data:rw"
READY_S = 20.0
CALL_S = 10.0
STOP_S = 10.0


def wait_until(holds: Callable[[], bool], timeout_s: float = 10.0, explain: Callable[[], object] | None = None) -> None:
    """Wait for a condition; when it does not come true in time, fail the test and say what ``explain`` does."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout_s:g} s: {explain() if explain else holds}")
        time.sleep(0.01)


class Broker(Protocol):
    """What the contract suite needs of a broker. ``keeps_sessions``: of offline clients, also over a restart."""

    keeps_sessions: bool
    max_payload_bytes: int

    def connect(self, client_id: str, *, persistent: bool = False, will: tuple[str, bytes] | None = None) -> Bus: ...

    def cut(self, bus: Bus) -> None:
        """Break the connection of a bus without a farewell; it reconnects by itself."""

    def stop(self) -> None: ...

    def start(self) -> None: ...


class InMemoryBroker:
    """The broker of unit tests."""

    keeps_sessions = True
    max_payload_bytes = 8 * MIB

    def __init__(self) -> None:
        self.broker = MemoryBroker()

    def connect(self, client_id: str, *, persistent: bool = False, will: tuple[str, bytes] | None = None) -> MemoryBus:
        return self.broker.connect(client_id, persistent=persistent, will=will)

    def cut(self, bus: Bus) -> None:
        assert isinstance(bus, MemoryBus)
        bus.drop_connection()

    def stop(self) -> None:
        self.broker.stop()

    def start(self) -> None:
        self.broker.start()


class BrokerProcess:
    """The embedded broker as ``flops up`` would start it. ``protocol`` overrides the MQTT version."""

    max_payload_bytes = 8 * MIB

    def __init__(self, home: Path, kind: str, *, protocol: str | None = None) -> None:
        self.settings = Settings(home=home, embedded_broker=kind)
        self.keeps_sessions = kind == "mosquitto"
        self.log = home / "broker.log"
        self._protocol = protocol
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def access(self) -> BrokerAccess:
        access = embedded_broker.read_access(self.settings)
        return access if self._protocol is None else replace(access, protocol=self._protocol)

    def start(self) -> None:
        broker = embedded_broker.prepare(self.settings)
        with self.log.open("ab") as log:
            environment = {**os.environ, **broker.environment}
            self._process = subprocess.Popen(broker.command, env=environment, stdout=log, stderr=log)
        embedded_broker.wait_until_ready(broker.access, READY_S)

    def stop(self) -> None:
        """Let it end by itself."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(STOP_S)
            self._process = None

    def kill(self) -> None:
        """End it without letting it save anything."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_S)
            self._process = None

    def connect(self, client_id: str, *, persistent: bool = False, will: tuple[str, bytes] | None = None) -> MqttBus:
        return connect(
            self.access,
            client_id,
            persistent=persistent,
            will=will,
            max_payload_bytes=self.max_payload_bytes,
            timeout_s=CALL_S,
        )

    def cut(self, bus: Bus) -> None:
        assert isinstance(bus, MqttBus)
        opened = bus._client.socket()
        assert isinstance(opened, BufferedSocket)
        opened._socket.shutdown(socket.SHUT_RDWR)


class PulledBroker(BrokerProcess):
    """Mosquitto from its image, as compose.yaml would start it."""

    def __init__(self, home: Path, *, protocol: str | None = None) -> None:
        super().__init__(home, "mosquitto", protocol=protocol)
        (secrets := home / "secrets").mkdir()
        subprocess.run([sys.executable, str(ROOT / "services" / "credentials.py"), str(secrets)], check=True)
        (data := home / "data").mkdir(mode=0o777)
        data.chmod(0o777)
        volumes = {ROOT / "broker": "/mosquitto/config", secrets / "broker": "/mosquitto/secrets", data: DATA}
        self._server = PulledServer("broker", 1883, volumes=volumes)
        self._password = (secrets / "user" / "broker-flops").read_text("utf-8")
        self.stop, self.kill = self._server.stop, self._server.kill  # type: ignore[method-assign]

    @property
    def access(self) -> BrokerAccess:
        url = f"mqtt://127.0.0.1:{self._server.port}"
        return BrokerAccess(url, "flops", self._password, protocol=self._protocol or "5")

    def start(self) -> None:
        self._server.start()
        embedded_broker.wait_until_ready(self.access, READY_S)


def start_mosquitto(home: Path, *, protocol: str | None = None) -> BrokerProcess:
    """A real Mosquitto with the project's own configuration; skips where there is none."""
    broker: BrokerProcess
    if embedded_broker.find_mosquitto():
        broker = BrokerProcess(home, "mosquitto", protocol=protocol)
    elif reason := why_not("broker"):
        pytest.skip(f"Mosquitto is not installed, and {reason}")
    else:
        broker = PulledBroker(home, protocol=protocol)
    broker.start()
    return broker


def start_amqtt(home: Path) -> BrokerProcess:
    """The fallback broker; skips where the extra 'broker' is not installed."""
    pytest.importorskip("dacite", reason="amqtt is not installed")
    broker = BrokerProcess(home, "amqtt")
    broker.start()
    return broker
