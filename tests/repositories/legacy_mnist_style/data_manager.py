from typing import Any, Tuple

from flops_utils.logging import logger
from flops_utils.ml_repo_building_blocks import load_dataset
from flops_utils.ml_repo_templates import DataManagerTemplate


class DataManager(DataManagerTemplate):
    def __init__(self):
        (self.x_train, self.x_test), (self.y_train, self.y_test) = self._prepare_data()

    def _prepare_data(self, partition_id=1) -> Any:
        logger.info("preparing partition %s", partition_id)
        dataset = load_dataset()
        dataset.set_format("numpy")
        split = dataset.train_test_split(test_size=0.2, seed=42)
        train, test = split["train"], split["test"]
        x_train = train["image"].reshape((len(train), -1)) / 16.0
        x_test = test["image"].reshape((len(test), -1)) / 16.0
        return (x_train, x_test), (train["label"], test["label"])

    def get_data(self) -> Tuple[Any, Any]:
        return (self.x_train, self.x_test), (self.y_train, self.y_test)
