"""The broker that ``flops up`` starts when none is configured: private, on loopback, with generated credentials."""

from __future__ import annotations

import base64
import json
import os
import pwd
import queue
import socket
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from flops.atomic_file import write_atomically
from flops.errors import AccessDeniedError, BrokerUnreachableError, InvalidSettingError, NotStartedError
from flops.settings import BrokerAccess

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paho.mqtt.reasoncodes import ReasonCode

    from flops.settings import Settings

LOOPBACK: Final = "127.0.0.1"
USERNAME: Final = "flops"
PROBE_S: Final = 1.0
PROBE_PAUSE_S: Final = 0.02
DENIALS: Final = frozenset({0x86, 0x87, 0x8A})  # MQTT 5, 3.2.2.2: bad user name or password, not authorized, banned
PORTS: Final = range(20_000, 32_768)  # below those of outgoing connections, on Linux and by IANA's rules
MAX_PORTS_TRIED: Final = 1000
PACKET_OVERHEAD_BYTES: Final = 64 * 1024
_HASH_ITERATIONS: Final = 101
_REPLACED: Final = frozenset(
    {"listener", "password_file", "acl_file", "persistence_location", "max_packet_size", "user"}
)
_PROTOCOL: Final = {"mosquitto": "5", "amqtt": "3.1.1"}


@dataclass(frozen=True, slots=True)
class EmbeddedBroker:
    """A broker that is ready to be started. ``kind`` is ``mosquitto`` or ``amqtt``."""

    kind: str
    command: list[str]
    access: BrokerAccess
    environment: dict[str, str] = field(default_factory=dict)


