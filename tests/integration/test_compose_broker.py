"""The broker of compose.yaml: the passwords that are made up for it, and who may do what there."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flops.adapters import embedded_broker
from flops.adapters.mqtt import connect
from flops.settings import MIB, BrokerAccess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flops.ports import Bus, Subscription

ROOT = Path(__file__).parents[2]
READY_S = 20.0
HEARD_S = 10.0
PROJECT = "a" * 24
EVENTS = f"project/{PROJECT}/events"


def make_up_secrets(directory: Path) -> None:
    subprocess.run([sys.executable, str(ROOT / "services" / "credentials.py"), str(directory)], check=True, timeout=60)


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("secrets")
    make_up_secrets(directory)
    return directory


@pytest.fixture(scope="module")
def url(secrets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Mosquitto with the project's configuration, where this machine has its files."""
    directory = tmp_path_factory.mktemp("broker")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    text = (ROOT / "broker" / "mosquitto.conf").read_text(encoding="utf-8")
    for place, here in {
        "listener 1883": f"listener {port} 127.0.0.1\nuser {pwd.getpwuid(os.getuid()).pw_name}",
        "/mosquitto/secrets/": f"{secrets}/broker/",
        "/mosquitto/config/": f"{ROOT}/broker/",
        "/mosquitto/data/": f"{directory}/",
    }.items():
        assert place in text
        text = text.replace(place, here)
    (directory / "mosquitto.conf").write_text(text)
    mosquitto = subprocess.Popen([embedded_broker.find_mosquitto(), "-c", str(directory / "mosquitto.conf")])
    try:
        embedded_broker.wait_until_ready(access(f"mqtt://127.0.0.1:{port}", secrets, "flops"), READY_S)
        yield f"mqtt://127.0.0.1:{port}"
    finally:
        mosquitto.terminate()
        mosquitto.wait(READY_S)


def access(url: str, secrets: Path, user: str) -> BrokerAccess:
    return BrokerAccess(url, user, (secrets / "user" / f"broker-{user}").read_text())


def bus_of(url: str, secrets: Path, user: str) -> Bus:
    return connect(access(url, secrets, user), user, persistent=False, max_payload_bytes=MIB, timeout_s=READY_S)


def test_people_ask_and_see_what_happens(url: str, secrets: Path) -> None:
    flops, user = bus_of(url, secrets, "flops"), bus_of(url, secrets, "user")
    asked, told = flops.subscribe("request/#"), user.subscribe(EVENTS, "project/+/learning/#")
    user.publish("request/projects", b"question")
    flops.publish(f"project/{PROJECT}/learning/all", b"parameters")
    flops.publish(EVENTS, b"event")
    assert heard(asked) == ("request/projects", b"question")
    assert heard(told) == (EVENTS, b"event")
    flops.close()
    user.close()


def test_people_forge_nothing(url: str, secrets: Path) -> None:
    flops, user = bus_of(url, secrets, "flops"), bus_of(url, secrets, "user")
    anything = flops.subscribe("#")
    user.publish(EVENTS, b"forged")
    assert user.flush(HEARD_S)
    user.close()  # Mosquitto 2.0.11 ends the connection of whom it refuses a message
    flops.publish(EVENTS, b"event")
    assert heard(anything) == (EVENTS, b"event")
    flops.close()


def heard(subscription: Subscription) -> tuple[str, bytes] | None:
    delivery = subscription.receive(HEARD_S)
    return None if delivery is None else (delivery.topic, delivery.payload)


def test_secrets_are_made_once_and_for_their_owners_alone(secrets: Path) -> None:
    before = {path: path.read_text() for path in (secrets / "user").iterdir()}
    make_up_secrets(secrets)
    assert {path: path.read_text() for path in (secrets / "user").iterdir()} == before
    files = [path for path in secrets.rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o400}
    assert len(set(before.values())) == len(before)
