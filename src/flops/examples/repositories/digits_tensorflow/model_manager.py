"""A small dense network for handwritten digits, on TensorFlow without Keras' layers and training loop."""

import numpy as np
import tensorflow as tf
from data_manager import DataManager
from flops_utils.ml_repo_templates import ModelManagerTemplate

EPOCHS_PER_ROUND = 5
BATCH_SIZE = 32
LEARNING_RATE = 0.003
SEED = 7


class DigitsNetwork(tf.Module):
    """Two dense layers over the pixels of an image."""

    def __init__(self):
        super().__init__()
        generator = tf.random.Generator.from_seed(SEED)
        self.hidden_weights = tf.Variable(generator.normal((64, 64), stddev=0.15))
        self.hidden_bias = tf.Variable(tf.zeros(64))
        self.output_weights = tf.Variable(generator.normal((64, 10), stddev=0.15))
        self.output_bias = tf.Variable(tf.zeros(10))

    def __call__(self, images):
        """The probability of each digit: what whoever loads the saved model asks for."""
        return tf.nn.softmax(self.logits(images))

    def logits(self, images):
        pixels = tf.reshape(images, (-1, 64))
        hidden = tf.nn.relu(pixels @ self.hidden_weights + self.hidden_bias)
        return hidden @ self.output_weights + self.output_bias


class ModelManager(ModelManagerTemplate):
    """Trains the network with a loop of its own."""

    def __init__(self):
        self.model = DigitsNetwork()
        self.optimizer = tf.keras.optimizers.Adam(LEARNING_RATE)

    def set_model_data(self):
        (self.x_train, self.y_train), (self.x_test, self.y_test) = DataManager().get_data()

    def get_model(self):
        return self.model

    def get_model_parameters(self):
        return [variable.numpy() for variable in self.model.trainable_variables]

    def set_model_parameters(self, parameters):
        for variable, value in zip(self.model.trainable_variables, parameters):
            variable.assign(value)

    def fit_model(self):
        examples = tf.data.Dataset.from_tensor_slices((self.x_train, self.y_train))
        batches = examples.shuffle(len(self.x_train), seed=SEED).batch(BATCH_SIZE)
        for _ in range(EPOCHS_PER_ROUND):
            for images, labels in batches:
                self._train_step(images, labels)
        return len(self.x_train)

    @tf.function(reduce_retracing=True)
    def _train_step(self, images, labels):
        with tf.GradientTape() as tape:
            loss = self._loss(images, labels)
        variables = self.model.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))

    def _loss(self, images, labels):
        logits = self.model.logits(images)
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))

    def evaluate_model(self):
        loss = self._loss(self.x_test, self.y_test)
        accuracy = np.mean(np.argmax(self.model(self.x_test), axis=1) == self.y_test)
        return float(loss), float(accuracy), len(self.x_test)
