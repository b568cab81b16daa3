"""Saving a trained model in MLflow's format, inside the ML repository's own environment."""

from __future__ import annotations

from typing import Any


def export_model(model: Any, flavor: str, directory: str, example: dict[str, Any]) -> None:
    """Save ``model`` as an MLflow model of ``flavor`` in ``directory``, which does not exist yet.

    ``example`` is the structure of one input (``shape``, ``dtype``), or empty when it is not known.
    """
    message = f"saving a model of the flavour {flavor} is not built yet"
    raise NotImplementedError(message)
