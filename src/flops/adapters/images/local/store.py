"""Where images lie on disk, and what their manifests say. An image exists if and only if its manifest does."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from flops.adapters.images.runnable import LocalImage
from flops.adapters.images.trees import private_directory
from flops.atomic_file import write_atomically
from flops.errors import NotFoundError
from flops.project.images import ImageReference, parse_image

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST: Final = "manifest.json"
CODE: Final = "code"
MODEL: Final = "model"
FORMAT: Final = 1
_REMEDY: Final = "It may have been deleted; start the project again and it is built anew."


@dataclass(frozen=True, slots=True)
class Manifest:
    """What makes up an image. ``environment`` is a digest; ``model`` says whether a trained model belongs to it."""

    url: str
    commit: str
    flavor: str
    environment: str
    size_bytes: int
    model: bool = False
    format: int = FORMAT


class LocalImageStore:
    """The images below ``home``."""

    def __init__(self, home: Path) -> None:
        self.images = home / "images"
        self.environments = home / "envs"

    def locate(self, image: str) -> LocalImage:
        """What is needed to run an image.

        Raises:
            NotFoundError: there is no such image.
        """
        reference = parse_image(image)
        manifest = self.manifest(reference)
        if manifest is None:
            kind = "image"
            raise NotFoundError(kind, image, remedy=_REMEDY)
        return LocalImage(
            image=image,
            python=self.python(manifest.environment),
            code=self.code(reference, manifest.commit),
            flavor=manifest.flavor,
            commit=manifest.commit,
            url=manifest.url,
            model=self.directory(reference) / MODEL if manifest.model else None,
        )

    def directory(self, reference: ImageReference) -> Path:
        """The directory of one image."""
        return self.images / reference.owner / reference.repository / reference.actor / reference.tag

    def code(self, reference: ImageReference, commit: str) -> Path:
        """The checkout that all actors of a repository at one commit share."""
        return self.images / reference.owner / reference.repository / CODE / commit

    def python(self, environment: str) -> Path:
        """The interpreter of an environment."""
        return self.environments / environment / "bin" / "python"

    def repository_lock(self, reference: ImageReference) -> Path:
        """The lock under which images of a repository are made and deleted."""
        return self.images / ".locks" / f"{reference.owner}.{reference.repository}"

    def manifest(self, reference: ImageReference) -> Manifest | None:
        """The manifest of an image that is complete, or None."""
        try:
            manifest = Manifest(**json.loads((self.directory(reference) / MANIFEST).read_text("utf-8")))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, TypeError):
            return None
        is_complete = self.python(manifest.environment).exists() and self.code(reference, manifest.commit).is_dir()
        return manifest if is_complete and manifest.format == FORMAT else None

    def references(self) -> list[ImageReference]:
        """Every image that has a manifest, sorted by name."""
        found = []
        for path in self.images.glob(f"*/*/*/*/{MANIFEST}"):
            owner, repository, actor, tag = path.parts[-5:-1]
            if actor != CODE and not any(part.startswith(".") for part in (owner, repository, actor, tag)):
                found.append(ImageReference(owner, repository, actor, tag))
        return sorted(found, key=str)


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write a manifest at once and durably."""
    private_directory(directory)
    write_atomically(directory / MANIFEST, json.dumps(asdict(manifest), indent=2))
