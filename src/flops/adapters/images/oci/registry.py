"""The images in an OCI registry."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from flops.adapters.images.oci.client import INDEXES, RegistryClient
from flops.project.images import AGGREGATOR, LEARNER, TRAINED_MODEL, parse_image

if TYPE_CHECKING:
    from flops.project.images import ImageReference
    from flops.registry_access import RegistryAccess

_ACTORS: Final = f"{LEARNER}|{AGGREGATOR}|{TRAINED_MODEL}"
# Others may keep images in the same registry, and FLOps' own service images are there: those have versions as tags.
_OURS: Final = re.compile(rf"[^/]+/[^/]+/({_ACTORS})")
_TAG: Final = re.compile(r"[0-9a-f]{24}|[0-9a-f]{40}|[0-9a-f]{64}")


class OciRegistry:
    """Fulfils ``Registry``. What a deleted image shared with others goes with the registry's garbage collection."""

    def __init__(self, access: RegistryAccess) -> None:
        self._namespace = access.namespace
        self._client = RegistryClient(access)

    def exists(self, image: str) -> bool:
        """See the port. A manifest is pushed last, so that an image is never half there."""
        reference = parse_image(image)
        return self._client.find_digest(self._repository(reference), reference.tag) != ""

    def delete(self, image: str) -> None:
        """See the port. An image for several platforms goes before its parts."""
        reference = parse_image(image)
        repository = self._repository(reference)
        manifest = self._client.manifest(repository, reference.tag)
        if manifest is None:
            return
        self._client.delete_manifest(repository, manifest.digest)
        if manifest.media_type in INDEXES:
            for part in manifest.content["manifests"]:
                self._client.delete_manifest(repository, part["digest"])

    def images(self) -> list[str]:
        """See the port."""
        return sorted(
            f"{name}:{tag}" for name in self._names() for tag in self._client.tags(f"{self._namespace}{name}")
            if _TAG.fullmatch(tag)
        )  # fmt: skip

    def _names(self) -> list[str]:
        names = (
            name.removeprefix(self._namespace)
            for name in self._client.repositories()
            if name.startswith(self._namespace)
        )
        return [name for name in names if _OURS.fullmatch(name)]

    def _repository(self, reference: ImageReference) -> str:
        return f"{self._namespace}{reference.owner}/{reference.repository}/{reference.actor}"
