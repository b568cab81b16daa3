"""The image of a trained model: the base that serves, the aggregator's environment and code, the model."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from flops.adapters.images.oci.assembly import Assembly, LayerPart, PlatformImage
from flops.adapters.images.oci.client import INDEXES
from flops.adapters.images.oci.layers import Layer, new_layer
from flops.adapters.images.oci.parts import Part, Pusher
from flops.adapters.images.runnable import IMAGE, MODEL, contents
from flops.errors import BuildFailedError
from flops.project.images import TRAINED_MODEL, BuildStepName

if TYPE_CHECKING:
    import threading
    from pathlib import Path

    from flops.adapters.images.oci.bases import Bases
    from flops.adapters.images.oci.client import RegistryClient, StoredManifest
    from flops.adapters.images.progress import Progress

SERVING_ROLE: Final = "inference"


class ModelAssembly:
    """One build of a trained model's image: first prepared, then pushed."""

    def __init__(
        self,
        client: RegistryClient,
        bases: Bases,
        progress: Progress,
        place: Path,
        stopping: threading.Event | None,
    ) -> None:
        self._client, self._bases, self._progress = client, bases, progress
        self._place, self._stopping = place, stopping
        self._images: dict[str, PlatformImage] = {}

    def prepare(self, repository: str, tag: str, model: Path, project_id: str) -> int:
        """Write the model's layer for above those of an aggregator's image; returns its size in bytes.

        Raises:
            BuildFailedError: there is no such image of an aggregator.
        """
        model_layer = None
        for manifest in self._manifests(repository, tag):
            config = self._config(repository, manifest)
            labels = config["config"]["Labels"]
            model_layer = model_layer or self._model_layer(model, labels)
            platform = f"{config['os']}/{config['architecture']}"
            base = self._progress.insist(partial(self._bases.find, SERVING_ROLE, platform))
            layers = [*_own_layers(repository, manifest, config), model_layer]
            made = {"org.opencontainers.image.title": "FLOps trained model", "fl.flops.actor": TRAINED_MODEL}
            self._images[platform] = PlatformImage(base, layers, {**labels, **made, "fl.flops.project": project_id})
        if model_layer is None:
            reason = f"the image {repository}:{tag}, whose environment the model needs, does not exist."
            raise BuildFailedError(BuildStepName.STORE, reason, remedy="Start the project again to build it.")
        return model_layer.layer.size_bytes

    def push(self, repository: str, tag: str) -> None:
        """Push what was prepared."""
        with self._progress.step(BuildStepName.PUSH) as done:
            pusher = Pusher(self._client, self._progress, self._stopping)
            Assembly(self._client, pusher, self._place).push(self._images, repository, tag)
            done.size_bytes = pusher.sent_bytes

    def _manifests(self, repository: str, tag: str) -> list[StoredManifest]:
        found = self._progress.insist(lambda: self._client.manifest(repository, tag))
        if found is None:
            return []
        if found.media_type not in INDEXES:
            return [found]
        parts = (self._part(repository, part["digest"]) for part in found.content["manifests"])
        return [part for part in parts if part is not None]

    def _part(self, repository: str, digest: str) -> StoredManifest | None:
        return self._progress.insist(lambda: self._client.manifest(repository, digest))

    def _config(self, repository: str, manifest: StoredManifest) -> dict[str, Any]:
        digest = manifest.content["config"]["digest"]
        return dict(json.loads(self._progress.insist(lambda: self._client.read_document(repository, digest))))

    def _model_layer(self, model: Path, labels: dict[str, str]) -> LayerPart:
        path = self._place / "model.tar.gz"
        source, commit = (labels[f"org.opencontainers.image.{name}"] for name in ("source", "revision"))
        with new_layer(path, self._stopping) as writer:
            writer.add_tree(model, MODEL)
            writer.add_text(IMAGE, contents(labels["fl.flops.flavor"], commit, source, has_model=True))
            layer = writer.close("model")
        return LayerPart(layer, Part(layer.digest, layer.size_bytes, lambda: path))


def _own_layers(repository: str, manifest: StoredManifest, config: dict[str, Any]) -> list[LayerPart]:
    """The layers of an image that FLOps has put above its base; all are in the registry."""
    described = zip(manifest.content["layers"], config["rootfs"]["diff_ids"], strict=True)
    layers = [Layer.of(descriptor, diff_id) for descriptor, diff_id in described]
    return [
        LayerPart(layer, Part(layer.digest, layer.size_bytes, _gone, [repository])) for layer in layers if layer.kind
    ]


def _gone() -> Path:
    raise BuildFailedError(
        BuildStepName.PUSH,
        "the registry has lost a part of the aggregator's image.",
        remedy="Delete that image ('flops clear-registry') and start the project again.",
    )
