"""Builds images on this machine: a checkout, two environments that uv fills, and manifests."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from flops.adapters.images.interpreters import choose_interpreter
from flops.adapters.images.local.store import MODEL, LocalImageStore, Manifest, write_manifest
from flops.adapters.images.preparation import ACTOR_STEPS, MODEL_STEPS, Preparation, check_model
from flops.adapters.images.progress import Progress
from flops.adapters.images.trees import make_read_only, private_directory, remove_tree, size_of
from flops.adapters.images.uv import Uv
from flops.adapters.images.workplace import workplace
from flops.errors import BuildFailedError
from flops.ports import BuiltImage
from flops.project.images import AGGREGATOR, LEARNER, BuildStepName, parse_image

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from flops.ports import ActorImages, BuildStep, Repositories
    from flops.project.images import ImageReference
    from flops.retries import Retries


class LocalImageBuilder:
    """Fulfils ``ImageBuilder``. Builds of one repository wait for each other; what is there is not made again."""

    actor_steps = ACTOR_STEPS
    model_steps = MODEL_STEPS

    def __init__(
        self,
        home: Path,
        repositories: Repositories,
        *,
        environment: Mapping[str, str] | None = None,
        stopping: threading.Event | None = None,
        retries: Retries | None = None,
    ) -> None:
        self._home, self._store = home, LocalImageStore(home)
        self._repositories, self._stopping, self._retries = repositories, stopping, retries
        self._environment = dict(os.environ if environment is None else environment)

    def build_actors(
        self, order: ActorImages, report: Callable[[BuildStep], None], warn: Callable[[str, str], None]
    ) -> list[BuiltImage]:
        """See the port."""
        begun = time.monotonic()
        references = {actor: parse_image(image) for actor, image in order.images.items()}
        progress = Progress(report, self._home, retries=self._retries, warn=warn)
        with ExitStack() as held, self._workplace(next(iter(references.values())), progress) as place:
            missing = {
                actor: reference for actor, reference in references.items() if self._store.manifest(reference) is None
            }
            if missing:
                uv = Uv(place, self._environment, self._stopping, progress.insist)
                steps = Preparation(
                    order, self._store.environments, self._repositories, uv, place, progress, warn, held
                )
                self._make(missing, steps)
            return [self._built(reference, begun) for reference in references.values()]

    def build_trained_model(
        self, image: str, base_image: str, model: Path, report: Callable[[BuildStep], None]
    ) -> BuiltImage:
        """See the port."""
        begun = time.monotonic()
        reference, base = parse_image(image), parse_image(base_image)
        progress = Progress(report, self._home)
        with self._workplace(reference, progress) as place:
            if self._store.manifest(reference) is None:
                with progress.step(BuildStepName.STORE) as done:
                    done.size_bytes = self._store_model(reference, base, model, place)
            return self._built(reference, begun)

    def _make(self, missing: Mapping[str, ImageReference], steps: Preparation) -> None:
        order = steps.order
        code = self._store.code(next(iter(missing.values())), order.commit)
        steps.provide_code(code)
        steps.check(code)
        targets = steps.resolve(lambda wanted: [choose_interpreter(wanted, steps.uv, self._environment)])
        environments = {actor: steps.install(actor, targets)[0] for actor in (LEARNER, AGGREGATOR) if actor in missing}
        with steps.progress.step(BuildStepName.STORE) as done:
            done.size_bytes = size_of(code)
            for actor, environment in environments.items():
                size_bytes = environment.size_bytes + done.size_bytes
                manifest = Manifest(order.url, order.commit, order.flavor, environment.digest, size_bytes)
                write_manifest(self._store.directory(missing[actor]), manifest)

    def _workplace(self, reference: ImageReference, progress: Progress) -> AbstractContextManager[Path]:
        places = self._store.images / reference.owner / reference.repository / ".building"
        lock = self._store.repository_lock(reference)
        return workplace(places, lock, self._store.environments, progress, self._stopping)

    def _store_model(self, reference: ImageReference, base: ImageReference, model: Path, place: Path) -> int:
        below = self._store.manifest(base)
        if below is None:
            reason = f"the image {base}, whose environment the model needs, does not exist."
            raise BuildFailedError(BuildStepName.STORE, reason, remedy="Start the project again to build it.")
        check_model(model)
        fresh = place / "image"
        shutil.copytree(model, fresh / MODEL)
        size_bytes = size_of(fresh)
        make_read_only(fresh / MODEL)
        image = Manifest(below.url, below.commit, below.flavor, below.environment, size_bytes, model=True)
        write_manifest(fresh, image)
        directory = self._store.directory(reference)
        private_directory(directory.parent)
        remove_tree(directory)
        fresh.rename(directory)
        return size_bytes

    def _built(self, reference: ImageReference, begun: float) -> BuiltImage:
        manifest = self._store.manifest(reference)
        if manifest is None:
            raise BuildFailedError(BuildStepName.STORE, f"the image {reference} was deleted meanwhile.")
        return BuiltImage(str(reference), manifest.size_bytes, time.monotonic() - begun)
