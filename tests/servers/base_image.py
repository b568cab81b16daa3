"""A base of container images for tests: Debian with Python, its venv and git, made once by mmdebstrap.

It is kept outside of the repository, below ``XDG_CACHE_HOME``, so that only the first test run on a machine makes it.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import platform as machine
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from isal import isal_zlib

from flops.adapters.images.interpreters import own_interpreter
from flops.adapters.images.oci.bases import PYTHON, Base, BasePython
from flops.adapters.images.oci.client import MANIFEST, RegistryClient
from flops.adapters.images.oci.image import configuration, index, manifest
from flops.adapters.images.oci.layers import Layer, new_layer
from flops.adapters.images.oci.platforms import own_platform
from flops.project.images import AGGREGATOR, LEARNER

if TYPE_CHECKING:
    from tests.servers.docker_engine import GivenEngine

    from flops.registry_access import RegistryAccess

SUITE: Final = "bookworm"  # its Python is 3.11, as that of FLOps' own images
PACKAGES: Final = "python3,python3-venv,ca-certificates,git"
BASE: Final = "flops-test/base:1"
BASE_IMAGES: Final = "flops"
DEBIANS: Final = json.dumps({"path": "/usr/bin/python3.11", "version": "3.11.2", "glibc": "2.36"})
TIMEOUT_S: Final = 300.0


def own_python() -> str:
    """What a base with the Python of this machine would say of it: images above it can be run without containers."""
    number = ".".join(map(str, sys.version_info[:3]))
    return json.dumps({"path": str(own_interpreter()), "version": number, "glibc": machine.libc_ver()[1]})


def root_file_system() -> Path:
    """The tar archive of the base; skips, or fails where CI should have seen to it, if none can be made."""
    if shutil.which("mmdebstrap") is None:
        reason = "a base image needs mmdebstrap (Debian: mmdebstrap)"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    directory = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flops-tests"
    directory.mkdir(parents=True, exist_ok=True)
    archive = directory / f"{SUITE}-{PACKAGES.replace(',', '-')}.tar"
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            _make(archive)
    return archive


def import_base(engine: GivenEngine) -> str:
    """Give an engine the base as the image ``BASE``, whose name is returned: nothing has to be pulled."""
    name, _, tag = BASE.rpartition(":")
    with engine.client() as client:
        client.import_image_from_file(str(root_file_system()), repository=name, tag=tag)
    return BASE


def _make(archive: Path) -> None:
    unfinished = archive.with_suffix(".unfinished.tar")
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(unfinished)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "0"}
    subprocess.run(command, check=True, timeout=TIMEOUT_S, env=environment)
    unfinished.rename(archive)


def push_bases(
    access: RegistryAccess,
    scratch: Path,
    *,
    root: Path | None = None,
    python: str = DEBIANS,
    platforms: tuple[str, ...] = (own_platform(),),
) -> None:
    """Push what a builder takes for the images of FLOps' services: no FLOps inside, and a system only from ``root``.

    All of them are one; a container of it runs Python as user 10001.
    """
    client, said = RegistryClient(access), scratch / "python.tar.gz"
    with new_layer(said) as writer:
        writer.add_text(PYTHON, python)
        layers = {said: writer.close("")}
    if root is not None:
        system = scratch / "system.tar.gz"
        layers = {system: _pack(root, system), **layers}
    for role in (LEARNER, AGGREGATOR, "inference"):
        repository = f"{access.namespace}{BASE_IMAGES}/{role}"
        for path, layer in layers.items():
            with path.open("rb") as content:
                client.upload(repository, layer.digest, content)
        documents = {}
        for platform in platforms:
            base = _base(client, platform, python)
            config = configuration(base, list(layers.values()), {})
            client.upload(repository, config.digest, io.BytesIO(config.content))
            documents[platform] = manifest(config, base, list(layers.values()))
            client.put_manifest(repository, documents[platform].digest, documents[platform].content, MANIFEST)
        whole = index(documents) if len(platforms) > 1 else documents[platforms[0]]
        client.put_manifest(repository, version("flops-fl"), whole.content, whole.media_type)


def _base(client: RegistryClient, platform: str, python: str) -> Base:
    """Nothing yet, but a configuration for a platform."""
    config = {
        "architecture": platform.partition("/")[2],
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": {"User": "10001:10001", "Entrypoint": ["python3"], "Env": ["PATH=/usr/bin:/bin", "BASE=kept"]},
        "rootfs": {"type": "layers", "diff_ids": []},
    }
    return Base(client, "", [], config, BasePython(**json.loads(python)))


def _pack(archive: Path, into: Path) -> Layer:
    """A whole tar archive as a layer."""
    packed, plain = hashlib.sha256(), hashlib.sha256()
    compressor = isal_zlib.compressobj(0, wbits=31)
    with archive.open("rb") as source, into.open("wb") as file:
        while content := source.read(1024 * 1024):
            plain.update(content)
            file.write(compressor.compress(content))
        file.write(compressor.flush())
    packed.update(into.read_bytes())
    return Layer(f"sha256:{packed.hexdigest()}", f"sha256:{plain.hexdigest()}", into.stat().st_size)
