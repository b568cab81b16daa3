"""The images of FLOps' own services, which images of ML repositories are built upon."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from flops.adapters.images.oci.client import INDEXES, RegistryClient
from flops.endpoint import LOOPBACK
from flops.errors import BuildFailedError
from flops.project.images import BuildStepName
from flops.registry_access import RegistryAccess

if TYPE_CHECKING:
    from flops.adapters.images.oci.client import StoredManifest

# Written by services/Dockerfile into a layer of its own, so that nobody has to look for Python in large ones.
PYTHON: Final = "opt/ml/python.json"
_SMALL_BYTES: Final = 64 * 1024
_REMEDY: Final = "Build FLOps' own images for it and push them: see docs/how-to/run-in-containers.md."


@dataclass(frozen=True, slots=True)
class BasePython:
    """The interpreter of a base image: where it is, its version, and the glibc that it runs on."""

    path: str
    version: str
    glibc: str


@dataclass(frozen=True, slots=True)
class Base:
    """A base image for one platform; ``client`` reads its blobs from ``repository``."""

    client: RegistryClient
    repository: str
    layers: list[dict[str, Any]]
    config: dict[str, Any]
    python: BasePython


class Bases:
    """Finds base images: in the registry of images, unless ``prefix`` names another one."""

    def __init__(self, client: RegistryClient, access: RegistryAccess, prefix: str) -> None:
        host, _, rest = prefix.partition("/")
        self._shown = prefix
        if rest and (set(".:") & set(host) or host == "localhost") and host != urlsplit(access.url).netloc:
            scheme = "http" if host.partition(":")[0] in LOOPBACK else "https"
            self._client, self._prefix = RegistryClient(RegistryAccess(f"{scheme}://{host}")), rest
        else:
            self._client = client
            self._prefix = rest if rest and host == urlsplit(access.url).netloc else f"{access.namespace}{prefix}"

    def find(self, role: str, platform: str) -> Base:
        """The image of a role in the version that this is.

        Raises:
            BuildFailedError: it is not there, or not for this platform.
        """
        repository, tag = f"{self._prefix}/{role}", version("flops-fl")
        shown = f"{self._shown}/{role}:{tag}"
        manifest = self._client.manifest(repository, tag)
        if manifest is None:
            raise _missing(shown, "is not in the registry")
        if manifest.media_type in INDEXES:
            manifest = self._of_platform(repository, manifest, platform)
        config = self._read(repository, manifest.content["config"]["digest"]) if manifest else {}
        if manifest is None or f"{config.get('os')}/{config.get('architecture')}" != platform:
            raise _missing(shown, f"is not there for the platform {platform}")
        layers = manifest.content["layers"]
        python = self._python(repository, layers)
        if python is None:
            raise _missing(shown, f"has no file /{PYTHON}, as FLOps' own images have")
        return Base(self._client, repository, layers, config, python)

    def _of_platform(self, repository: str, index: StoredManifest, platform: str) -> StoredManifest | None:
        for part in index.content["manifests"]:
            offered = part.get("platform", {})
            if f"{offered.get('os')}/{offered.get('architecture')}" == platform:
                return self._client.manifest(repository, part["digest"])
        return None

    def _read(self, repository: str, digest: str) -> dict[str, Any]:
        return dict(json.loads(self._client.read_document(repository, digest)))

    def _python(self, repository: str, layers: list[dict[str, Any]]) -> BasePython | None:
        for layer in reversed(layers):
            if layer["size"] <= _SMALL_BYTES:
                content = self._client.read_document(repository, layer["digest"])
                with tarfile.open(fileobj=io.BytesIO(content)) as tar:
                    if PYTHON in tar.getnames() and (file := tar.extractfile(PYTHON)) is not None:
                        return BasePython(**json.load(file))
        return None


def _missing(image: str, what: str) -> BuildFailedError:
    return BuildFailedError(BuildStepName.RESOLVE, f"the base image {image} {what}.", where=image, remedy=_REMEDY)
