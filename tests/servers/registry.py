"""A real OCI registry for tests: Debian's docker-registry, with passwords, on files that outlive it."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import psutil
import pytest
import requests
from tests.brokers import wait_until
from tests.servers.pulled import PulledServer, free_port, why_not

from flops.adapters.images.oci.client import MANIFEST, RegistryClient
from flops.adapters.images.oci.image import Document
from flops.registry_access import RegistryAccess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PROGRAM: Final = "docker-registry"
USERNAME: Final = "flops"
PASSWORD: Final = "registry-password"  # noqa: S105  of a registry that lives as long as its test
HTPASSWD: Final = "flops:$2y$04$mSKQOx.wx9SNDsC0R.dZ4.Ot5GO2dCBVE7lwDVyNS.lp1LVCG3N6W\n"
READY_S: Final = 20.0
STOP_S: Final = 10.0


class RegistryProcess:
    """A registry on a free port of the loopback interface; ``change`` may change its configuration."""

    def __init__(self, directory: Path, *, change: Callable[[str], str] = str) -> None:
        self.directory, self._port = directory, free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._pulled: PulledServer | None = None
        self._inside: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "htpasswd").write_text(HTPASSWD)
        self._is_installed = shutil.which(PROGRAM) is not None
        (directory / "config.yml").write_text(change(self._settings()))
        self.access = RegistryAccess(f"http://127.0.0.1:{self._port}", USERNAME, PASSWORD)

    @property
    def stranger(self) -> RegistryAccess:
        """How somebody without a password reaches it."""
        return replace(self.access, username="", password="")

    def access_below(self, namespace: str) -> RegistryAccess:
        """How it is reached for images below a namespace."""
        return replace(self.access, url=f"{self.access.url}/{namespace}")

    def start(self) -> None:
        if self._is_installed:
            self._start_program()
        else:
            self._start_pulled()

    def _start_program(self) -> None:
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "serve", str(self.directory / "config.yml")], stdout=log, stderr=log
            )
        wait_until(self._answers, READY_S, lambda: (self.directory / "log").read_text()[-2000:])

    def _start_pulled(self) -> None:
        if reason := why_not("registry"):
            reason = f"a registry needs {PROGRAM} (Debian: docker-registry), or its image: {reason}"
            pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
        if self._pulled is None:
            command = f"serve {self.directory}/config.yml"
            volumes = {self.directory: f"{self.directory}:rw"}
            self._pulled = PulledServer("registry", self._port, port=self._port, volumes=volumes, command=command)
        self._pulled.start()
        wait_until(self._answers, READY_S, self._pulled.output)

    def stop(self) -> None:
        if self._pulled is not None:
            self._pulled.stop()
        for process in filter(None, (self._process, self._inside)):
            for child in psutil.Process(process.pid).children():  # what nsenter waits for
                child.terminate()
            process.terminate()
            process.wait(STOP_S)
        self._process = self._inside = None

    def serve_inside(self, enter: Callable[[list[str], Any], subprocess.Popen[bytes]]) -> None:
        """Serve the same files on the same port in the namespaces of an engine as well, with ``engine.enter``."""
        knock = f"import socket; socket.create_connection(('127.0.0.1', {self._port}), 1)"
        with (self.directory / "log-inside").open("ab") as log:
            enter(["ip", "link", "set", "lo", "up"], log).wait(STOP_S)
            self._inside = enter([PROGRAM, "serve", str(self.directory / "config.yml")], log)
            wait_until(lambda: enter([sys.executable, "-c", knock], subprocess.DEVNULL).wait(STOP_S) == 0, READY_S)

    def collect_garbage(self) -> None:
        """Remove what no manifest mentions."""
        command = [PROGRAM, "garbage-collect", str(self.directory / "config.yml")]
        subprocess.run(command, check=True, capture_output=True)

    def _answers(self) -> bool:
        try:
            answer = requests.get(f"{self.access.url}/v2/", timeout=1, verify=self.access.ca_file or True)
        except requests.RequestException:
            return False
        return answer.status_code in {200, 401}

    def _settings(self) -> str:
        # Without a cache of blobs: what garbage collection removes would be said to be there.
        return f"""\
version: 0.1
log: {{level: warn}}
storage:
  filesystem: {{rootdirectory: {self.directory}/images}}
  delete: {{enabled: true}}
http: {{addr: "{"127.0.0.1" if self._is_installed else ""}:{self._port}"}}
auth:
  htpasswd: {{realm: tests, path: {self.directory}/htpasswd}}
"""


def put_image(access: RegistryAccess, image: str) -> None:
    """Push an image of nothing but a configuration."""
    client, (name, _, tag) = RegistryClient(access), image.rpartition(":")
    config = Document("application/vnd.oci.image.config.v1+json", b"{}")
    client.upload(name, config.digest, io.BytesIO(config.content))
    manifest = Document.of(MANIFEST, {"schemaVersion": 2, "config": config.descriptor, "layers": []})
    client.put_manifest(name, tag, manifest.content, manifest.media_type)


def unpack(access: RegistryAccess, image: str, root: Path, platform: str = "") -> None:
    """Lay an image's layers over each other, as an engine would."""
    client, (name, _, tag) = RegistryClient(access), image.rpartition(":")
    manifest = client.manifest(f"{access.namespace}{name}", tag)
    assert manifest is not None
    if platform:
        parts = manifest.content["manifests"]
        digest = next(part["digest"] for part in parts if part["platform"]["architecture"] == platform[6:])
        manifest = client.manifest(f"{access.namespace}{name}", digest)
        assert manifest is not None
    for layer in manifest.content["layers"]:
        content = b"".join(client.read_blob(f"{access.namespace}{name}", layer["digest"]))
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            tar.extractall(root, filter="fully_trusted")  # noqa: S202  made by the test


@contextmanager
def registry(directory: Path, *, change: Callable[[str], str] = str) -> Iterator[RegistryProcess]:
    """A registry that is stopped in the end."""
    process = RegistryProcess(directory, change=change)
    process.start()
    try:
        yield process
    finally:
        process.stop()
