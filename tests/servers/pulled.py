"""Servers from the images that compose.yaml names, where an engine can pull them: for what is not installed here."""

from __future__ import annotations

import atexit
import os
import socket
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import docker
import requests
import yaml
from docker.errors import DockerException, ImageNotFound
from testcontainers.core.container import DockerContainer

if TYPE_CHECKING:
    from collections.abc import Mapping

COMPOSE: Final = Path(__file__).parents[2] / "compose.yaml"
PULL_S: Final = 300
STOP_S: Final = 30


@cache
def why_not(service: str) -> str:
    """Why a service of compose.yaml cannot be had from its image; empty if it can. Asked once in a test run."""
    image = image_of(service)
    try:
        engine = docker.from_env(timeout=PULL_S)
        try:
            engine.images.get(image)
        except ImageNotFound:
            engine.images.pull(image)
        finally:
            engine.close()
    except (DockerException, requests.RequestException) as error:
        return f"no Docker Engine has {image}, or can pull it ({str(error).splitlines()[0]})"
    return ""


@cache
def image_of(service: str) -> str:
    """The image of a service of compose.yaml."""
    return str(yaml.safe_load(COMPOSE.read_text("utf-8"))["services"][service]["image"])


class PulledServer:
    """A service in a container. Killed and started again it has its port and its data; it goes with the test run.

    ``volumes`` are paths of this machine, and where it finds them: ``/place`` to read, ``/place:rw`` to write as well.
    """

    def __init__(
        self,
        service: str,
        port_inside: int,
        *,
        port: int = 0,
        volumes: Mapping[Path, str] | None = None,
        command: str = "",
    ) -> None:
        self.port = port or free_port()
        self._container = DockerContainer(image_of(service), command=command or None)
        if os.getuid():  # else the image knows better who runs
            self._container.with_kwargs(user=f"{os.getuid()}:{os.getgid()}")
        self._container.ports[f"{port_inside}/tcp"] = ("127.0.0.1", self.port)  # type: ignore[assignment]
        for path, place in (volumes or {}).items():
            inside, _, mode = place.partition(":")
            self._container.with_volume_mapping(path, inside, mode or "ro")
        self._is_made = False

    def start(self) -> None:
        """Start it; whether it answers, whoever asks it sees."""
        if self._is_made:
            self._container.get_wrapped_container().start()
            return
        atexit.register(self._container.stop)
        self._container.start()
        self._is_made = True

    def stop(self) -> None:
        """Let it end by itself."""
        self._container.get_wrapped_container().stop(timeout=STOP_S)

    def kill(self) -> None:
        """End it without letting it save anything."""
        container = self._container.get_wrapped_container()
        container.kill()
        container.wait(timeout=STOP_S)

    def output(self) -> str:
        """The end of what it has said."""
        return "".join(part.decode("utf-8", "replace") for part in self._container.get_logs())[-2000:]


def free_port() -> int:
    """A port of the loopback interface that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
