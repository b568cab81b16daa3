"""Saving a trained model in MLflow's format, inside the ML repository's own environment.

Works with MLflow 2.9 to 3 (mlflow-skinny and pandas are enough): what a version does not take is not passed to it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import logging
import os
import sys
import sysconfig
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

_FLAVOR_MODULES = {"sklearn": "sklearn", "tensorflow": "tensorflow", "keras": "tensorflow", "pytorch": "pytorch"}
_KERAS_WITHOUT_TENSORFLOW = "keras"
_SERIALIZATION = {"sklearn": "cloudpickle", "pytorch": "pickle"}
_COMMON_PACKAGES = ("mlflow", "mlflow-skinny", "pandas", "numpy", "cloudpickle")
_FLAVOR_PACKAGES = {
    "sklearn": ("scikit-learn", "scipy", "joblib"),
    "tensorflow": ("tensorflow", "tensorflow-cpu", "tensorflow-intel", "tensorflow-macos", "keras", "h5py"),
    "keras": ("keras", "h5py", "jax", "torch"),
    "pytorch": ("torch", "torchvision"),
}
_OWN_MODULES = ("__main__", "flops_model_process")


def prepare_export(flavor: str) -> None:
    """Import what ``export_model`` needs, which takes seconds; to be called while there is nothing else to do."""
    _quieten_mlflow()
    _flavor_module(_flavor_name(flavor))


def export_model(model: Any, flavor: str, directory: str, example: dict[str, Any]) -> list[str]:
    """Save ``model`` as an MLflow model of ``flavor`` in ``directory``, which does not exist yet.

    ``example`` is the structure of one input (``shape``, ``dtype``), or empty when it is not known. Returns warnings.
    """
    _quieten_mlflow()
    name = _flavor_name(flavor)
    module = _flavor_module(name)
    if name == "pytorch":
        model.eval()
    signature, warnings = _signature(model, name, example)
    options = {
        "signature": signature,
        "pip_requirements": _requirements(name),
        "serialization_format": _SERIALIZATION.get(name),
        "metadata": {"flops_flavor": flavor},
    }
    known = inspect.signature(module.save_model).parameters
    taken = {key: value for key, value in options.items() if key in known and value is not None}
    with _repository_code_by_value():
        module.save_model(model, path=directory, **taken)
    return warnings


def _quieten_mlflow() -> None:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    logging.getLogger("mlflow").setLevel(logging.ERROR)


def _flavor_name(flavor: str) -> str:
    """MLflow's flavour; Keras models are saved by ``mlflow.tensorflow`` wherever there is TensorFlow."""
    if flavor not in _FLAVOR_MODULES:
        message = f"a model of the flavour {flavor!r} cannot be saved; known are {', '.join(sorted(_FLAVOR_MODULES))}"
        raise ValueError(message)
    name = _FLAVOR_MODULES[flavor]
    is_missing = name == "tensorflow" and importlib.util.find_spec("tensorflow") is None
    return _KERAS_WITHOUT_TENSORFLOW if is_missing else name


def _flavor_module(name: str) -> ModuleType:
    return importlib.import_module(f"mlflow.{name}")


def _signature(model: Any, name: str, example: dict[str, Any]) -> tuple[Any, list[str]]:
    """The signature from what the model makes of zeros."""
    from mlflow.models import ModelSignature  # noqa: PLC0415 -- heavy; its infer_signature would want scipy

    problems = []
    for shape, dtype in _input_structures(model, name, example):
        zeros = np.zeros([1, *shape], dtype=dtype)
        try:
            return ModelSignature(_tensor(zeros), _tensor(_predict(model, name, zeros))), []
        except Exception as error:  # noqa: BLE001 -- the model is the user's; without a signature it is saved all the same
            problems.append(f"{type(error).__name__} for an input of shape {list(zeros.shape)}: {str(error)[:200]}")
    reason = "; ".join(problems) or "the shape of its input is not known"
    return None, [f"The model is saved without a signature, so its inputs are not checked: {reason}."]


def _tensor(array: np.ndarray[Any, Any]) -> Any:
    from mlflow.types.schema import Schema, TensorSpec  # noqa: PLC0415 -- heavy

    return Schema([TensorSpec(array.dtype, (-1, *array.shape[1:]))])


def _input_structures(model: Any, name: str, example: dict[str, Any]) -> Iterator[tuple[list[int], str]]:
    """What one input may look like, the most certain first."""
    dtype = str(example.get("dtype") or ("float64" if name == "sklearn" else "float32"))
    own = _own_input_shape(model)
    if example.get("shape") is not None:
        shape = [int(size) for size in example["shape"]]
        yield shape, dtype
        if len(shape) > 1 and name == "sklearn":
            yield [int(np.prod(shape))], dtype
    if own is not None:
        yield own, dtype


def _own_input_shape(model: Any) -> list[int] | None:
    """The shape that a fitted scikit-learn or Keras model knows of itself."""
    features = getattr(model, "n_features_in_", None)
    if features is None and getattr(model, "coef_", None) is not None:
        features = np.shape(model.coef_)[-1]
    if features is not None:
        return [int(features)]
    shape = getattr(model, "input_shape", None)
    if isinstance(shape, tuple) and len(shape) > 1 and all(isinstance(size, int) for size in shape[1:]):
        return [int(size) for size in shape[1:]]
    return None


def _predict(model: Any, name: str, inputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if name == "pytorch":
        import torch  # type: ignore[import-not-found,unused-ignore] # noqa: PLC0415

        with torch.no_grad():
            return np.asarray(model(torch.from_numpy(inputs)).cpu().numpy())
    if name == "sklearn":
        return np.asarray(model.predict(inputs))
    return np.asarray(model.predict(inputs, verbose=0))


def _requirements(name: str) -> list[str]:
    """The exact versions in this environment of what the model needs to be loaded again."""
    found = []
    for package in _COMMON_PACKAGES + _FLAVOR_PACKAGES[name]:
        with contextlib.suppress(metadata.PackageNotFoundError):
            version = metadata.version(package).split("+", 1)[0]
            found.append(f"{package}=={version}")
    return found


@contextlib.contextmanager
def _repository_code_by_value() -> Iterator[None]:
    """Let classes of the ML repository travel inside the saved model: whoever loads it has no such modules."""
    try:
        cloudpickle = importlib.import_module("cloudpickle")  # comes with MLflow
    except ImportError:
        yield
        return
    modules = _repository_modules()
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def _repository_modules() -> list[ModuleType]:
    """What is imported from elsewhere than the standard library and the installed packages."""
    paths = {os.path.realpath(path) for path in sysconfig.get_paths().values()} | set(sysconfig.get_paths().values())
    installed = tuple(path + os.sep for path in paths)
    return [
        module
        for name, module in list(sys.modules.items())
        if getattr(module, "__file__", None)
        and getattr(module, "__name__", "") == name
        and not name.startswith(_OWN_MODULES)
        and not str(module.__file__).startswith(installed)
    ]
