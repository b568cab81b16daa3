"""ML repositories, their interpreters and their data."""

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from flops.learning.model_process.process import ModelProcess

LINEAR_MODEL = """
import os, signal, subprocess, sys, time
import numpy as np
from flops_utils.ml_repo_templates import ModelManagerTemplate

class LinearModel(ModelManagerTemplate):
    def __init__(self):
        self.parameters = [np.zeros((2, 3), np.float32), np.float64(0)]
        self.loaded = 0
    def set_model_data(self):
        self.loaded += 1
        self.x_train = np.zeros((10, 4), np.float32)
    def get_model(self):
        return self
    def get_model_parameters(self):
        return self.parameters
    def set_model_parameters(self, parameters):
        self.parameters = parameters
    def fit_model(self):
        self.parameters = [parameter + 1 for parameter in self.parameters]
        return 10
    def evaluate_model(self):
        return 0.25, 0.75, 5
"""

MakeModel = Callable[..., ModelProcess]


@pytest.fixture
def make_model(tmp_path: Path) -> Iterator[MakeModel]:
    """Make a model process of a small repository whose ``ModelManager`` has the given body."""
    models: list[ModelProcess] = []

    def make(
        body: str = "pass",
        python: Path = Path(sys.executable),
        *,
        data: Path | None = None,
        call_timeout_s: float | None = None,
    ) -> ModelProcess:
        code = tmp_path / f"code{len(models)}"
        code.mkdir()
        manager = f"class ModelManager(LinearModel):\n{textwrap.indent(textwrap.dedent(body).strip(), '    ')}\n"
        (code / "model_manager.py").write_text(f"{LINEAR_MODEL}\n{manager}")
        model = ModelProcess(python, code, tmp_path / f"model{len(models)}", data, call_timeout_s=call_timeout_s)
        models.append(model)
        return model

    yield make
    for model in models:
        model.close()


def interpreter(version: str) -> Path | None:
    """A Python of that version on this machine, as uv finds it."""
    on_path = shutil.which(f"python{version}")
    candidates = [on_path] if on_path else []
    candidates += map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    for candidate in candidates:
        check = [candidate, "-c", "import sys; print('.'.join(map(str, sys.version_info[:2])))"]
        found = subprocess.run(check, capture_output=True, text=True, check=False)
        if found.returncode == 0 and found.stdout.strip() == version:
            return Path(candidate)
    return None


@pytest.fixture(scope="session")
def make_environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make an environment with uv and return its interpreter; skips where that is not possible."""
    made: dict[tuple[str, ...], Path] = {}

    def make(version: str, *requirements: str) -> Path:
        key = (version, *requirements)
        if key not in made:
            made[key] = _make_environment(tmp_path_factory.mktemp("environment"), version, requirements)
        return made[key]

    return make


def _make_environment(directory: Path, version: str, requirements: tuple[str, ...]) -> Path:
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    base = interpreter(version)
    if not uv or not base:
        pytest.skip(f"needs uv and Python {version}")
    python = directory / "bin" / "python"
    for command in (
        [uv, "venv", "--quiet", "--python", str(base), str(directory)],
        [uv, "pip", "install", "--quiet", "--python", str(python), *requirements],
    ):
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if finished.returncode:
            pytest.skip(f"the packages are not to be had: {finished.stderr.strip()[-300:]}")
    return python


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two disjoint shares of the digits as learners get them: a file with the columns ``image`` and ``label``."""
    import pyarrow as pa  # noqa: PLC0415

    from flops.learning.arrow_file import write_arrow  # noqa: PLC0415

    load_digits = pytest.importorskip("sklearn.datasets").load_digits
    images, labels = load_digits().images.astype(np.float32), load_digits().target
    directory = tmp_path_factory.mktemp("digits")
    shares = []
    for share in range(2):
        table = pa.table({"image": images[share::2].tolist(), "label": labels[share::2]})
        path = directory / f"share{share}.arrow"
        write_arrow(table, path)
        shares.append(path)
    return shares
