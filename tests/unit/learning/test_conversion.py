from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from flops.learning.model_process.runtime import conversion


class Tensor:
    """What a torch tensor on a GPU looks like from outside."""

    def __init__(self, *, is_ready: bool = False) -> None:
        self.is_ready = is_ready

    def detach(self) -> "Tensor":
        return self

    def cpu(self) -> "Tensor":
        return Tensor(is_ready=True)

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray[Any, Any]:
        if not self.is_ready:
            message = "can't convert a tensor on a GPU"
            raise TypeError(message)
        return np.array([1.5])


@pytest.mark.parametrize(
    ("parameters", "shapes"),
    [
        ([np.zeros((2, 3)), np.float32(1)], [(2, 3), ()]),
        ((np.zeros(2), [1, 2, 3]), [(2,), (3,)]),
        (np.zeros((2, 3)), [(2, 3)]),
        ([], []),
        ([Tensor()], [(1,)]),
    ],
)
def test_parameters_become_arrays(parameters: object, shapes: list[tuple[int, ...]]) -> None:
    assert [array.shape for array in conversion.to_arrays(parameters)] == shapes


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        (None, "not None"),
        ({"coef": np.zeros(2)}, "not dict"),
        ("coef", "not str"),
        ([np.zeros(2), "x"], "item 1 of the parameters"),
        ([np.array([None])], "dtype is object"),
        ([[[1, 2], [3]]], "item 0 of the parameters"),
    ],
)
def test_other_parameters_are_refused_with_a_reason(parameters: object, reason: str) -> None:
    with pytest.raises(TypeError, match=reason):
        conversion.to_arrays(parameters)


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), np.array(0.5), np.array([0.5]), np.array([[0.5]])])
def test_numbers(value: object) -> None:
    assert conversion.to_number(value, "the loss") == 0.5


def test_nan_is_a_number() -> None:
    assert np.isnan(conversion.to_number(np.float32("nan"), "the loss"))


@pytest.mark.parametrize("value", [None, "0.5", np.zeros(2), 1j, object()])
def test_other_things_are_no_numbers(value: object) -> None:
    with pytest.raises(TypeError, match="the loss"):
        conversion.to_number(value, "the loss")


@pytest.mark.parametrize("value", [3, 3.0, np.int64(3), np.array(3), Tensor])
def test_counts(value: object) -> None:
    assert conversion.to_count(3 if value is Tensor else value, "n", 1) == 3


@pytest.mark.parametrize("value", [None, True, 2.5, float("nan"), "3", np.zeros(2)])
def test_other_things_are_no_counts(value: object) -> None:
    with pytest.raises(TypeError, match="n "):
        conversion.to_count(value, "n", 0)


def test_a_count_that_is_too_small() -> None:
    with pytest.raises(ValueError, match="at least 1, not 0"):
        conversion.to_count(0, "n", 1)


IMAGES = np.zeros((5, 8, 8), np.float32)


@pytest.mark.parametrize(
    ("attributes", "prepared", "structure"),
    [
        ({"x_train": IMAGES}, None, {"shape": [8, 8], "dtype": "float32"}),
        ({"_X_train": IMAGES}, None, {"shape": [8, 8], "dtype": "float32"}),
        ({"other": IMAGES}, None, {}),
        ({}, ((IMAGES, IMAGES), (1, 2)), {"shape": [8, 8], "dtype": "float32"}),
        ({}, (IMAGES.reshape(5, 64).astype("f8"), 1, 2, 3), {"shape": [64], "dtype": "float64"}),
        ({}, [], {}),
        ({}, None, {}),
        ({"x_train": [1, 2, 3]}, None, {}),
    ],
)
def test_the_structure_of_an_input(attributes: dict[str, Any], prepared: object, structure: dict[str, Any]) -> None:
    assert conversion.input_structure(SimpleNamespace(**attributes), prepared) == structure
