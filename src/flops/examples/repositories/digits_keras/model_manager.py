"""A small dense network for handwritten digits, on TensorFlow."""

import keras
from data_manager import DataManager
from flops_utils.ml_repo_templates import ModelManagerTemplate

EPOCHS_PER_ROUND = 5
BATCH_SIZE = 32
SEED = 7


class ModelManager(ModelManagerTemplate):
    """Two dense layers over the pixels of an image."""

    def __init__(self):
        keras.utils.set_random_seed(SEED)
        self.model = keras.Sequential(
            [
                keras.layers.Input((8, 8)),
                keras.layers.Flatten(),
                keras.layers.Dense(64, activation="relu"),
                keras.layers.Dense(10, activation="softmax"),
            ]
        )
        self.model.compile(
            optimizer=keras.optimizers.Adam(0.003),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )

    def set_model_data(self):
        (self.x_train, self.y_train), (self.x_test, self.y_test) = DataManager().get_data()

    def get_model(self):
        return self.model

    def get_model_parameters(self):
        return self.model.get_weights()

    def set_model_parameters(self, parameters):
        self.model.set_weights(parameters)

    def fit_model(self):
        self.model.fit(self.x_train, self.y_train, epochs=EPOCHS_PER_ROUND, batch_size=BATCH_SIZE, verbose=0)
        return len(self.x_train)

    def evaluate_model(self):
        loss, accuracy = self.model.evaluate(self.x_test, self.y_test, verbose=0)
        return loss, accuracy, len(self.x_test)
