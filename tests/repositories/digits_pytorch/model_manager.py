import torch
from flops_utils.ml_repo_building_blocks import load_dataset
from flops_utils.ml_repo_templates import DataManagerTemplate, ModelManagerTemplate


class DataManager(DataManagerTemplate):
    def _prepare_data(self):
        digits = load_dataset().with_format("torch")[:]
        return digits["image"].float().reshape(-1, 64) / 16, digits["label"].long()

    def get_data(self):
        return self._prepare_data()


class ModelManager(ModelManagerTemplate):
    def __init__(self):
        torch.manual_seed(7)
        self.model = torch.nn.Linear(64, 10)

    def set_model_data(self):
        images, labels = DataManager().get_data()
        cut = int(0.8 * len(labels))
        self.x_train, self.y_train, self.x_test, self.y_test = images[:cut], labels[:cut], images[cut:], labels[cut:]

    def get_model(self):
        return self.model

    def get_model_parameters(self):
        return list(self.model.parameters())

    def set_model_parameters(self, parameters):
        with torch.no_grad():
            for own, given in zip(self.model.parameters(), parameters):
                own.copy_(torch.from_numpy(given))

    def fit_model(self):
        optimizer = torch.optim.Adam(self.model.parameters(), 0.01)
        for _ in range(50):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(self.model(self.x_train), self.y_train).backward()
            optimizer.step()
        return len(self.x_train)

    def evaluate_model(self):
        with torch.no_grad():
            scores = self.model(self.x_test)
            loss = torch.nn.functional.cross_entropy(scores, self.y_test)
            accuracy = (scores.argmax(1) == self.y_test).float().mean()
        return loss, accuracy, len(self.y_test)
