"""Whether a model is of the flavor that the SLA names."""

from __future__ import annotations

import pytest
from sklearn.linear_model import SGDClassifier

from flops.learning.model_process.runtime.flavor import check_flavor


class OwnEstimator(SGDClassifier):  # type: ignore[misc]  # scikit-learn has no types
    """A model class of the repository itself."""


class Unknown:
    """A model of no library that is known here."""


class Module:
    """As TensorFlow has it."""

    __module__ = "tensorflow.python.module.module"


class KerasModel:
    """Written on TensorFlow's classes, as Keras has it."""

    __module__ = "keras.src.models.model"


class KerasOnTensorFlow(KerasModel, Module):
    """As Keras has it with TensorFlow below."""

    __module__ = "keras.src.models.sequential"


class EarlyKerasModel(Module):
    """As TensorFlow had it before 2.6."""

    __module__ = "tensorflow.python.keras.engine.training"


class OwnModule(Module):
    """A model class of the repository itself."""


@pytest.mark.parametrize("model", [SGDClassifier(), OwnEstimator(), Unknown()])
def test_a_model_of_the_flavor_or_of_no_known_library_passes(model: object) -> None:
    check_flavor(model, "sklearn")


@pytest.mark.parametrize("flavor", ["keras", "tensorflow"])
@pytest.mark.parametrize("model", [KerasModel(), KerasOnTensorFlow(), EarlyKerasModel()])
def test_a_keras_model_is_of_either_flavor(model: object, flavor: str) -> None:
    check_flavor(model, flavor)


def test_tensorflows_own_modules_are_of_the_flavor_tensorflow_alone() -> None:
    check_flavor(OwnModule(), "tensorflow")
    with pytest.raises(TypeError, match="set ml_model_flavor to 'tensorflow'"):
        check_flavor(OwnModule(), "keras")


@pytest.mark.parametrize("flavor", ["pytorch", "keras", "tensorflow"])
def test_a_model_of_another_library_is_refused_with_the_flavor_to_name(flavor: str) -> None:
    with pytest.raises(TypeError, match="set ml_model_flavor to 'sklearn'"):
        check_flavor(OwnEstimator(), flavor)
