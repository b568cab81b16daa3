"""Whole builds: old pins of a repository as users have them, and a build that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from tests.ml_repositories import TINY, commit_files, make_repository

from flops.adapters.git import GitRepositories
from flops.adapters.images.local import LocalImageBuilder, LocalImageRegistry, LocalImageStore
from flops.ports import ActorImages
from flops.project.images import AGGREGATOR, LEARNER, actor_image

if TYPE_CHECKING:
    from pathlib import Path

OLD_PINS = """\
name: digits
channels:
  - conda-forge
dependencies:
  - python=3.10
  - pip<=23
  - pip:
      - numpy==1.26.4
      - scikit-learn==1.4.2
      - git+https://git.example.org/someone/flops-utils.git@main#egg=flops-utils
"""
VERSIONS = "from importlib.metadata import version as v; print(v('numpy'), v('scikit-learn'), v('datasets'))"
SAVE = """
import sys, mlflow.sklearn, mlflow.pyfunc.scoring_server
from sklearn.linear_model import LogisticRegression
model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
mlflow.sklearn.save_model(model, sys.argv[1], serialization_format="cloudpickle", pip_requirements=["scikit-learn"])
print(mlflow.pyfunc.load_model(sys.argv[1]).predict([[0.9]]).tolist())
"""
BUILD = """
import sys
from pathlib import Path
from flops.adapters.git import GitRepositories
from flops.adapters.images.local import LocalImageBuilder
from flops.ports import ActorImages
from flops.project.images import actor_image
home, url, commit = sys.argv[1:]
images = {actor: actor_image(url, actor, commit) for actor in ("learner", "aggregator")}
builder = LocalImageBuilder(Path(home), GitRepositories())
builder.build_actors(ActorImages(url, commit, "", images), lambda step: print(step, flush=True), lambda *_: None)
"""


def order_for(url: str, commit: str, flavor: str = "") -> ActorImages:
    images = {actor: actor_image(url, actor, commit) for actor in (LEARNER, AGGREGATOR)}
    return ActorImages(url, commit, flavor, images)


def python_of(home: Path, image: str) -> Path:
    return LocalImageStore(home).locate(image).python


def run_python(python: Path, program: str, *arguments: str) -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "GIT_PYTHON_REFRESH": "quiet"}
    command = [str(python), "-c", program, *arguments]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_old_pins_stay_and_the_aggregator_can_save_and_serve(tmp_path: Path) -> None:
    files = {name: text for name, text in TINY.items() if name != "requirements.txt"}
    commit = make_repository(tmp_path / "source", {**files, "conda.yaml": OLD_PINS})
    order = order_for(str(tmp_path / "source"), commit, "sklearn")
    home = tmp_path / "home"
    LocalImageBuilder(home, GitRepositories()).build_actors(order, lambda _: None, lambda *_: None)
    learner, aggregator = (python_of(home, order.images[actor]) for actor in (LEARNER, AGGREGATOR))
    assert run_python(learner, VERSIONS).startswith("1.26.4 1.4.2 ")
    assert run_python(learner, VERSIONS) == run_python(aggregator, VERSIONS)
    assert run_python(aggregator, SAVE, str(tmp_path / "model")).splitlines()[-1] == "[1]"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("step", ["clone", "resolve", "install learner environment", "install aggregator environment"])
def test_a_killed_build_leaves_nothing_that_counts_and_the_next_one_cleans_up(tmp_path: Path, step: str) -> None:
    commit = make_repository(tmp_path / "source", TINY)
    home, url = tmp_path / "home", str(tmp_path / "source")
    command = [sys.executable, "-c", BUILD, str(home), url, commit]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as builder:
        assert builder.stdout is not None
        next(line for line in builder.stdout if f"'{step}'" in line)
        builder.send_signal(signal.SIGKILL)
    registry, order = LocalImageRegistry(home), order_for(url, commit)
    assert registry.images() == []
    assert not any(registry.exists(image) for image in order.images.values())

    LocalImageBuilder(home, GitRepositories()).build_actors(order, lambda _: None, lambda *_: None)
    assert registry.images() == sorted(order.images.values())
    assert all((path / ".flops-complete").exists() for path in (home / "envs").glob("[!.]*"))
    assert not list(home.glob("images/*/*/.building/*"))
    assert run_python(python_of(home, order.images[LEARNER]), "import six; print(six.__version__)") == "1.16.0"


@pytest.mark.bench
@pytest.mark.timeout(900)
def test_what_a_second_build_costs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A cold build against one of the same commit, and against one of a commit that changes code alone."""
    source, home = tmp_path / "source", tmp_path / "home"
    files = {**TINY, "requirements.txt": "numpy==1.26.4\nscikit-learn==1.4.2\n"}
    first = make_repository(source, files)
    second = commit_files(source, {"another.py": "x = 1\n"})

    def seconds(commit: str, environment: dict[str, str]) -> float:
        begun = time.monotonic()
        builder = LocalImageBuilder(home, GitRepositories(), environment=environment)
        builder.build_actors(order_for(str(source), commit, "sklearn"), lambda _: None, lambda *_: None)
        return time.monotonic() - begun

    cold = seconds(first, {**os.environ, "UV_CACHE_DIR": str(tmp_path / "cache")})
    same, code_only = seconds(first, {**os.environ}), seconds(second, {**os.environ})
    with capsys.disabled():
        print(f"\ncold {cold:.1f} s, same commit {same / cold:.4f}x, code alone {code_only / cold:.4f}x")  # noqa: T201
    assert same <= 0.02 * cold
    assert code_only <= 0.2 * cold
