"""Real ML repositories, in their own environments, train federatedly over two learners."""

import importlib.util
import re
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import flops.examples
from flops.learning.arrow_file import write_arrow
from flops.learning.model_process.process import ModelProcess

SHIPPED = Path(flops.examples.__file__).with_name("repositories")
TESTED = Path(__file__).parents[2] / "repositories"
DATASETS = ("datasets>=2.14,<4", "pyarrow<26")
Array = np.ndarray[Any, Any]


class Federation:
    """An aggregator and two learners of one ML repository, without any network."""

    def __init__(self, code: Path, python: Path, shares: list[Path], directory: Path) -> None:
        self.aggregator = ModelProcess(python, code, directory / "aggregator")
        self.learners = [
            ModelProcess(python, code, directory / f"learner{number}", share) for number, share in enumerate(shares)
        ]
        self.parameters: list[Array] = []

    def start(self) -> list[dict[str, Any]]:
        for model in (self.aggregator, *self.learners):
            model.start()
        self.parameters = self.aggregator.get_parameters()
        return [learner.load_data() for learner in self.learners]

    def round(self) -> float:
        """Train and evaluate once over all learners; returns the weighted accuracy."""
        fitted = [learner.fit(self.parameters) for learner in self.learners]
        weights = [examples for _, examples in fitted]
        layers = zip(*(parameters for parameters, _ in fitted), strict=True)
        self.parameters = [np.average(layer, axis=0, weights=weights) for layer in layers]
        evaluated = [learner.evaluate(self.parameters) for learner in self.learners]
        return float(np.average([accuracy for _, accuracy, _ in evaluated], weights=[n for _, _, n in evaluated]))

    def close(self) -> None:
        for model in (self.aggregator, *self.learners):
            model.close()


@pytest.fixture
def federate(digits: list[Path], tmp_path: Path) -> Iterator[Callable[..., Federation]]:
    with ExitStack() as stack:

        def make(code: Path, python: Path, shares: list[Path] = digits) -> Federation:
            return stack.enter_context(closing(Federation(code, python, shares, tmp_path)))

        yield make


def own_interpreter_with(*modules: str) -> Path:
    for module in modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs {module}")
    return Path(sys.executable)


def test_digits_sklearn(federate: Callable[..., Federation]) -> None:
    federation = federate(SHIPPED / "digits_sklearn", own_interpreter_with("sklearn", "datasets"))

    assert federation.start() == [{"shape": [64], "dtype": "float64"}] * 2
    accuracies = [federation.round() for _ in range(5)]

    assert accuracies[-1] > 0.93
    assert max(accuracies[:3]) > 0.9


@pytest.fixture
def make_learner(tmp_path: Path) -> Iterator[Callable[[Path], ModelProcess]]:
    python = own_interpreter_with("sklearn", "datasets")
    with ExitStack() as stack:
        yield lambda data: stack.enter_context(
            closing(ModelProcess(python, SHIPPED / "digits_sklearn", tmp_path / uuid.uuid4().hex, data))
        )


def test_digits_sklearn_with_a_learner_that_lacks_classes(
    make_learner: Callable[[Path], ModelProcess], digits: list[Path], tmp_path: Path
) -> None:
    write_share(tmp_path / "few.arrow", share_where(digits[0], lambda label: label < 3))
    learner = make_learner(tmp_path / "few.arrow")
    learner.load_data()

    fitted, _ = learner.fit(learner.get_parameters())

    assert [array.shape for array in fitted] == [(10, 64), (10,)]
    assert learner.evaluate(fitted)[1] > 0.9


def test_digits_sklearn_learns_the_same_every_time(
    make_learner: Callable[[Path], ModelProcess], digits: list[Path]
) -> None:
    trained = []
    for learner in (make_learner(digits[0]), make_learner(digits[0])):
        learner.load_data()
        trained.append(learner.fit(learner.get_parameters())[0])

    assert all(np.array_equal(first, second) for first, second in zip(*trained, strict=True))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_digits_keras(federate: Callable[..., Federation], make_environment: Callable[..., Path]) -> None:
    requirements = (SHIPPED / "digits_keras" / "requirements.txt").read_text().splitlines()
    federation = federate(SHIPPED / "digits_keras", make_environment("3.11", *DATASETS, *requirements))

    assert federation.start() == [{"shape": [8, 8], "dtype": "float32"}] * 2
    accuracies = [federation.round() for _ in range(3)]

    assert accuracies[-1] > 0.9


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_repository_as_existing_users_have_them(
    federate: Callable[..., Federation], make_environment: Callable[..., Path]
) -> None:
    code = TESTED / "legacy_mnist_style"
    pins = re.findall(r"- (\S+==\S+)", (code / "conda.yaml").read_text())
    federation = federate(code, make_environment("3.11", *DATASETS, *pins))

    assert pins == ["numpy==1.26.4", "scikit-learn==1.4.2"]
    assert federation.start() == [{"shape": [64], "dtype": "float32"}] * 2
    assert [federation.round() for _ in range(3)][-1] > 0.85


def test_a_repository_for_pytorch(federate: Callable[..., Federation]) -> None:
    federation = federate(TESTED / "digits_pytorch", own_interpreter_with("torch", "datasets"))

    federation.start()

    assert [federation.round() for _ in range(5)][-1] > 0.85


def test_features_of_the_data_are_respected(
    make_model: Callable[..., ModelProcess], digits: list[Path], tmp_path: Path
) -> None:
    own_interpreter_with("datasets")
    model = make_model(
        """
        def set_model_data(self):
            from flops_utils.ml_repo_building_blocks import load_dataset
            digits = load_dataset()
            assert digits.features["label"].names == list("0123456789"), digits.features
            self.x_train = digits.with_format("numpy")[:]["image"]
        """,
        data=with_features(digits[0], tmp_path / "features.arrow"),
    )

    assert model.load_data() == {"shape": [8, 8], "dtype": "float32"}


def share_where(share: Path, is_wanted: Callable[[int], bool]) -> pa.Table:
    with pa.OSFile(str(share)) as file:
        table = pa.ipc.open_stream(file).read_all()
    return table.filter(pa.array([is_wanted(label) for label in table["label"].to_pylist()]))


def write_share(path: Path, table: pa.Table) -> None:
    write_arrow(table, path)


def with_features(share: Path, path: Path) -> Path:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        image=datasets.Array2D((8, 8), "float32"), label=datasets.ClassLabel(names=list("0123456789"))
    )
    columns = share_where(share, lambda _: True).to_pydict()
    write_share(path, datasets.Dataset.from_dict(columns, features).data.table)
    return path
