from pathlib import Path

import pytest

from flops.learning.model_process.environment import model_environment

HERE = Path("/here")


@pytest.mark.parametrize(
    "name",
    [
        "FLOPS_BROKER_PASSWORD_FILE", "FLOPS_HOME", "MLFLOW_TRACKING_TOKEN", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY",
        "SSH_AUTH_SOCK", "GITHUB_TOKEN", "HTTPS_PROXY", "PYTHONPATH", "VIRTUAL_ENV", "LD_PRELOAD", "TF_API_KEY",
    ],
)  # fmt: skip
def test_credentials_and_the_actors_own_python_stay_hidden(name: str) -> None:
    assert name not in model_environment({name: "x"}, HERE, None, {})


@pytest.mark.parametrize(
    "name", ["HOME", "PATH", "LANG", "LC_ALL", "TZ", "CUDA_VISIBLE_DEVICES", "TF_FORCE_GPU_ALLOW_GROWTH"]
)
def test_language_home_and_accelerators_are_passed_on(name: str) -> None:
    assert model_environment({name: "x"}, HERE, None, {})[name] == "x"


def test_what_is_added_wins() -> None:
    environment = model_environment({"OMP_NUM_THREADS": "7"}, HERE, None, {"OMP_NUM_THREADS": "1"})

    assert environment["OMP_NUM_THREADS"] == "1"


def test_caches_stay_in_the_process_directory() -> None:
    environment = model_environment({"HOME": "/home/me"}, HERE, None, {})

    assert all(environment[name].startswith("/here/") for name in ("HF_HOME", "KERAS_HOME", "TORCH_HOME"))


def test_only_a_learner_knows_where_data_are() -> None:
    assert "FLOPS_MODEL_DATA" not in model_environment({}, HERE, None, {})
    assert model_environment({}, HERE, Path("/data.arrow"), {})["FLOPS_MODEL_DATA"] == "/data.arrow"
