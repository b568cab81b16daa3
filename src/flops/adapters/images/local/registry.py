"""The images on this machine, as a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flops.adapters.images.environments import remove_unused_environment
from flops.adapters.images.local.store import MANIFEST, LocalImageStore, Manifest
from flops.adapters.images.locks import FileLock
from flops.adapters.images.trees import remove_tree
from flops.errors import RegistryUnavailableError, StoreUnavailableError
from flops.project.images import parse_image

if TYPE_CHECKING:
    from pathlib import Path

    from flops.project.images import ImageReference


class LocalImageRegistry:
    """Fulfils ``Registry``. What an image shares with others goes with the last that uses it."""

    def __init__(self, home: Path) -> None:
        self._store = LocalImageStore(home)

    def exists(self, image: str) -> bool:
        """See the port."""
        try:
            return self._store.manifest(parse_image(image)) is not None
        except OSError as error:
            raise RegistryUnavailableError(str(self._store.images), str(error)) from error

    def images(self) -> list[str]:
        """See the port."""
        return [str(reference) for reference, _ in self._manifests()]

    def delete(self, image: str) -> None:
        """See the port. The manifest goes first: an image is never half there."""
        reference = parse_image(image)
        try:
            with FileLock(self._store.repository_lock(reference)) as lock:
                lock.acquire(shared=False)
                self._delete(reference)
        except OSError as error:
            raise StoreUnavailableError(str(self._store.images), str(error)) from error

    def _delete(self, reference: ImageReference) -> None:
        manifest = self._store.manifest(reference)
        directory = self._store.directory(reference)
        (directory / MANIFEST).unlink(missing_ok=True)
        remove_tree(directory)
        if manifest is None:
            return
        code = self._store.code(reference, manifest.commit)
        if code not in {self._store.code(other, kept.commit) for other, kept in self._manifests()}:
            remove_tree(code)
        remove_unused_environment(
            self._store.environments,
            manifest.environment,
            lambda: any(kept.environment == manifest.environment for _, kept in self._manifests()),
        )

    def _manifests(self) -> list[tuple[ImageReference, Manifest]]:
        found = ((reference, self._store.manifest(reference)) for reference in self._store.references())
        return [(reference, manifest) for reference, manifest in found if manifest is not None]
