"""The training data of one learner: images of handwritten digits."""

import numpy as np
from flops_utils.ml_repo_building_blocks import load_dataset
from flops_utils.ml_repo_templates import DataManagerTemplate

BRIGHTEST = 16
SEED = 7
TRAINING_SHARE = 0.8


class DataManager(DataManagerTemplate):
    """Reads this learner's digits and splits them for training and evaluation."""

    def __init__(self):
        self.data = self._prepare_data()

    def _prepare_data(self):
        digits = load_dataset().with_format("numpy")[:]
        images = np.asarray(digits["image"], dtype=np.float32) / BRIGHTEST
        labels = np.asarray(digits["label"], dtype=np.int64)

        shuffled = np.random.default_rng(SEED).permutation(len(labels))
        training, evaluation = np.split(shuffled, [int(TRAINING_SHARE * len(labels))])
        return (images[training], labels[training]), (images[evaluation], labels[evaluation])

    def get_data(self):
        """Images between 0 and 1 and their labels: (x_train, y_train), (x_test, y_test)."""
        return self.data
