"""FLOps as compose.yaml has it, on an engine of the test's own, with the images of this very code.

What compose.yaml would pull is made of Debian's packages here: see the folder ``stand_ins``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml
from tests.mongodb import ferretdb_program
from tests.servers.base_image import import_base
from tests.servers.docker_engine import own_docker_engine
from tests.system.installation import Installation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.docker_engine import EngineProcess

ROOT: Final = Path(__file__).parents[2]
STAND_INS: Final = ROOT / "tests" / "servers" / "stand_ins"
COMPOSE: Final = "docker-compose"
DOCKER: Final = "/usr/bin/docker"  # Debian's has BuildKit
REGISTRY: Final = "localhost:5000"
ROLES: Final = ("observer", "manager", "builder", "data", "mock-data", "aggregator", "learner", "tracking", "inference")
BASES: Final = ("learner", "aggregator", "inference")  # of the images that builders make
BUILD_S: Final = 500.0
COMMAND_S: Final = 120.0


class Composed:
    """A running ``docker compose up``, and a user of this machine who has the password for it."""

    def __init__(self, engine: EngineProcess, directory: Path) -> None:
        self.engine, self._directory = engine, directory
        document = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
        self.images = {service["image"] for service in document["services"].values()}
        del document["name"]  # Debian's Compose is older than that key
        (directory / "compose.yaml").write_text(yaml.safe_dump(document))
        (directory / "store-url").write_text("mongodb://mongodb/flops")
        self.user = self.installation("user", FLOPS_BROKER_USERNAME="user")

    def installation(self, name: str, **settings: str) -> Installation:
        """Commands with a home of their own, as if they were called on the host of the containers."""
        password = self._directory / f"broker-{settings['FLOPS_BROKER_USERNAME']}"
        broker = {"FLOPS_BROKER_URL": "mqtt://localhost:1883", "FLOPS_BROKER_PASSWORD_FILE": str(password)}
        inside = ("nsenter", "--target", str(self.engine.target), "--net")
        return Installation(self._directory / name, {**broker, **settings}, inside)

    def up(self) -> None:
        """Start everything, and read the passwords of users."""
        self.compose("up", "--detach")
        for user in ("user", "flops"):
            (self._directory / f"broker-{user}").write_text(self.secret(f"broker-{user}"))

    def secret(self, name: str) -> str:
        """What a person would look up."""
        return self.compose("run", "--rm", "--no-deps", "--entrypoint", "cat", "secrets", f"/secrets/user/{name}")

    def compose(self, *arguments: str) -> str:
        """What a command of Docker Compose prints."""
        files = ("--project-directory", str(ROOT), "--file", str(self._directory / "compose.yaml"))
        command = [COMPOSE, "--project-name", "flops", *files, "--file", str(STAND_INS / "compose.yaml"), *arguments]
        settings = {
            "DOCKER_HOST": self.engine.url,
            "DOCKER_SOCKET": self.engine.url.removeprefix("unix://"),
            "STAND_IN_STORE_URL": str(self._directory / "store-url"),
        }
        done = subprocess.run(
            command, env=os.environ | settings, capture_output=True, text=True, check=False, timeout=COMMAND_S
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def push_bases(self) -> None:
        """Give the registry what builders take from it."""
        login = {"username": "flops", "password": self.secret("registry")}
        with self.engine.client() as api:
            for role in BASES:
                name = f"{REGISTRY}/flops/{role}"
                told = list(api.push(name, tag=version("flops-fl"), auth_config=login, stream=True, decode=True))
                assert not [line for line in told if "error" in line]

    def of_project(self, project_id: str) -> list[str]:
        """Whatever an engine has of a project: containers, volumes and images."""
        part = project_id[:12]
        with self.engine.client() as api:
            containers = [name for found in api.containers(all=True) for name in found["Names"]]
            volumes = [found["Name"] for found in api.volumes()["Volumes"] or []]
            images = [tag for found in api.images() for tag in found["RepoTags"] or []]
        return [name for name in (*containers, *volumes, *images) if part in name or project_id[-12:] in name]

    def container_of(self, service: str) -> str:
        """The name of the container of a service that FLOps has deployed, by the beginning of its name."""
        with self.engine.client() as api:
            names = [name for found in api.containers() for name in found["Names"]]
        return next(str(name).removeprefix("/") for name in names if f"-{service}" in name)


@contextmanager
def composed(directory: Path) -> Iterator[Composed]:
    """Everything up, and gone in the end."""
    if shutil.which(COMPOSE) is None or not ferretdb_program().exists():
        reason = "a test needs docker-compose (Debian: docker-compose) and FerretDB (make test-servers)"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    with own_docker_engine(online=True) as engine:
        made = Composed(engine, directory)
        base = import_base(engine)
        _build_stand_ins(engine, base, directory / "stand-ins", made.images)
        _build_services(engine, base)
        made.up()
        made.push_bases()
        yield made


def _build_services(engine: EngineProcess, base: str) -> None:
    settings = {"DOCKER_HOST": engine.url, "DOCKER": DOCKER, "BASE": base, "NETWORK": "host"}
    subprocess.run(["services/images.sh"], cwd=ROOT, env=os.environ | settings, check=True, timeout=BUILD_S)
    with engine.client() as api:
        for role in ROLES:
            api.tag(f"flops/{role}:{version('flops-fl')}", f"{REGISTRY}/flops/{role}", version("flops-fl"))


def _build_stand_ins(engine: EngineProcess, base: str, context: Path, images: set[str]) -> None:
    """Images with the names that compose.yaml would have pulled."""
    context.mkdir()
    shutil.copy(ferretdb_program(), context / "ferretdb")
    for target, name in (("broker", "eclipse-mosquitto"), ("registry", "registry"), ("mongodb", "mongo")):
        (image,) = (image for image in images if image.startswith(f"{name}:"))
        options = ("--quiet", "--network", "host", "--build-arg", f"BASE={base}", "--target", target, "--tag", image)
        command = [DOCKER, "build", *options, "--file", str(STAND_INS / "Dockerfile"), str(context)]
        settings = {"DOCKER_HOST": engine.url, "DOCKER_BUILDKIT": "1"}
        subprocess.run(command, env=os.environ | settings, check=True, timeout=BUILD_S, stdout=subprocess.DEVNULL)


def size_of(engine: EngineProcess, image: str) -> int:
    """The bytes of an image."""
    with engine.client() as api:
        details: dict[str, Any] = api.inspect_image(image)
    return int(details["Size"])
