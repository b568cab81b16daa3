"""Builds images without any daemon: layers from prepared environments, pushed to a registry above a base image."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flops.adapters.images.environments import remove_stale_environments
from flops.adapters.images.oci.actor_images import ActorAssembly
from flops.adapters.images.oci.bases import Bases
from flops.adapters.images.oci.client import INDEXES, RegistryClient
from flops.adapters.images.oci.model_image import ModelAssembly
from flops.adapters.images.oci.platforms import own_platform
from flops.adapters.images.preparation import ACTOR_STEPS, MODEL_STEPS, Preparation, check_model
from flops.adapters.images.progress import Progress
from flops.adapters.images.uv import Uv
from flops.adapters.images.workplace import workplace
from flops.errors import BuildFailedError
from flops.ports import BuiltImage
from flops.project.images import BuildStepName, parse_image

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from flops.ports import ActorImages, BuildStep, Repositories
    from flops.project.images import ImageReference
    from flops.registry_access import RegistryAccess
    from flops.retries import Retries


KEEP_S: Final = 30 * 24 * 3600.0  # an environment that nobody has asked for meanwhile


@dataclass(frozen=True, slots=True)
class OciPlan:
    """What images are built upon, for which platforms (none: this machine's), and where they are pushed.

    What is kept in ``directory`` makes later builds quick, and may be deleted.
    """

    access: RegistryAccess
    base_images: str
    directory: Path
    platforms: tuple[str, ...] = ()


class OciImageBuilder:
    """Fulfils ``ImageBuilder``. Builds of one repository in one directory wait for each other."""

    actor_steps = (*ACTOR_STEPS, BuildStepName.PUSH)
    model_steps = (*MODEL_STEPS, BuildStepName.PUSH)

    def __init__(
        self,
        plan: OciPlan,
        repositories: Repositories,
        *,
        environment: Mapping[str, str] | None = None,
        stopping: threading.Event | None = None,
        retries: Retries | None = None,
    ) -> None:
        self._client = RegistryClient(plan.access)
        self._bases = Bases(self._client, plan.access, plan.base_images)
        self._namespace, self._directory = plan.access.namespace, plan.directory
        self._platforms = plan.platforms or (own_platform(),)
        self._repositories, self._stopping, self._retries = repositories, stopping, retries
        self._environment = dict(os.environ if environment is None else environment)

    def build_actors(
        self, order: ActorImages, report: Callable[[BuildStep], None], warn: Callable[[str, str], None]
    ) -> list[BuiltImage]:
        """See the port."""
        begun = time.monotonic()
        references = {actor: parse_image(image) for actor, image in order.images.items()}
        progress = Progress(report, self._directory, retries=self._retries, warn=warn)
        with ExitStack() as held, self._workplace(next(iter(references.values())), progress) as place:
            missing = {actor: image for actor, image in references.items() if not self._exists(image, progress)}
            if missing:
                remove_stale_environments(self._directory / "envs", KEEP_S)
                uv = Uv(place, self._environment, self._stopping, progress.insist)
                steps = Preparation(
                    order, self._directory / "envs", self._repositories, uv, place, progress, warn, held
                )
                assembly = ActorAssembly(steps, self._client, self._bases, self._environment, self._stopping)
                places = {actor: (self._repository(image), image.tag) for actor, image in missing.items()}
                assembly.make(places, self._platforms)
            return [self._built(reference, begun, progress) for reference in references.values()]

    def build_trained_model(
        self, image: str, base_image: str, model: Path, report: Callable[[BuildStep], None]
    ) -> BuiltImage:
        """See the port."""
        begun = time.monotonic()
        reference, base = parse_image(image), parse_image(base_image)
        progress = Progress(report, self._directory, retries=self._retries)
        with self._workplace(reference, progress) as place:
            if not self._exists(reference, progress):
                with progress.step(BuildStepName.STORE) as done:
                    check_model(model)
                    assembly = ModelAssembly(self._client, self._bases, progress, place, self._stopping)
                    done.size_bytes = assembly.prepare(self._repository(base), base.tag, model, reference.tag)
                assembly.push(self._repository(reference), reference.tag)
            return self._built(reference, begun, progress)

    def _exists(self, reference: ImageReference, progress: Progress) -> bool:
        with progress.failures_of(BuildStepName.CLONE):
            return progress.insist(lambda: self._client.find_digest(self._repository(reference), reference.tag)) != ""

    def _built(self, reference: ImageReference, begun: float, progress: Progress) -> BuiltImage:
        """What the registry has now; of several platforms, the size of the first."""
        with progress.failures_of(BuildStepName.PUSH):
            repository = self._repository(reference)
            manifest = progress.insist(lambda: self._client.manifest(repository, reference.tag))
            if manifest is not None and manifest.media_type in INDEXES:
                first = manifest.content["manifests"][0]["digest"]
                manifest = progress.insist(lambda: self._client.manifest(repository, first))
        if manifest is None:
            raise BuildFailedError(BuildStepName.PUSH, f"the image {reference} was deleted meanwhile.")
        size_bytes = sum(layer["size"] for layer in manifest.content["layers"])
        return BuiltImage(str(reference), size_bytes, time.monotonic() - begun)

    def _workplace(self, reference: ImageReference, progress: Progress) -> AbstractContextManager[Path]:
        name = f"{reference.owner}.{reference.repository}"
        building = self._directory / "building"
        return workplace(
            building / name, building / ".locks" / name, self._directory / "envs", progress, self._stopping
        )

    def _repository(self, reference: ImageReference) -> str:
        return f"{self._namespace}{reference.owner}/{reference.repository}/{reference.actor}"
