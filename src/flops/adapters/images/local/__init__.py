"""Images as prepared environments on this machine's disk: built with uv, shared by content, run without containers."""

from flops.adapters.images.local.builder import LocalImageBuilder
from flops.adapters.images.local.registry import LocalImageRegistry
from flops.adapters.images.local.store import LocalImageStore

__all__ = ["LocalImageBuilder", "LocalImageRegistry", "LocalImageStore"]
