"""What images consist of, on its way to the registry: nothing is made or sent that is there already."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from flops.adapters.images.oci.layers import Layer
from flops.adapters.images.trees import private_directory
from flops.atomic_file import write_atomically
from flops.errors import StoppingError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

    from flops.adapters.images.oci.client import RegistryClient
    from flops.adapters.images.oci.image import Document
    from flops.adapters.images.progress import Progress

FORMAT: Final = "1"  # part of what a layer is remembered by: another number where they are written differently


@dataclass(slots=True)
class Part:
    """A blob: what it is, how to come by its content, and repositories of the registry that (may) have it."""

    digest: str
    size_bytes: int
    content: Callable[[], Path]
    homes: list[str] = field(default_factory=list)


class LayerMemory:
    """Which layer an environment was, and where it was pushed: whoever changes only code has none to make again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def recall(self, key: str) -> tuple[Layer, list[str]] | None:
        """The layer, and the repositories that it was pushed to."""
        try:
            known = json.loads((self._directory / f"{key}.json").read_text("utf-8"))
            return Layer(**known["layer"]), list(known["homes"])
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def keep(self, key: str, layer: Layer, homes: list[str]) -> None:
        """Remember it."""
        private_directory(self._directory)
        write_atomically(self._directory / f"{key}.json", json.dumps({"layer": asdict(layer), "homes": homes}))


class Pusher:
    """Brings parts into the registry, and counts what had to be sent."""

    def __init__(self, client: RegistryClient, progress: Progress, stopping: threading.Event | None) -> None:
        self._client, self._progress, self._stopping = client, progress, stopping
        self.sent_bytes = 0

    def push(self, part: Part, repository: str) -> None:
        """See to it that a repository has a blob: it may be there, be in another repository, or has to be sent."""
        insist = self._progress.insist
        is_there = insist(partial(self._client.has_blob, repository, part.digest)) or any(
            insist(partial(self._client.mount, repository, part.digest, home))
            for home in part.homes
            if home != repository
        )
        if not is_there:
            insist(lambda: self._upload(repository, part.digest, part.content()))
            self.sent_bytes += part.size_bytes
        if repository not in part.homes:
            part.homes.append(repository)

    def put(self, document: Document, repository: str, reference: str) -> None:
        """Store a manifest: the last thing that makes an image one."""
        self._progress.insist(
            lambda: self._client.put_manifest(repository, reference, document.content, document.media_type)
        )

    def _upload(self, repository: str, digest: str, path: Path) -> None:
        with StoppableFile(path, self._stopping) as content:
            self._client.upload(repository, digest, content)


class StoppableFile(io.FileIO):
    """A file that is read until the build is asked to stop."""

    def __init__(self, path: Path, stopping: threading.Event | None) -> None:
        super().__init__(path)
        self._stopping = stopping

    def read(self, size: int | None = -1, /) -> bytes:
        """The next piece."""
        if self._stopping is not None and self._stopping.is_set():
            raise StoppingError
        return super().read(size)
