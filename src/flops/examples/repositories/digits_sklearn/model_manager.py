"""A linear classifier of handwritten digits, trained by stochastic gradient descent."""

import numpy as np
from data_manager import DataManager
from flops_utils.ml_repo_templates import ModelManagerTemplate
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss

CLASSES = np.arange(10)
FEATURES = 64
EPOCHS_PER_ROUND = 5
SEED = 7


class ModelManager(ModelManagerTemplate):
    """Logistic regression that can be trained a little in every round."""

    def __init__(self):
        self.model = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=0.05, random_state=SEED)
        self._give_initial_parameters()

    def _give_initial_parameters(self):
        """Let the model know all ten digits: a learner may not have seen each, and the aggregator has no data."""
        self.model.partial_fit(np.zeros((len(CLASSES), FEATURES)), CLASSES, classes=CLASSES)
        self.set_model_parameters([np.zeros((len(CLASSES), FEATURES)), np.zeros(len(CLASSES))])

    def set_model_data(self):
        self.x_train, self.y_train, self.x_test, self.y_test = DataManager().get_data()

    def get_model(self):
        return self.model

    def get_model_parameters(self):
        return [self.model.coef_, self.model.intercept_]

    def set_model_parameters(self, parameters):
        self.model.coef_, self.model.intercept_ = parameters

    def fit_model(self):
        for _ in range(EPOCHS_PER_ROUND):
            self.model.partial_fit(self.x_train, self.y_train)
        return len(self.x_train)

    def evaluate_model(self):
        loss = log_loss(self.y_test, self.model.predict_proba(self.x_test), labels=CLASSES)
        accuracy = self.model.score(self.x_test, self.y_test)
        return loss, accuracy, len(self.x_test)
