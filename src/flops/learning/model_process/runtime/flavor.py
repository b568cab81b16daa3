"""Whether a model is of the flavour that the SLA names; found out before the training, since it is saved after it."""

from __future__ import annotations

from typing import Any

_FAMILIES = {"sklearn": "sklearn", "torch": "pytorch", "keras": "keras", "tf_keras": "keras", "tensorflow": "keras"}
_FAMILY_OF_FLAVOR = {"sklearn": "sklearn", "pytorch": "pytorch", "keras": "keras", "tensorflow": "keras"}


def check_flavor(model: Any, flavor: str) -> None:
    """Refuse a model that is clearly of another library than ``flavor``; one that is of none of them passes.

    Raises:
        TypeError: it is, with the flavour to name instead.
    """
    libraries = [ancestor.__module__.partition(".")[0] for ancestor in type(model).__mro__]
    families = [_FAMILIES[library] for library in libraries if library in _FAMILIES]
    wanted = _FAMILY_OF_FLAVOR.get(flavor)
    if families and wanted and wanted not in families:
        kind = type(model)
        message = (
            f"get_model() returns a {kind.__module__}.{kind.__qualname__}, which is no {flavor} model: "
            f"set ml_model_flavor to {families[0]!r} in the SLA"
        )
        raise TypeError(message)