def prepare(settings: Settings) -> EmbeddedBroker:
    """Write configuration, credentials and the access record; idempotent, also while the broker runs.

    Port and password are chosen once and kept, so that clients find the broker again after its restart. The port is
    chosen anew only if something else listens there. It is a real Mosquitto where one is installed, else amqtt;
    ``FLOPS_EMBEDDED_BROKER`` forces one of them.

    Raises:
        InvalidSettingError: ``FLOPS_EMBEDDED_BROKER`` asks for a Mosquitto that is not installed.
    """
    mosquitto = find_mosquitto()
    kind = settings.embedded_broker or ("mosquitto" if mosquitto else "amqtt")
    if kind == "mosquitto" and not mosquitto:
        raise InvalidSettingError("FLOPS_EMBEDDED_BROKER", kind, "an installed Mosquitto")
    directory = settings.home / "broker"
    for folder in (settings.home, directory, _record(settings).parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    access = _access(settings, kind)
    write = _write_mosquitto if kind == "mosquitto" else _write_amqtt
    configuration = write(directory, access, settings.max_payload_bytes)
    write_atomically(_record(settings), json.dumps(asdict(access)))
    if kind == "mosquitto":
        return EmbeddedBroker(kind, [mosquitto, "-c", str(configuration)], access)
    module = [sys.executable, "-m", "flops.adapters.amqtt_broker", str(configuration)]
    return EmbeddedBroker(kind, module, access)


def find_mosquitto() -> str:
    """The path of an installed Mosquitto, or an empty string."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
    import shutil  # noqa: PLC0415  who only asks where the broker is, is quicker without

    return shutil.which("mosquitto", path=path) or ""


def read_access(settings: Settings) -> BrokerAccess:
    """How to reach the configured broker, or else the embedded one.

    Raises:
        NotStartedError: no broker is configured and 'flops up' has prepared none.
        InvalidSettingError: the password file cannot be read.
    """
    if settings.broker_url:
        return BrokerAccess(settings.broker_url, settings.broker_username, _password(settings), settings.broker_ca_file)
    access = _recorded(settings)
    if access is None:
        raise NotStartedError(str(settings.home))
    return access


def wait_until_ready(access: BrokerAccess, timeout_s: float) -> None:
    """Return once the broker, embedded or not, accepts a connection with these credentials.

    Raises:
        AccessDeniedError: it refuses them.
        BrokerUnreachableError: it does not answer in time.
        InvalidSettingError: the URL is none.
    """
    deadline = time.monotonic() + timeout_s
    while (reason := _probe(access, PROBE_S)) and time.monotonic() < deadline:
        time.sleep(PROBE_PAUSE_S)
    if reason:
        raise BrokerUnreachableError(access.url, f"{reason} within {timeout_s:g} s")


def accepts(access: BrokerAccess, timeout_s: float) -> bool:
    """Whether a broker answers at once and knows these credentials."""
    try:
        return not _probe(access, timeout_s)
    except AccessDeniedError:
        return False


def _probe(access: BrokerAccess, timeout_s: float) -> str:
    """Connect once; returns why it did not work, or nothing."""
    answers: queue.SimpleQueue[ReasonCode | None] = queue.SimpleQueue()
    host, port, is_encrypted = access.address()
    client = Client(CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
    client.connect_timeout = timeout_s
    client.on_connect = lambda *arguments: answers.put(arguments[3])
    client.on_disconnect = lambda *_: answers.put(None)
    if access.username:
        client.username_pw_set(access.username, access.password)
    try:
        if is_encrypted:
            client.tls_set(ca_certs=access.ca_file or None)
        client.connect(host, port)
    except OSError as error:
        return f"it accepts no connection ({error})"
    client.loop_start()
    try:
        answer = answers.get(timeout=timeout_s)
    except queue.Empty:
        answer = None
    client.disconnect()
    client.loop_stop()
    if answer is None:
        return "it does not answer as an MQTT broker does"
    if answer.value in DENIALS:
        message = f"The broker at {access.url} refuses the credentials ({str(answer).lower()})."
        raise AccessDeniedError(message, remedy="Check FLOPS_BROKER_USERNAME and FLOPS_BROKER_PASSWORD_FILE.")
    return str(answer).lower() if answer.is_failure else ""


def _access(settings: Settings, kind: str) -> BrokerAccess:
    import secrets  # noqa: PLC0415  as above

    known = _recorded(settings)
    password = known.password if known else secrets.token_urlsafe(32)
    if known and (_is_free(known.address()[1]) or accepts(known, PROBE_S)):
        return BrokerAccess(known.url, USERNAME, password, protocol=_PROTOCOL[kind])
    return BrokerAccess(f"mqtt://{LOOPBACK}:{_free_port()}", USERNAME, password, protocol=_PROTOCOL[kind])


def _record(settings: Settings) -> Path:
    return settings.home / "run" / "broker.json"


def _recorded(settings: Settings) -> BrokerAccess | None:
    try:
        return BrokerAccess(**json.loads(_record(settings).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _password(settings: Settings) -> str:
    if not settings.broker_password_file:
        return ""
    try:
        return Path(settings.broker_password_file).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettingError(
            "FLOPS_BROKER_PASSWORD_FILE", settings.broker_password_file, "a readable file"
        ) from error


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    """A free port that the system gives no outgoing connection, which might have it when the broker starts again."""
    import secrets  # noqa: PLC0415  as above

    return next(port for _ in range(MAX_PORTS_TRIED) if _is_free(port := secrets.choice(PORTS)))


def _write_mosquitto(directory: Path, access: BrokerAccess, max_payload_bytes: int) -> Path:
    passwords, configuration = directory / "passwords", directory / "mosquitto.conf"
    write_atomically(passwords, f"{access.username}:{mosquitto_hash(access.password)}\n")
    own = [
        f"listener {access.address()[1]} {LOOPBACK}",
        f"user {pwd.getpwuid(os.getuid()).pw_name}",
        f"password_file {passwords}",
        f"persistence_location {directory}/",
        f"max_packet_size {max_payload_bytes + PACKET_OVERHEAD_BYTES}",
    ]
    write_atomically(configuration, "\n".join([*_shared_settings(), *own]) + "\n")
    return configuration


def _write_amqtt(directory: Path, access: BrokerAccess, max_payload_bytes: int) -> Path:
    import hashlib  # noqa: PLC0415  whoever only reads how the broker is reached needs none

    configuration = directory / "amqtt.json"
    fields = {
        "bind": f"{LOOPBACK}:{access.address()[1]}",
        "username": access.username,
        "password_digest": hashlib.sha256(access.password.encode()).hexdigest(),
        "max_payload_bytes": max_payload_bytes,
    }
    write_atomically(configuration, json.dumps(fields))
    return configuration


def _shared_settings() -> Iterable[str]:
    lines = (line.strip() for line in _project_configuration().read_text(encoding="utf-8").splitlines())
    return (line for line in lines if line and line[0] != "#" and line.split()[0] not in _REPLACED)


def _project_configuration() -> Path:
    """``broker/mosquitto.conf``: inside the installed package, or at the top of a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "broker" / "mosquitto.conf"
    return installed if installed.exists() else package.parents[1] / "broker" / "mosquitto.conf"


def mosquitto_hash(password: str) -> str:
    """PBKDF2 with SHA-512 as Mosquitto's password files have it (``$7$iterations$salt$hash``)."""
    import hashlib  # noqa: PLC0415  see above

    salt = os.urandom(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _HASH_ITERATIONS)
    parts = ["", "7", str(_HASH_ITERATIONS), base64.b64encode(salt).decode(), base64.b64encode(digest).decode()]
    return "$".join(parts)
