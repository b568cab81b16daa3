"""Everything that can be set, read once from the environment and passed on."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from flops.errors import InvalidSettingError
from flops.registry_access import checked_url, image_prefix

if TYPE_CHECKING:
    from collections.abc import Mapping

CAPABILITIES: Final = ("learner", "image-builder")
BROKER_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}
EMBEDDED_BROKERS: Final = ("mosquitto", "amqtt")
ORCHESTRATORS: Final = ("local", "docker", "swarm")
SQLITE: Final = "sqlite://"
UNIX: Final = "unix://"
# Perhaps credentials, then hosts, then perhaps a database and options.
_MONGODB: Final = r"mongodb(\+srv)?://([^/?#]*@)?[^/?#@]+([/?].*)?"
IMAGE_PLATFORMS: Final = ("linux/amd64", "linux/arm64")
USER_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"
LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
MIB: Final = 1024 * 1024
MOST_MANAGERS: Final = 16
HEADER_BYTES: Final = 4096
MOST_ATTEMPTS: Final = 1000


class LocalNode(NamedTuple):
    """A named place on this machine that runs instances and keeps its own data."""

    name: str
    capabilities: frozenset[str]


@dataclass(frozen=True, slots=True)
class BrokerAccess:
    """How a broker is reached. ``protocol`` is ``5``, ``3.1.1``, or empty where it has to be found out."""

    url: str
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    protocol: str = ""

    def address(self) -> tuple[str, int, bool]:
        """Host, port and whether to use TLS.

        Raises:
            InvalidSettingError: not ``mqtt://host[:port]`` or ``mqtts://host[:port]``; credentials do not belong there.
        """
        expected = "mqtt://host[:port] or mqtts://host[:port], without a user name or password,"
        parts = urlsplit(self.url)
        if parts.username or parts.password:
            raise InvalidSettingError("FLOPS_BROKER_URL", f"{parts.scheme}://…@{parts.hostname}", expected)
        try:
            port = parts.port
        except ValueError:
            port = 0
        if parts.scheme not in BROKER_PORTS or not parts.hostname or port == 0:
            raise InvalidSettingError("FLOPS_BROKER_URL", self.url, expected)
        return parts.hostname, port or BROKER_PORTS[parts.scheme], parts.scheme == "mqtts"


@dataclass(frozen=True, slots=True)
class Settings:
    """How this installation of FLOps runs. An empty string means: use the embedded default."""

    home: Path
    broker_url: str = ""
    broker_username: str = ""
    broker_password_file: str = ""
    broker_ca_file: str = ""
    embedded_broker: str = ""
    topic_prefix: str = ""
    store_url: str = field(default="", repr=False)
    orchestrator: str = "local"
    docker_url: str = "unix:///var/run/docker.sock"
    docker_images: str = "flops"
    docker_network: str = ""
    advertised_host: str = "localhost"
    loopback_host: str = ""
    registry_url: str = ""
    registry_username: str = ""
    registry_password_file: str = ""
    registry_ca_file: str = ""
    image_platforms: tuple[str, ...] = ()
    build_directory: str = ""
    local_nodes: tuple[LocalNode, ...] = field(default=(LocalNode("local", frozenset(CAPABILITIES)),))
    user: str = "Admin"
    max_payload_bytes: int = 8 * MIB
    chunk_bytes: int = MIB
    build_deadline_s: float = 3600.0
    deploy_deadline_s: float = 300.0
    round_deadline_s: float = 3600.0
    learner_return_s: float = 60.0
    check_deadline_s: float = 300.0
    train_deadline_s: float = 0.0
    package_deadline_s: float = 3600.0
    serve_deadline_s: float = 300.0
    stop_deadline_s: float = 60.0
    retry_attempts: int = 8
    retry_longest_s: float = 30.0
    managers: int = 1
    manager_lease_s: float = 10.0
    service_lease_s: float = 30.0
    log_level: str = "INFO"
    keep_events_days: float = 90.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read the ``FLOPS_…`` variables.

        Raises:
            InvalidSettingError: a variable has a value that cannot be used.
        """
        home = environment.get("FLOPS_HOME") or str(Path(environment.get("HOME", "~")).expanduser() / ".flops")
        defaults = cls(home=_home(home))
        settings = cls(
            home=defaults.home,
            broker_url=environment.get("FLOPS_BROKER_URL", ""),
            broker_username=environment.get("FLOPS_BROKER_USERNAME", ""),
            broker_password_file=environment.get("FLOPS_BROKER_PASSWORD_FILE", ""),
            broker_ca_file=environment.get("FLOPS_BROKER_CA_FILE", ""),
            embedded_broker=_one_of(environment, "FLOPS_EMBEDDED_BROKER", EMBEDDED_BROKERS),
            topic_prefix=_prefix(environment, "FLOPS_TOPIC_PREFIX"),
            store_url=_store_url(environment.get("FLOPS_STORE_URL", "")),
            orchestrator=_one_of(environment, "FLOPS_ORCHESTRATOR", ORCHESTRATORS) or defaults.orchestrator,
            docker_url=_docker_url(environment.get("FLOPS_DOCKER_URL", "")) or defaults.docker_url,
            docker_images=environment.get("FLOPS_DOCKER_IMAGES", "") or defaults.docker_images,
            docker_network=environment.get("FLOPS_DOCKER_NETWORK", ""),
            advertised_host=environment.get("FLOPS_ADVERTISED_HOST", "") or defaults.advertised_host,
            loopback_host=environment.get("FLOPS_LOOPBACK_HOST", ""),
            registry_url=checked_url(environment.get("FLOPS_REGISTRY_URL", "")),
            registry_username=environment.get("FLOPS_REGISTRY_USERNAME", ""),
            registry_password_file=environment.get("FLOPS_REGISTRY_PASSWORD_FILE", ""),
            registry_ca_file=environment.get("FLOPS_REGISTRY_CA_FILE", ""),
            image_platforms=_platforms(environment.get("FLOPS_IMAGE_PLATFORMS", "")),
            build_directory=environment.get("FLOPS_BUILD_DIRECTORY", ""),
            local_nodes=_local_nodes(environment.get("FLOPS_LOCAL_NODES", "")) or defaults.local_nodes,
            user=_user(environment.get("FLOPS_USER", "")) or defaults.user,
            max_payload_bytes=int(_positive(environment, "FLOPS_MAX_PAYLOAD_BYTES", defaults.max_payload_bytes)),
            chunk_bytes=int(_positive(environment, "FLOPS_CHUNK_BYTES", defaults.chunk_bytes)),
            build_deadline_s=_positive(environment, "FLOPS_BUILD_DEADLINE_S", defaults.build_deadline_s),
            deploy_deadline_s=_positive(environment, "FLOPS_DEPLOY_DEADLINE_S", defaults.deploy_deadline_s),
            round_deadline_s=_positive(environment, "FLOPS_ROUND_DEADLINE_S", defaults.round_deadline_s),
            learner_return_s=_positive(environment, "FLOPS_LEARNER_RETURN_S", defaults.learner_return_s),
            check_deadline_s=_positive(environment, "FLOPS_CHECK_DEADLINE_S", defaults.check_deadline_s),
            train_deadline_s=_positive(environment, "FLOPS_TRAIN_DEADLINE_S", defaults.train_deadline_s),
            package_deadline_s=_positive(environment, "FLOPS_PACKAGE_DEADLINE_S", defaults.package_deadline_s),
            serve_deadline_s=_positive(environment, "FLOPS_SERVE_DEADLINE_S", defaults.serve_deadline_s),
            stop_deadline_s=_positive(environment, "FLOPS_STOP_DEADLINE_S", defaults.stop_deadline_s),
            retry_attempts=_count(environment, "FLOPS_RETRY_ATTEMPTS", defaults.retry_attempts),
            retry_longest_s=_positive(environment, "FLOPS_RETRY_LONGEST_S", defaults.retry_longest_s),
            managers=_count(environment, "FLOPS_MANAGERS", defaults.managers, most=MOST_MANAGERS),
            manager_lease_s=_positive(environment, "FLOPS_MANAGER_LEASE_S", defaults.manager_lease_s),
            service_lease_s=_positive(environment, "FLOPS_SERVICE_LEASE_S", defaults.service_lease_s),
            log_level=_one_of(environment, "FLOPS_LOG_LEVEL", LOG_LEVELS) or defaults.log_level,
            keep_events_days=_positive(environment, "FLOPS_KEEP_EVENTS_DAYS", defaults.keep_events_days),
        )
        if settings.chunk_bytes + HEADER_BYTES > settings.max_payload_bytes:
            expected = f"at least {HEADER_BYTES} bytes less than FLOPS_MAX_PAYLOAD_BYTES"
            raise InvalidSettingError("FLOPS_CHUNK_BYTES", str(settings.chunk_bytes), expected)
        return settings

    def node_directory(self, node: str) -> Path:
        """Where a local node keeps what is its own: its data and its data server's address."""
        return self.home / "nodes" / node

    @property
    def registry_prefix(self) -> str:
        """What precedes an image's name where an engine pulls it, as ``localhost:5000``; empty without a registry."""
        return image_prefix(self.registry_url)


