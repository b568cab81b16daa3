"""The brokers that 'flops up' may start, as real processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.brokers import BrokerProcess, start_amqtt, start_mosquitto, wait_until

from flops.adapters import embedded_broker
from flops.adapters.mqtt import connect
from flops.errors import AccessDeniedError, BrokerUnreachableError, InvalidSettingError, NotStartedError
from flops.settings import BrokerAccess, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GUESS = "guess"
KINDS = {"mosquitto": start_mosquitto, "amqtt": start_amqtt}


@pytest.fixture(params=list(KINDS))
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BrokerProcess]:
    process = KINDS[request.param](tmp_path)
    yield process
    process.stop()


def try_connecting(access: BrokerAccess) -> None:
    connect(access, "stranger", persistent=False, max_payload_bytes=1000, timeout_s=10).close()


def test_a_wrong_password_is_refused(broker: BrokerProcess) -> None:
    with pytest.raises((AccessDeniedError, BrokerUnreachableError), match="credentials"):
        try_connecting(replace(broker.access, password=GUESS))
    with pytest.raises((AccessDeniedError, BrokerUnreachableError), match="credentials"):
        try_connecting(replace(broker.access, username="", password=""))
    assert not embedded_broker.accepts(replace(broker.access, password=GUESS), 5)
    with pytest.raises((AccessDeniedError, BrokerUnreachableError)):
        embedded_broker.wait_until_ready(replace(broker.access, password=GUESS), 0.1)


def test_the_version_is_found_out_where_it_is_not_known(broker: BrokerProcess) -> None:
    try_connecting(replace(broker.access, protocol=""))


def test_everything_is_private_and_the_password_stands_in_the_access_record_only(broker: BrokerProcess) -> None:
    home = broker.settings.home
    folders, password = [home / "broker", home / "run"], broker.access.password
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o700}
    files = [file for folder in folders for file in folder.iterdir()]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert [file.name for file in files if password.encode() in file.read_bytes()] == ["broker.json"]
    assert password not in repr(broker.access)
    assert password not in " ".join(embedded_broker.prepare(broker.settings).command)


def test_it_listens_on_loopback_only(broker: BrokerProcess) -> None:
    port = int(broker.access.url.rpartition(":")[2])
    with socket.socket() as elsewhere:
        elsewhere.settimeout(5)
        assert elsewhere.connect_ex(("127.0.0.2", port)) != 0


def test_preparing_again_changes_nothing_while_it_runs_and_after(broker: BrokerProcess) -> None:
    access = broker.access
    assert embedded_broker.prepare(broker.settings).access == access
    broker.stop()
    assert embedded_broker.prepare(broker.settings).access == access


def test_the_port_is_chosen_anew_when_somebody_else_has_it(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, embedded_broker="amqtt")
    first = embedded_broker.prepare(settings).access
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", int(first.url.rpartition(":")[2])))
        somebody.listen()
        second = embedded_broker.prepare(settings).access
    assert second.url != first.url
    assert embedded_broker.read_access(settings) == second
    assert second.password == first.password


@pytest.mark.parametrize("kind", list(KINDS))
def test_two_installations_do_not_meet(kind: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = KINDS[kind](tmp_path / "a"), KINDS[kind](tmp_path / "b")
    try:
        assert first.access.url != second.access.url
        assert first.access.password != second.access.password
        here, there = first.connect("same-name"), second.connect("same-name")
        subscription = there.subscribe("#")
        here.publish("a", b"1")
        there.publish("b", b"2")
        delivery = subscription.receive(10)
        assert delivery is not None
        assert delivery.payload == b"2"
        here.close()
        there.close()
    finally:
        first.stop()
        second.stop()


def test_it_ends_on_sigterm_though_clients_are_connected_and_says_nothing(broker: BrokerProcess) -> None:
    bus = broker.connect("client")
    subscription = bus.subscribe("a/#")
    bus.publish("a/b", b"1")
    assert subscription.receive(10) is not None
    broker.stop()
    bus.close()
    said = [line for line in broker.log.read_text().splitlines() if "should not be run as root" not in line]
    assert said == []


def test_what_mosquitto_acknowledged_some_seconds_ago_survives_its_death(tmp_path: Path) -> None:
    broker = start_mosquitto(tmp_path)
    reader, writer = broker.connect("reader", persistent=True), broker.connect("writer")
    reader.subscribe("a/#")
    reader.close()
    for number in range(100):
        writer.publish("a/b", str(number).encode())
    writer.publish("a/state", b"kept", retain=True)
    assert writer.flush(10)
    saved = broker.settings.home / "broker" / "mosquitto.db"
    wait_until(lambda: saved.exists() and b"kept" in saved.read_bytes(), 20)
    broker.kill()
    broker.start()
    subscription = broker.connect("reader", persistent=True).subscribe("a/#")
    received: set[bytes] = set()
    while len(received) < 101:
        delivery = subscription.receive(10)
        assert delivery is not None
        delivery.acknowledge()
        received.add(delivery.payload)
    broker.stop()


DYING = """
import json, sys
from flops.adapters.mqtt import connect
from flops.settings import BrokerAccess

