"""Saving a trained model in MLflow's format, inside the ML repository's own environment.

Works with MLflow 2.9 to 3 (mlflow-skinny and pandas are enough): what a version does not take is not passed to it.
"""

from __future__ import annotations

import contextlib
import importlib
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

_FLAVORS = ("keras", "pytorch", "sklearn", "tensorflow")
_SERIALIZATION = {"sklearn": "cloudpickle", "pytorch": "pickle"}
_COMMON_PACKAGES = ("mlflow", "mlflow-skinny", "pandas", "numpy", "cloudpickle")
_TENSORFLOW_PACKAGES = ("tensorflow", "tensorflow-cpu", "tensorflow-intel", "tensorflow-macos", "keras", "h5py")
_FLAVOR_PACKAGES = {
    "sklearn": ("scikit-learn", "scipy", "joblib"),
    "tensorflow": _TENSORFLOW_PACKAGES,
    "keras": (*_TENSORFLOW_PACKAGES, "jax", "torch"),
    "pytorch": ("torch", "torchvision"),
}
_OWN_MODULES = ("__main__", "flops_model_process")


def prepare_export(flavor: str) -> None:
    """Import what ``export_model`` needs, which takes seconds; to be called while there is nothing else to do."""
    _quieten_mlflow()
    _flavor_module(flavor)


def export_model(model: Any, flavor: str, directory: str, example: dict[str, Any]) -> list[str]:
    """Save ``model`` as an MLflow model of ``flavor`` in ``directory``, which does not exist yet.

    ``example`` is the structure of one input (``shape``, ``dtype``), or empty when it is not known. Returns warnings.
    """
    _quieten_mlflow()
    module = _flavor_module(flavor)
    if flavor == "pytorch":
        model.eval()
    signature, warnings = _signature(model, flavor, example)
    if flavor == "tensorflow" and signature and not _is_keras(model):
        _take_any_number(model, signature.inputs.inputs[0])
    options = {
        "signature": signature,
        "pip_requirements": _requirements(flavor),
        "serialization_format": _SERIALIZATION.get(flavor),
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


def _flavor_module(flavor: str) -> ModuleType:
    if flavor not in _FLAVORS:
        message = f"a model of the flavor {flavor!r} cannot be saved; known are {', '.join(_FLAVORS)}"
        raise ValueError(message)
    return importlib.import_module(f"mlflow.{flavor}")


def _signature(model: Any, flavor: str, example: dict[str, Any]) -> tuple[Any, list[str]]:
    """The signature from what the model makes of zeros."""
    from mlflow.models import ModelSignature  # noqa: PLC0415 -- heavy; its infer_signature would want scipy

    problems = []
    for shape, dtype in _input_structures(model, flavor, example):
        zeros = np.zeros([1, *shape], dtype=dtype)
        try:
            return ModelSignature(_tensor(zeros), _tensor(_predict(model, flavor, zeros))), []
        except Exception as error:  # noqa: BLE001 -- the model is the user's; without a signature it is saved all the same
            problems.append(f"{type(error).__name__} for an input of shape {list(zeros.shape)}: {str(error)[:200]}")
    reason = "; ".join(problems) or "the shape of its input is not known"
    return None, [f"The model is saved without a signature, so its inputs are not checked: {reason}."]


def _tensor(array: np.ndarray[Any, Any]) -> Any:
    from mlflow.types.schema import Schema, TensorSpec  # noqa: PLC0415 -- heavy

    return Schema([TensorSpec(array.dtype, (-1, *array.shape[1:]))])


def _input_structures(model: Any, flavor: str, example: dict[str, Any]) -> Iterator[tuple[list[int], str]]:
    """What one input may look like, the most certain first."""
    dtype = str(example.get("dtype") or ("float64" if flavor == "sklearn" else "float32"))
    own = _own_input_shape(model)
    if example.get("shape") is not None:
        shape = [int(size) for size in example["shape"]]
        yield shape, dtype
        if len(shape) > 1 and flavor == "sklearn":
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


def _predict(model: Any, flavor: str, inputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if flavor == "pytorch":
        import torch  # type: ignore[import-not-found,unused-ignore] # noqa: PLC0415

        with torch.no_grad():
            return np.asarray(model(torch.from_numpy(inputs)).cpu().numpy())
    if flavor == "sklearn":
        return np.asarray(model.predict(inputs))
    if not _is_keras(model):
        return np.asarray(model(inputs))
    return np.asarray(model.predict(inputs, verbose=0))


def _is_keras(model: Any) -> bool:
    """Among what TensorFlow's flavor takes, a ``tf.Module`` alone has no ``predict``."""
    return hasattr(model, "predict")


def _take_any_number(model: Any, spec: Any) -> None:
    """Let the saved ``tf.Module`` be called with any number of inputs.

    A SavedModel answers to what was traced, which is nothing where the code has no ``tf.function``, and batches of
    the sizes that occurred where it has one without an ``input_signature``.
    """
    call = model.__call__
    if getattr(call, "input_signature", None) is None:
        tf = importlib.import_module("tensorflow")
        inputs = tf.TensorSpec([None, *spec.shape[1:]], spec.type)
        model.__call__ = tf.function(getattr(call, "python_function", call), input_signature=[inputs])


def _requirements(flavor: str) -> list[str]:
    """The exact versions in this environment of what the model needs to be loaded again."""
    found = []
    for package in _COMMON_PACKAGES + _FLAVOR_PACKAGES[flavor]:
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
