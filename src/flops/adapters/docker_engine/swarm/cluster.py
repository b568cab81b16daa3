"""A swarm as the orchestrator needs it, by way of the Docker Engine of one of its managers."""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import requests
from docker.errors import APIError, DockerException, NotFound

from flops.adapters.docker_engine.container import LABEL
from flops.adapters.docker_engine.swarm.members import read_all
from flops.adapters.docker_engine.swarm.template import (
    UPDATES,
    Belonging,
    endpoint,
    parked,
    replicated,
    secret_file,
    task_template,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from flops.adapters.docker_engine.connection import EngineConnection
    from flops.adapters.docker_engine.container import ContainerSpec
    from flops.adapters.docker_engine.provisions import ImageSource
    from flops.adapters.docker_engine.swarm.members import Seen, SwarmNode

LOGS_S: Final = 10.0
_READABLE: Final = 32
_HEADER: Final = 8
_OUTPUT: Final = (1, 2)  # what else is in the stream of a log is the swarm's own complaints


class Cluster:
    """One swarm, seen by one installation: whatever has another installation's label does not exist for it.

    Any thread may call. Every method raises OrchestratorUnavailableError when no manager answers.
    """

    def __init__(self, connection: EngineConnection, installation: str, source: ImageSource) -> None:
        self._connection, self._installation, self._source = connection, installation, source
        self._labels = {f"{LABEL}installation": installation}
        self._label = f"{LABEL}installation={installation}"
        self._making_network = threading.Lock()

    def close(self) -> None:
        """End every connection."""
        self._connection.close()

    @property
    def network(self) -> str:
        """The name of the overlay network of all services."""
        return f"flops-{self._installation}"

    def name_of(self, instance: str) -> str:
        """The name of an instance's service and of its volumes: what a swarm takes, and unique."""
        readable = re.sub(r"[^A-Za-z0-9]+", "-", instance).strip("-")[:_READABLE].rstrip("-")
        return f"flops-{self._installation}-{readable}-{hashlib.sha256(instance.encode()).hexdigest()[:8]}"

    def ping(self) -> None:
        """Return if a manager answers."""
        with self._connection.answered():
            self._api().inspect_swarm()

    def look(self) -> Seen:
        """The nodes of the swarm and the tasks of this installation."""
        with self._connection.answered():
            api = self._api()
            return read_all(api.nodes(), api.tasks(filters={"label": self._label}))

    def instances(self) -> set[str]:
        """The instances that have a service."""
        with self._connection.answered():
            found = self._api().services(filters={"label": self._label})
            return {service["Spec"]["Labels"][f"{LABEL}instance"] for service in found}

    def run(self, spec: ContainerSpec, files: Mapping[str, str], node: SwarmNode) -> None:
        """Begin a run of an instance on a node; whatever was left of former ones ends.

        Raises:
            EngineRefusedError: with the swarm's reason.
            OSError: the registry's password cannot be read.
        """
        self._log_in()
        self._ensure_network()
        with self._explained():
            api, name = self._api(), self.name_of(spec.instance)
            former = self._secrets(spec.instance)
            given = [self._give(spec.instance, file, text) for file, text in files.items()]
            template = task_template(spec, given, node, installation=Belonging(name, self.network, self._labels))
            labels = {**spec.all_labels(), **self._labels}
            try:
                api.create_service(template, name, labels, replicated(), UPDATES, endpoint_spec=endpoint(spec))
            except APIError as error:
                if error.status_code != requests.codes.conflict:
                    raise
                self._update(name, template, labels, endpoint(spec))
            self._remove_secrets(former)

    def stop(self, instance: str) -> None:
        """Let the tasks of an instance end; how, and what they have written, can still be read. Idempotent."""
        with self._connection.if_there():
            name = self.name_of(instance)
            spec = self._api().inspect_service(name)["Spec"]
            self._update(name, parked(spec["TaskTemplate"]), spec["Labels"], spec["EndpointSpec"])

    def remove(self, instance: str) -> None:
        """Remove the service of an instance, whether or not it runs; its volume stays. Idempotent."""
        with self._connection.if_there():
            self._api().remove_service(self.name_of(instance))
        with self._connection.answered():
            self._remove_secrets(self._secrets(instance))

    def logs(self, task_id: str, tail_lines: int) -> str:
        """The end of a task's output; empty if it has none, or its node does not answer in time."""
        output = b""
        with self._connection.if_there(), suppress(requests.exceptions.ReadTimeout):
            api = self._api()
            wanted = {"stdout": True, "stderr": True, "tail": str(tail_lines)}
            answer = api._get(api._url("/tasks/{0}/logs", task_id), params=wanted, timeout=LOGS_S)  # noqa: SLF001  the SDK has no call
            api._raise_for_status(answer)  # noqa: SLF001  as above
            output = answer.content
        return _text(output)

    def remove_network(self) -> None:
        """Remove the network, if no service is in it."""
        with self._connection.if_there():
            self._api().remove_network(self.network)

    def _ensure_network(self) -> None:
        with self._making_network, self._explained():
            api = self._api()
            try:
                api.inspect_network(self.network)
            except NotFound:
                api.create_network(self.network, driver="overlay", labels=self._labels, check_duplicate=True)

    def _update(
        self, name: str, template: Mapping[str, Any], labels: Mapping[str, str], endpoint_spec: Mapping[str, Any]
    ) -> None:
        api = self._api()
        version = api.inspect_service(name)["Version"]["Index"]
        api.update_service(name, version, template, name, labels, replicated(), UPDATES, endpoint_spec=endpoint_spec)

    def _log_in(self) -> None:
        """Let the swarm pull images with the registry's password, which is read now; each node gets it with a task."""
        if self._source.username:
            host, password = self._source.prefix.partition("/")[0], Path(self._source.password_file).read_text().strip()
            known = {"username": self._source.username, "password": password, "serveraddress": host}
            with self._connection.answered():
                self._api()._auth_configs.add_auth(host, known)  # noqa: SLF001  the SDK would log in by itself

    def _give(self, instance: str, file: str, text: str) -> Any:  # noqa: ANN401  the SDK has no types
        """Make a secret of a file's text; it cannot be changed, so that each run has secrets of its own."""
        name = f"flops-{self._installation}-{secrets.token_hex(8)}"
        labels = {**self._labels, f"{LABEL}instance": instance, f"{LABEL}file": file}
        return secret_file(self._api().create_secret(name, text.encode(), labels)["ID"], name, file)

    def _secrets(self, instance: str) -> list[str]:
        found = self._api().secrets(filters={"label": [self._label, f"{LABEL}instance={instance}"]})
        return [secret["ID"] for secret in found]

    def _remove_secrets(self, ids: Iterable[str]) -> None:
        for secret in ids:
            try:
                self._api().remove_secret(secret)
            except NotFound:
                continue
            except APIError as error:
                if "in use" not in str(error):  # by a task that is just ending
                    raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """For what a swarm may refuse for good reasons; that it has no leader, for instance, is none."""
        with self._connection.explained():
            try:
                yield
            except APIError as error:
                if error.is_server_error():
                    raise DockerException(error.explanation or str(error)) from error
                raise

    def _api(self) -> Any:  # noqa: ANN401  the SDK has no types
        return self._connection.api()


def _text(stream: bytes) -> str:
    """The output in a stream of frames: a byte for the kind, three zeros, four for the length, what was written."""
    parts, at = [], 0
    while at + _HEADER <= len(stream):
        length = int.from_bytes(stream[at + 4 : at + _HEADER])
        if stream[at] in _OUTPUT:
            parts.append(stream[at + _HEADER : at + _HEADER + length])
        at += _HEADER + length
    return b"".join(parts).decode("utf-8", "replace")
