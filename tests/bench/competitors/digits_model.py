"""The model, the data and the split of the example ML repository ``digits_sklearn``, without anything of FLOps."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss

CLASSES = np.arange(10)
FEATURES = 64
EPOCHS_PER_ROUND = 5
SEED = 7
TRAINING_SHARE = 0.8


class Digits:
    """A linear classifier with one of ``shares`` parts of the digits."""

    def __init__(self, share: int, shares: int) -> None:
        self._model = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=0.05, random_state=SEED)
        self._model.partial_fit(np.zeros((len(CLASSES), FEATURES)), CLASSES, classes=CLASSES)
        self.parameters = [np.zeros((len(CLASSES), FEATURES)), np.zeros(len(CLASSES))]
        images, labels = load_digits(return_X_y=True)
        mine = np.random.default_rng(SEED).permutation(len(labels))[share::shares]
        training, evaluation = np.split(mine, [int(TRAINING_SHARE * len(mine))])
        self._training = images[training] / 16, labels[training]
        self._evaluation = images[evaluation] / 16, labels[evaluation]

    @property
    def parameters(self) -> list[Any]:
        """Coefficients and intercepts."""
        return [self._model.coef_, self._model.intercept_]

    @parameters.setter
    def parameters(self, parameters: list[Any]) -> None:
        self._model.coef_, self._model.intercept_ = (np.array(array) for array in parameters)

    def fit(self) -> int:
        """Train for one round; returns the number of examples."""
        for _ in range(EPOCHS_PER_ROUND):
            self._model.partial_fit(*self._training)
        return len(self._training[1])

    def evaluate(self) -> tuple[float, float, int]:
        """Loss, accuracy and the number of examples."""
        images, labels = self._evaluation
        loss = log_loss(labels, self._model.predict_proba(images), labels=CLASSES)
        return float(loss), float(self._model.score(images, labels)), len(labels)
