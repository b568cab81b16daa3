"""From what the code of an ML repository returns to what the protocol carries."""

from __future__ import annotations

from typing import Any

import numpy as np

from .protocol import NUMERIC_KINDS

_INPUT_NAMES = ("x_train", "train_x", "xtrain", "train_images", "train_features", "train_data", "x", "x_test")


def to_arrays(parameters: Any) -> list[np.ndarray[Any, Any]]:
    """Model parameters as arrays: a list or tuple of arrays, tensors, variables or numbers, or a single one of them.

    Raises:
        TypeError: something in it is not numeric.
    """
    if isinstance(parameters, (list, tuple)):
        return [_to_array(item, f"item {index} of the parameters") for index, item in enumerate(parameters)]
    if isinstance(parameters, (dict, set, str, bytes)) or parameters is None:
        message = f"a list of arrays is expected as parameters, not {_kind(parameters)}"
        raise TypeError(message)
    return [_to_array(parameters, "what is given as parameters")]


def is_single(parameters: Any) -> bool:
    """Whether the parameters are one bare array and not a list of them."""
    return not isinstance(parameters, (list, tuple))


def to_number(value: Any, name: str) -> float:
    """A loss or an accuracy: any kind of number, numpy scalar or tensor with one element; NaN is one.

    Raises:
        TypeError: it is no number.
    """
    array = _to_array(value, name)
    if array.size != 1 or array.dtype.kind == "c":
        message = f"{name} has to be a number, not an array with the shape {array.shape}"
        raise TypeError(message)
    return float(array.reshape(()))


def to_count(value: Any, name: str, least: int) -> int:
    """A number of examples.

    Raises:
        TypeError: it is no whole number.
        ValueError: it is less than ``least``.
    """
    number = to_number(value, name) if value is not None else None
    if number is None or isinstance(value, (bool, np.bool_)) or not number.is_integer():
        message = f"{name} has to be a whole number, not {_kind(value)}"
        raise TypeError(message)
    if number < least:
        message = f"{name} has to be at least {least}, not {int(number)}"
        raise ValueError(message)
    return int(number)


def input_structure(owner: Any, prepared: Any) -> dict[str, Any]:
    """Shape and dtype of one model input, from an attribute of the model manager or else from the prepared data.

    Only the structure is looked at, never a value; what cannot be learnt gives ``{}``.
    """
    attributes = {name.lower().lstrip("_"): value for name, value in vars(owner).items()} if owner is not None else {}
    for candidate in [attributes[name] for name in _INPUT_NAMES if name in attributes] + [prepared]:
        structure = _structure(candidate)
        if structure:
            return structure
    return {}


def _structure(data: Any) -> dict[str, Any]:
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    shape, dtype = getattr(data, "shape", None), getattr(data, "dtype", None)
    if dtype is None or not isinstance(shape, tuple) or len(shape) < 2:  # noqa: PLR2004 -- examples, then features
        return {}
    name = getattr(dtype, "name", None) or str(dtype).rsplit(".", 1)[-1]
    return {"shape": [int(length) for length in shape[1:]], "dtype": str(name)}


def _to_array(value: Any, name: str) -> np.ndarray[Any, Any]:
    for method in ("detach", "cpu"):
        if callable(getattr(value, method, None)):
            value = getattr(value, method)()
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        message = f"{name} is no numeric array but {_kind(value)} ({error})"
        raise TypeError(message) from None
    if array.dtype.kind not in NUMERIC_KINDS:
        message = f"{name} is no numeric array but {_kind(value)} (as an array, its dtype is {array.dtype})"
        raise TypeError(message)
    return array


def _kind(value: Any) -> str:
    if value is None:
        return "None"
    return f"{type(value).__name__} {value!r}"[:100] if np.isscalar(value) else type(value).__name__
