"""Whether a model is of the flavor that the SLA names; found out before the training, since it is saved after it."""

from __future__ import annotations

from typing import Any

_FLAVORS_OF_LIBRARY = {
    "sklearn": ("sklearn",),
    "torch": ("pytorch",),
    "keras": ("keras", "tensorflow"),
    "tf_keras": ("keras", "tensorflow"),
    "tensorflow": ("tensorflow",),
}
_KERAS_IN_TENSORFLOW = "tensorflow.python.keras"  # before TensorFlow 2.6


def check_flavor(model: Any, flavor: str) -> None:
    """Refuse a model that is clearly of another library than ``flavor``; one that is of none of them passes.

    Raises:
        TypeError: it is, with the flavor to name instead.
    """
    libraries = [_library_of(ancestor) for ancestor in type(model).__mro__]
    fitting = next((_FLAVORS_OF_LIBRARY[library] for library in libraries if library in _FLAVORS_OF_LIBRARY), None)
    if flavor and fitting and flavor not in fitting:
        kind = type(model)
        message = (
            f"get_model() returns a {kind.__module__}.{kind.__qualname__}, which is no {flavor} model: "
            f"set ml_model_flavor to {fitting[0]!r} in the SLA"
        )
        raise TypeError(message)


def _library_of(kind: type) -> str:
    return "keras" if kind.__module__.startswith(_KERAS_IN_TENSORFLOW) else kind.__module__.partition(".")[0]
