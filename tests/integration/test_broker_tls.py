"""A connection to a remote broker is encrypted, and only to the broker that it is meant for."""

from __future__ import annotations

import shutil
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from flops.adapters import embedded_broker
from flops.adapters.mqtt import connect
from flops.errors import BrokerUnreachableError
from flops.settings import BrokerAccess, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# paho leaves the socket of a failed handshake to the garbage collector
leaves_a_socket = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def access(tmp_path: Path) -> Iterator[BrokerAccess]:
    """A Mosquitto with a TLS listener, and the certificate that vouches for it."""
    if not embedded_broker.find_mosquitto() or not shutil.which("openssl"):
        pytest.skip("Mosquitto or openssl is not installed")
    broker = embedded_broker.prepare(Settings(home=tmp_path, embedded_broker="mosquitto"))
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*make, *names], check=True, capture_output=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (tmp_path / "broker" / "mosquitto.conf").open("a") as configuration:
        configuration.write(f"listener {port} 127.0.0.1\nkeyfile {key}\ncertfile {certificate}\n")
    process = subprocess.Popen(broker.command, stderr=subprocess.DEVNULL)
    embedded_broker.wait_until_ready(broker.access, 10)
    yield BrokerAccess(f"mqtts://localhost:{port}", broker.access.username, broker.access.password, str(certificate))
    process.terminate()
    process.wait(10)


def test_messages_travel_over_tls(access: BrokerAccess) -> None:
    embedded_broker.wait_until_ready(access, 10)
    bus = connect(access, "client", persistent=False, max_payload_bytes=1000, timeout_s=10)
    subscription = bus.subscribe("a")
    bus.publish("a", b"1")
    delivery = subscription.receive(10)
    assert delivery is not None
    assert delivery.payload == b"1"
    bus.close()


@leaves_a_socket
def test_a_broker_that_nobody_vouches_for_is_refused(access: BrokerAccess) -> None:
    stranger = BrokerAccess(access.url, access.username, access.password)
    with pytest.raises(BrokerUnreachableError, match="certificate"):
        connect(stranger, "client", persistent=False, max_payload_bytes=1000, timeout_s=10)


@leaves_a_socket
def test_a_broker_with_another_name_is_refused(access: BrokerAccess) -> None:
    other = BrokerAccess(access.url.replace("localhost", "127.0.0.1"), access.username, access.password, access.ca_file)
    with pytest.raises(BrokerUnreachableError, match="mismatch"):
        connect(other, "client", persistent=False, max_payload_bytes=1000, timeout_s=10)


def test_a_certificate_file_that_is_none_is_explained(access: BrokerAccess, tmp_path: Path) -> None:
    missing = BrokerAccess(access.url, access.username, access.password, str(tmp_path / "none.pem"))
    with pytest.raises(BrokerUnreachableError, match="no such file"):
        connect(missing, "client", persistent=False, max_payload_bytes=1000, timeout_s=10)