def _home(text: str) -> Path:
    home = Path(text).expanduser().absolute()
    nearest = next(place for place in (home, *home.parents) if os.path.lexists(place))
    if not os.path.isdir(nearest):  # noqa: PTH112  unlike pathlib's, it never raises
        raise InvalidSettingError("FLOPS_HOME", text, "a directory")
    return home


def _store_url(text: str) -> str:
    path = text.removeprefix(SQLITE)
    is_file = path != text and path.startswith("/") and not path.endswith("/")
    if text and not is_file and not is_mongodb(text):
        expected = "sqlite:///path/to/file or mongodb://[user:password@]host[:port][/database]"
        raise InvalidSettingError("FLOPS_STORE_URL", without_credentials(text), expected)
    return text


def _docker_url(text: str) -> str:
    if text and not (text.startswith(f"{UNIX}/") and not text.endswith("/")):
        raise InvalidSettingError("FLOPS_DOCKER_URL", without_credentials(text), "unix:///path/to/socket")
    return text


def _platforms(text: str) -> tuple[str, ...]:
    platforms = tuple(dict.fromkeys(filter(None, (part.strip() for part in text.split(",")))))
    if not set(platforms) <= set(IMAGE_PLATFORMS):
        raise InvalidSettingError("FLOPS_IMAGE_PLATFORMS", text, f"a list of {' and '.join(IMAGE_PLATFORMS)}")
    return platforms


