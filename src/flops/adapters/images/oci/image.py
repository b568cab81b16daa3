"""An image for one platform: its configuration, and the manifest that makes it one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from flops.adapters.images.oci.client import INDEX, MANIFEST
from flops.adapters.images.oci.layers import MEDIA_TYPE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flops.adapters.images.oci.bases import Base
    from flops.adapters.images.oci.layers import Layer

CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_KEPT: Final = ("created", "architecture", "os", "variant")


@dataclass(frozen=True, slots=True)
class Document:
    """A small blob: a configuration, a manifest or an index."""

    media_type: str
    content: bytes

    @classmethod
    def of(cls, media_type: str, content: Mapping[str, Any]) -> Document:
        """The document with this content, always the same bytes."""
        return cls(media_type, json.dumps(content, separators=(",", ":")).encode())

    @property
    def digest(self) -> str:
        """What a registry knows it by."""
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"

    @property
    def descriptor(self) -> dict[str, Any]:
        """What others say of it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.content)}


def configuration(base: Base, layers: Sequence[Layer], labels: Mapping[str, str]) -> Document:
    """The configuration of the base, entry point, user and all, with more layers and labels.

    ``created`` stays that of the base: the same image made again is the same to the byte.
    """
    inherited = base.config
    config = inherited.get("config") or {}
    known: dict[str, Any] = {name: inherited[name] for name in _KEPT if name in inherited}
    made = {"created": known["created"]} if "created" in known else {}
    history = [{**made, "created_by": f"flops: {layer.kind}"} for layer in layers]
    diff_ids = [*inherited["rootfs"]["diff_ids"], *(layer.diff_id for layer in layers)]
    return Document.of(CONFIG, {
        **known,
        "config": {**config, "Labels": {**(config.get("Labels") or {}), **labels}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [*inherited.get("history", []), *history],
    })  # fmt: skip


def manifest(config: Document, base: Base, layers: Sequence[Layer]) -> Document:
    """What makes an image of its parts; the layers of bases that Docker has pushed are named as OCI's."""
    inherited = [{"mediaType": MEDIA_TYPE, "digest": layer["digest"], "size": layer["size"]} for layer in base.layers]
    return Document.of(MANIFEST, {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor,
        "layers": [*inherited, *(layer.descriptor for layer in layers)],
    })  # fmt: skip


def index(platforms: Mapping[str, Document]) -> Document:
    """One name for the images of several platforms."""
    listed = []
    for platform, document in platforms.items():
        system, _, architecture = platform.partition("/")
        listed.append({**document.descriptor, "platform": {"os": system, "architecture": architecture}})
    return Document.of(INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed})
