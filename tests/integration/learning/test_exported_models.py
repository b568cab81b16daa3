"""Models of the flavors keras and tensorflow: trained, saved, loaded as users of MLflow do it, and served."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from tests.inference_service import PATIENCE_S, InferenceService
from tests.ml_repositories import git

from flops.adapters.git import GitRepositories
from flops.adapters.images.local import LocalImageBuilder, LocalImageRegistry, LocalImageStore
from flops.errors import PredictionRefusedError
from flops.examples.repositories import create
from flops.inference.client import predict
from flops.learning.model_process.process import ModelProcess
from flops.ports import ActorImages
from flops.project.images import AGGREGATOR, LEARNER, actor_image, trained_model_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flops.adapters.images.runnable import LocalImage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PROJECT_ID = "5e" * 12
LOAD = """
import importlib, json, sys
import numpy as np
flavor, directory, images = sys.argv[1:]
model = importlib.import_module(f"mlflow.{flavor}").load_model(directory)
print(json.dumps(np.argmax(model(np.load(images)), axis=1).tolist()))
"""
DIGITS = load_digits()
IMAGES = (DIGITS.images[::20] / 16).astype(np.float32)
LABELS = DIGITS.target[::20]


@dataclass(frozen=True)
class Trained:
    """A model of one flavor, trained and saved."""

    flavor: str
    home: Path
    base: str
    url: str
    directory: Path
    warnings: list[str]

    @property
    def image(self) -> LocalImage:
        """The image it was trained in."""
        return LocalImageStore(self.home).locate(self.base)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where images are: both examples have the same dependencies, so one environment serves all."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(
    scope="module",
    params=[("digits_keras", "keras"), ("digits_keras", "tensorflow"), ("digits_tensorflow", "tensorflow")],
    ids="-as-".join,
)
def trained(
    request: pytest.FixtureRequest, home: Path, digits: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    """Trained for two rounds on one learner's data, in the image that FLOps' own builder made."""
    example, flavor = request.param
    url, base = build(home, example, flavor)
    image, directory = LocalImageStore(home).locate(base), tmp_path_factory.mktemp("trained")
    with closing(ModelProcess(image.python, image.code, directory / "process", digits[0], flavor)) as model:
        structure = model.load_data()
        parameters = model.get_parameters()
        for _ in range(2):
            parameters, _ = model.fit(parameters)
        assert model.evaluate(parameters)[1] > 0.85
        warnings = model.export(parameters, directory / "model", structure)
    return Trained(flavor, home, base, url, directory / "model", warnings)


def build(home: Path, example: str, flavor: str) -> tuple[str, str]:
    """Build the images of an example; returns its URL and the aggregator's image."""
    url = create(example, home / "examples")
    commit = git(home / "examples" / example, "rev-parse", "HEAD")
    images = {actor: actor_image(url, actor, commit) for actor in (LEARNER, AGGREGATOR)}
    builder = LocalImageBuilder(home, GitRepositories())
    builder.build_actors(ActorImages(url, commit, flavor, images), lambda _: None, lambda *_: None)
    return url, images[AGGREGATOR]


@pytest.fixture(scope="module")
def served_url(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of the trained model's image."""
    name = trained_model_image(trained.url, PROJECT_ID)
    LocalImageBuilder(trained.home, GitRepositories()).build_trained_model(
        name, trained.base, trained.directory, lambda _: None
    )
    image = LocalImageStore(trained.home).locate(name)
    assert image.model is not None
    service = InferenceService(tmp_path_factory.mktemp("instance"))
    service.start(image.python, image.model)
    assert service.is_ready.wait(PATIENCE_S)
    yield service.urls[0]
    assert service.end() == 0
    LocalImageRegistry(trained.home).delete(name)


def test_mlflow_loads_it_as_what_the_sla_calls_it(trained: Trained, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", IMAGES)
    command = [str(trained.image.python), "-c", LOAD, trained.flavor, str(trained.directory)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "MLFLOW_DISABLE_TELEMETRY": "true"}

    finished = subprocess.run(
        [*command, str(tmp_path / "images.npy")], capture_output=True, text=True, check=False, env=environment
    )

    assert finished.returncode == 0, finished.stderr
    assert share_right(json.loads(finished.stdout.splitlines()[-1])) > 0.85


def test_its_signature_and_its_environment_are_recorded(trained: Trained) -> None:
    assert trained.warnings == []
    description = " ".join((trained.directory / "MLmodel").read_text().split())
    assert "[-1, 8, 8]" in description
    assert "[-1, 10]" in description
    requirements = (trained.directory / "requirements.txt").read_text()
    assert "keras==" in requirements
    assert "tensorflow" in requirements


def test_the_served_model_is_right(served_url: str) -> None:
    predictions = predict(served_url, IMAGES)

    assert share_right([int(np.argmax(probabilities)) for probabilities in predictions]) > 0.85


def test_rows_of_pixels_are_taken_for_images(served_url: str) -> None:
    assert predict(served_url, IMAGES[:3].tolist()) == predict(served_url, IMAGES[:3])


def test_what_is_no_image_is_refused_with_the_shape_of_one(served_url: str) -> None:
    with pytest.raises(PredictionRefusedError, match=r"\(-1, 8, 8\)"):
        predict(served_url, [[1, 2, 3]])


def share_right(predictions: list[Any]) -> float:
    return float(np.mean(np.asarray(predictions) == LABELS))