def is_mongodb(url: str) -> bool:
    """Whether a URL names a MongoDB server."""
    return re.fullmatch(_MONGODB, url) is not None


def without_credentials(url: str) -> str:
    """A URL as it may be shown: without user, password and options."""
    return re.sub(r"(?<=://)[^/?#]*@", "", url).partition("?")[0]


def _user(text: str) -> str:
    if text and not re.fullmatch(USER_PATTERN, text):
        expected = "a name of 1 to 64 letters, digits or any of . _ @ - that begins with a letter or digit"
        raise InvalidSettingError("FLOPS_USER", text, expected)
    return text


def _positive(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name, "")
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise InvalidSettingError(name, text, "a number above zero")
    return number


def _count(environment: Mapping[str, str], name: str, default: int, *, most: int = MOST_ATTEMPTS) -> int:
    text = environment.get(name, "") or str(default)
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= most):
        raise InvalidSettingError(name, text, f"a whole number from 1 to {most}")
    return int(text)


def _prefix(environment: Mapping[str, str], name: str) -> str:
    text = environment.get(name, "")
    if set(text) & set("+#\0"):
        raise InvalidSettingError(name, text, "a topic without '+' and '#'")
    return text


def _one_of(environment: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    text = environment.get(name, "")
    if text and text not in choices:
        raise InvalidSettingError(name, text, " or ".join(choices))
    return text


def _local_nodes(text: str) -> tuple[LocalNode, ...]:
    """Parse ``name[:capability[+capability]]`` items separated by commas; a bare name has every capability."""
    nodes = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, listed = item.partition(":")
        capabilities = frozenset(listed.split("+")) if listed else frozenset(CAPABILITIES)
        if not (name.isascii() and name.replace("-", "").isalnum()) or not capabilities <= set(CAPABILITIES):
            expected = "a list like 'node1:learner,node2:learner+image-builder'"
            raise InvalidSettingError("FLOPS_LOCAL_NODES", text, expected)
        nodes.append(LocalNode(name, capabilities))
    if len({node.name for node in nodes}) != len(nodes):
        raise InvalidSettingError("FLOPS_LOCAL_NODES", text, "a list without a name twice")
    return tuple(nodes)
