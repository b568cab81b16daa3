"""Builds images on this machine: a checkout, two environments that uv fills, and manifests."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from flops.adapters.local_images.actor_build import ActorBuild
from flops.adapters.local_images.environments import remove_unfinished_environments
from flops.adapters.local_images.locks import FileLock
from flops.adapters.local_images.progress import Progress
from flops.adapters.local_images.store import MODEL, LocalImageStore, Manifest, write_manifest
from flops.adapters.local_images.trees import make_read_only, private_directory, remove_tree, size_of
from flops.adapters.local_images.uv import Uv
from flops.errors import BuildFailedError
from flops.ports import BuiltImage
from flops.project.images import BuildStepName, parse_image

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from flops.ports import ActorImages, BuildStep, Repositories
    from flops.project.images import ImageReference
    from flops.retries import Retries

MLMODEL: Final = "MLmodel"


class LocalImageBuilder:
    """Fulfils ``ImageBuilder``. Builds of one repository wait for each other; what is there is not made again."""

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
        with ExitStack() as held, self._workplace(next(iter(references.values())), progress) as workplace:
            missing = {
                actor: reference for actor, reference in references.items() if self._store.manifest(reference) is None
            }
            if missing:
                uv = Uv(workplace, self._environment, self._stopping, progress.insist)
                ActorBuild(
                    order, self._store, self._repositories, uv, workplace, self._environment, progress, warn, held
                ).run(missing)
            return [self._built(reference, begun) for reference in references.values()]

    def build_trained_model(
        self, image: str, base_image: str, model: Path, report: Callable[[BuildStep], None]
    ) -> BuiltImage:
        """See the port."""
        begun = time.monotonic()
        reference, base = parse_image(image), parse_image(base_image)
        progress = Progress(report, self._home)
        with self._workplace(reference, progress) as workplace:
            if self._store.manifest(reference) is None:
                with progress.step(BuildStepName.STORE) as done:
                    done.size_bytes = self._store_model(reference, base, model, workplace)
            return self._built(reference, begun)

    @contextmanager
    def _workplace(self, reference: ImageReference, progress: Progress) -> Iterator[Path]:
        """A directory of this build alone; what killed builds have left behind is removed first."""
        places = self._store.images / reference.owner / reference.repository / ".building"
        with ExitStack() as held:
            with progress.failures_of(BuildStepName.CLONE):
                lock = held.enter_context(FileLock(self._store.repository_lock(reference), self._stopping))
                lock.acquire(shared=False)
                held.callback(remove_tree, places)
                remove_tree(places)
                remove_unfinished_environments(self._store.environments)
                workplace = private_directory(places / secrets.token_hex(4))
            yield workplace

    def _store_model(self, reference: ImageReference, base: ImageReference, model: Path, workplace: Path) -> int:
        below = self._store.manifest(base)
        if below is None:
            reason = f"the image {base}, whose environment the model needs, does not exist."
            raise BuildFailedError(BuildStepName.STORE, reason, remedy="Start the project again to build it.")
        _check_model(model)
        fresh = workplace / "image"
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


def _check_model(model: Path) -> None:
    if not (model / MLMODEL).is_file():
        reason = f"the trained model has no file {MLMODEL}, so it is not in MLflow's format."
        raise BuildFailedError(BuildStepName.STORE, reason, where=MLMODEL)
    links = [path.name for path in model.rglob("*") if path.is_symlink()]
    if links:
        raise BuildFailedError(BuildStepName.STORE, "the trained model holds symbolic links.", where=links[0])
