"""A trained model in an environment of its own."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from tests.saved_models import SavedModel, train_and_export

PINS = ("scikit-learn", "numpy", "pandas", "mlflow-skinny")


@pytest.fixture(scope="session")
def sklearn_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with scikit-learn and mlflow-skinny, without FLOps."""
    directory = tmp_path_factory.mktemp("environment")
    uv = str(Path(sys.executable).with_name("uv"))
    python = directory / "bin" / "python"
    pins = [f"{package}=={version(package)}" for package in PINS]
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, str(directory)],
        [uv, "pip", "install", "--quiet", "--python", str(python), *pins],
    ):
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if finished.returncode:
            pytest.skip(f"the packages are not to be had: {finished.stderr.strip()[-300:]}")
    return python


@pytest.fixture(scope="session")
def saved_model(sklearn_python: Path, tmp_path_factory: pytest.TempPathFactory) -> SavedModel:
    """A classifier of the digits."""
    return train_and_export(sklearn_python, tmp_path_factory.mktemp("export"))
