"""The images that an engine has, and those that it pulls from the registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from docker.errors import NotFound

from flops.adapters.docker_engine.connection import EngineRefusedError

if TYPE_CHECKING:
    from flops.adapters.docker_engine.connection import EngineConnection
    from flops.adapters.docker_engine.provisions import ImageSource

_PASSING: Final = (
    "connection refused", "connection reset", "timeout", "deadline exceeded", "no such host", "no route to host",
    "network is unreachable", "server misbehaving", "temporary failure", "EOF", "toomanyrequests",
    "received unexpected http status: 5",
)  # fmt: skip
_ACCESS: Final = ("unauthorized", "no basic auth credentials", "access denied", "authentication required")
_ACCESS_REMEDY: Final = "check FLOPS_REGISTRY_USERNAME and the file that FLOPS_REGISTRY_PASSWORD_FILE names"
_TLS: Final = ("server gave HTTP response to HTTPS client", "x509", "certificate")
_TLS_REMEDY: Final = "the engine itself has to trust this registry: see 'insecure-registries' and certs.d of Docker"


class RegistryAwayError(EngineRefusedError):
    """The registry cannot be reached now."""


class Images:
    """Any thread may call. Every method raises OrchestratorUnavailableError when the engine does not answer."""

    def __init__(self, connection: EngineConnection, source: ImageSource) -> None:
        self._connection, self._source = connection, source

    def has(self, image: str) -> bool:
        """Whether the engine has an image."""
        with self._connection.answered():
            try:
                self._connection.api().inspect_image(image)
            except NotFound:
                return False
            return True

    def can_have(self, image: str) -> bool:
        """Whether the engine has an image, or there is somewhere to pull it from."""
        return self._is_of_registry(image) or self.has(image)

    def provide(self, image: str, *, may_change: bool) -> None:
        """See to it that the engine has an image; one that may have changed is compared with the registry's.

        Raises:
            RegistryAwayError: it may be there later.
            EngineRefusedError: it cannot be had; the message says why and what to try.
            OSError: the password cannot be read.
        """
        is_there = self.has(image)
        if not self._is_of_registry(image) or (is_there and not may_change):
            return
        try:
            self._pull(image)
        except RegistryAwayError:
            if not is_there:
                raise

    def remove(self, image: str) -> None:
        """Remove an image that no container needs. Idempotent."""
        with self._connection.if_there():
            self._connection.api().remove_image(image)

    def _is_of_registry(self, image: str) -> bool:
        return bool(self._source.prefix) and image.startswith(f"{self._source.prefix}/")

    def _credentials(self) -> dict[str, str] | None:
        if not self._source.username:
            return None
        return {"username": self._source.username, "password": Path(self._source.password_file).read_text().strip()}

    def _pull(self, image: str) -> None:
        """The answer is a stream of progress, in which a fault is one more line."""
        credentials = self._credentials()
        try:
            with self._connection.explained():
                progress = self._connection.api().pull(image, stream=True, decode=True, auth_config=credentials)
                faults = [str(line["error"]) for line in progress if "error" in line]
        except EngineRefusedError as error:
            raise _explained(image, str(error)) from error
        if faults:
            raise _explained(image, faults[0])


def _explained(image: str, reason: str) -> EngineRefusedError:
    told = f"its image {image} cannot be pulled: {reason}"
    if any(sign in reason for sign in _PASSING):
        return RegistryAwayError(told)
    for signs, remedy in ((_ACCESS, _ACCESS_REMEDY), (_TLS, _TLS_REMEDY)):
        if any(sign in reason for sign in signs):
            return EngineRefusedError(f"{told}; {remedy}")
    return EngineRefusedError(told)
