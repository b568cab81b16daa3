"""Images as prepared environments on this machine's disk: built with uv, shared by content, run without containers."""

from flops.adapters.local_images.builder import LocalImageBuilder
from flops.adapters.local_images.registry import LocalImageRegistry
from flops.adapters.local_images.store import LocalImage, LocalImageStore

__all__ = ["LocalImage", "LocalImageBuilder", "LocalImageRegistry", "LocalImageStore"]
