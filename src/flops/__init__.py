"""Federated Learning Operations: from one request to a trained, tracked and served federated model."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flops.client import Client, Model, Project

__all__ = ["Client", "Model", "Project"]


def __getattr__(name: str) -> object:
    """Import the client when somebody asks for it: every process of FLOps imports this package."""
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from flops import client  # noqa: PLC0415

    return getattr(client, name)
