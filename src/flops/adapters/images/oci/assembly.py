"""Puts an image together in the registry: its parts, its configuration, and last its manifest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flops.adapters.images.oci.image import configuration, index, manifest
from flops.adapters.images.oci.parts import Part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from flops.adapters.images.oci.bases import Base
    from flops.adapters.images.oci.client import RegistryClient
    from flops.adapters.images.oci.image import Document
    from flops.adapters.images.oci.layers import Layer
    from flops.adapters.images.oci.parts import Pusher


@dataclass(frozen=True, slots=True)
class LayerPart:
    """A layer of ours; ``key`` is what it is remembered by, if it is."""

    layer: Layer
    part: Part
    key: str = ""


@dataclass(frozen=True, slots=True)
class PlatformImage:
    """What an image for one platform consists of."""

    base: Base
    layers: Sequence[LayerPart]
    labels: Mapping[str, str] = field(default_factory=dict)


class Assembly:
    """Pushes images. ``place`` takes what has to be copied from another registry."""

    def __init__(self, client: RegistryClient, pusher: Pusher, place: Path) -> None:
        self._client, self._pusher, self._place = client, pusher, place

    def push(self, images: Mapping[str, PlatformImage], repository: str, tag: str) -> None:
        """Push an image for each platform under one tag. Until the end nothing can be seen of it."""
        manifests = {platform: self._push_parts(image, repository) for platform, image in images.items()}
        if len(manifests) == 1:
            self._pusher.put(next(iter(manifests.values())), repository, tag)
            return
        for document in manifests.values():
            self._pusher.put(document, repository, document.digest)
        self._pusher.put(index(manifests), repository, tag)

    def _push_parts(self, image: PlatformImage, repository: str) -> Document:
        for layer in image.base.layers:
            self._pusher.push(self._base_part(image.base, layer["digest"], layer["size"]), repository)
        for own in image.layers:
            self._pusher.push(own.part, repository)
        layers = [own.layer for own in image.layers]
        config = configuration(image.base, layers, image.labels)
        self._pusher.push(self._document_part(config), repository)
        return manifest(config, image.base, layers)

    def _base_part(self, base: Base, digest: str, size_bytes: int) -> Part:
        def fetch() -> Path:
            path = self._place / digest.partition(":")[2]
            with path.open("wb") as file:
                for piece in base.client.read_blob(base.repository, digest):
                    file.write(piece)
            return path

        return Part(digest, size_bytes, fetch, [base.repository] if base.client is self._client else [])

    def _document_part(self, document: Document) -> Part:
        def write() -> Path:
            path = self._place / document.digest.partition(":")[2]
            path.write_bytes(document.content)
            return path

        return Part(document.digest, len(document.content), write)
