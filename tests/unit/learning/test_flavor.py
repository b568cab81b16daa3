"""Whether a model is of the flavour that the SLA names."""

from __future__ import annotations

import pytest
from sklearn.linear_model import SGDClassifier

from flops.learning.model_process.runtime.flavor import check_flavor


class OwnEstimator(SGDClassifier):  # type: ignore[misc]  # scikit-learn has no types
    """A model class of the repository itself."""


class Unknown:
    """A model of no library that is known here."""


@pytest.mark.parametrize("model", [SGDClassifier(), OwnEstimator(), Unknown()])
def test_a_model_of_the_flavour_or_of_no_known_library_passes(model: object) -> None:
    check_flavor(model, "sklearn")


@pytest.mark.parametrize("flavor", ["pytorch", "keras", "tensorflow"])
def test_a_model_of_another_library_is_refused_with_the_flavour_to_name(flavor: str) -> None:
    with pytest.raises(TypeError, match="set ml_model_flavor to 'sklearn'"):
        check_flavor(OwnEstimator(), flavor)
