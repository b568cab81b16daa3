"""The connection to a Docker Engine. No type and no exception of the docker SDK leaves this package."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import docker
import requests
import urllib3
from docker.errors import APIError, DockerException, NotFound

from flops.errors import OrchestratorUnavailableError
from flops.settings import UNIX

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT_S: Final = 60
_GONE: Final = (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError)
PORT_TAKEN: Final = ("address already in use", "port is already allocated")


class EngineRefusedError(Exception):
    """The engine answers, but will not do what it was asked; the message is its reason."""


class MissingError(EngineRefusedError):
    """What the engine was asked about is not there."""


class PortTakenError(EngineRefusedError):
    """Something else listens where a container's port should be published."""


class EngineConnection:
    """Any thread may call. Every call raises OrchestratorUnavailableError when the engine does not answer, or fails."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connecting = threading.Lock()
        self._connected: Any = None

    def close(self) -> None:
        """End every connection."""
        with self._connecting:
            if self._connected is not None:
                self._connected.close()

    def api(self) -> Any:  # noqa: ANN401  the SDK has no types
        """The SDK's client, within one of the contexts below."""
        # The SDK would explain at length why it cannot connect, and leave a socket to the garbage collector.
        with socket.socket(socket.AF_UNIX) as knocking:
            knocking.connect(self._url.removeprefix(UNIX))
        with self._connecting:
            if self._connected is None:
                self._connected = docker.APIClient(base_url=self._url, version="auto", timeout=TIMEOUT_S)
            return self._connected

    @contextmanager
    def if_there(self) -> Iterator[None]:
        """Let what is missing, or has ended, be no error."""
        with self.answered():
            try:
                yield
            except APIError as error:
                if error.status_code not in (requests.codes.not_found, requests.codes.conflict):
                    raise

    @contextmanager
    def explained(self) -> Iterator[None]:
        """For what an engine may refuse for good reasons."""
        with self.answered():
            try:
                yield
            except NotFound as error:
                raise MissingError(_reason(error)) from error
            except APIError as error:
                reason = _reason(error)
                is_taken = any(sign in reason for sign in PORT_TAKEN)
                raise (PortTakenError if is_taken else EngineRefusedError)(reason) from error

    @contextmanager
    def answered(self) -> Iterator[None]:
        """For what an engine that works always does."""
        try:
            yield
        except (DockerException, *_GONE) as error:
            raise OrchestratorUnavailableError(self._shown, _reason(error)) from error

    @property
    def _shown(self) -> str:
        return f"Docker Engine at {self._url}"


def _reason(error: Exception) -> str:
    text = error.explanation if isinstance(error, APIError) and error.explanation else str(error)
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror.lower()
    return str(text).strip().rstrip(".").splitlines()[0] if str(text).strip() else type(error).__name__