access = BrokerAccess(**json.loads(sys.stdin.readline()))
bus = connect(access, "dying", persistent=False, will=("presence", b"dead"), max_payload_bytes=1000, timeout_s=10)
print("connected", flush=True)
sys.stdin.readline()
"""


def test_the_last_will_of_a_killed_process_is_heard(broker: BrokerProcess) -> None:
    presences = broker.connect("reader").subscribe("presence")
    access = broker.access
    record = {"url": access.url, "username": access.username, "password": access.password, "protocol": access.protocol}
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", DYING], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(record) + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "connected\n"
        os.kill(process.pid, signal.SIGKILL)
    delivery = presences.receive(10)
    assert delivery is not None
    assert delivery.payload == b"dead"


def test_the_configured_broker_comes_before_the_embedded_one(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("open sesame\n")
    settings = Settings(
        home=tmp_path, broker_url="mqtts://broker.example", broker_username="u", broker_password_file=str(secret)
    )
    embedded_broker.prepare(settings)
    assert embedded_broker.read_access(settings) == BrokerAccess("mqtts://broker.example", "u", "open sesame")
    with pytest.raises(InvalidSettingError):
        embedded_broker.read_access(replace(settings, broker_password_file=str(tmp_path / "none")))


def test_without_any_broker_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotStartedError, match="flops up"):
        embedded_broker.read_access(Settings(home=tmp_path))
    prepared = embedded_broker.prepare(Settings(home=tmp_path))
    with pytest.raises(BrokerUnreachableError, match="accepts no connection"):
        embedded_broker.wait_until_ready(prepared.access, 0.1)
    with pytest.raises(BrokerUnreachableError, match="flops up"):
        try_connecting(prepared.access)


def test_a_silent_server_is_given_up_in_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        access = BrokerAccess(f"mqtt://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(BrokerUnreachableError, match="does not answer"):
            embedded_broker.wait_until_ready(access, 0)
        with pytest.raises(BrokerUnreachableError, match="does not answer"):
            connect(access, "client", persistent=False, max_payload_bytes=1000, timeout_s=0.5)


@pytest.mark.parametrize("url", ["http://host", "mqtt://", "mqtt://host:0", "mqtt://host:port", "host:1883"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidSettingError):
        try_connecting(BrokerAccess(url))


def test_a_url_with_a_password_is_refused_without_showing_it() -> None:
    with pytest.raises(InvalidSettingError) as refused:
        try_connecting(BrokerAccess("mqtt://user:secret@host"))
    assert "secret" not in str(refused.value)


def test_a_request_of_mqtt_5_carries_where_to_answer(mosquitto: BrokerProcess) -> None:
    bus = mosquitto.connect("five")
    subscription = bus.subscribe("five/question")
    bus.publish("five/question", b"?", response_topic="reply/five", correlation_data=b"\x00\xff")
    delivery = subscription.receive(10)
    assert delivery is not None
    assert (delivery.response_topic, delivery.correlation_data) == ("reply/five", b"\x00\xff")
    bus.close()


def test_what_may_wait_while_disconnected_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flops.adapters.mqtt.unacknowledged.MAX_MESSAGES", 3)
    broker = start_mosquitto(tmp_path)
    bus = broker.connect("client")
    broker.stop()
    wait_until(lambda: not bus.is_connected)
    for _ in range(3):
        bus.publish("a", b"1")
    with pytest.raises(BrokerUnreachableError, match="too much"):
        bus.publish("a", b"1")
    broker.start()
    assert bus.flush(20)
    bus.publish("a", b"1")
    bus.close()
    broker.stop()


def test_a_missing_mosquitto_cannot_be_forced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_broker, "find_mosquitto", lambda: "")
    with pytest.raises(InvalidSettingError):
        embedded_broker.prepare(Settings(home=tmp_path, embedded_broker="mosquitto"))
    assert embedded_broker.prepare(Settings(home=tmp_path)).kind == "amqtt"
    assert "flops.adapters.amqtt_broker" in embedded_broker.prepare(Settings(home=tmp_path)).command
