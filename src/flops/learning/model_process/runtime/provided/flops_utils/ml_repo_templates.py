"""What an ML repository implements: where its data come from, and how its model learns from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any


class DataManagerTemplate(ABC):
    """Prepares the training data of one learner. The repository's subclass is called ``DataManager``."""

    @abstractmethod
    def _prepare_data(self) -> Any:
        """Turn what ``load_dataset()`` gives into what the model learns from, split for training and evaluation."""

    @abstractmethod
    def get_data(self) -> tuple[Any, Any]:
        """The prepared data, in whatever form the repository's ``ModelManager`` takes them."""


class ModelManagerTemplate(ABC):
    """Trains and evaluates one model. The repository's subclass is called ``ModelManager``.

    The aggregator creates one too, to learn the initial parameters and to save the trained model: creating it needs no
    data, and its parameters exist from the beginning.
    """

    @abstractmethod
    def set_model_data(self) -> None:
        """Take the data from a ``DataManager``. Called once, on learners only, before any training."""

    @abstractmethod
    def get_model(self) -> Any:
        """The model itself, as its framework knows it."""

    @abstractmethod
    def get_model_parameters(self) -> Any:
        """The parameters that are shared with the other learners: a list of numeric arrays, always in one order."""

    @abstractmethod
    def set_model_parameters(self, parameters: Any) -> None:
        """Replace the model's parameters by ``parameters``, in the form and order of ``get_model_parameters``."""

    @abstractmethod
    def fit_model(self) -> int:
        """Train on the training data; returns the number of examples trained on."""

    @abstractmethod
    def evaluate_model(self) -> tuple[Any, Any, int]:
        """Evaluate on the evaluation data; returns the loss, the accuracy and the number of examples."""
