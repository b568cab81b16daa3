"""Finds the exact packages of a repository's two environments, so that both agree and the repository's pins hold."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from packaging.version import Version

from flops.adapters.images.uv import Uv, UvFailedError, versions_in, without_hashes
from flops.errors import BuildFailedError
from flops.project.images import BuildStepName

if TYPE_CHECKING:
    from flops.adapters.images.interpreters import Interpreter
    from flops.repository.dependencies import Dependencies

# What load_dataset of the repository's interface returns, where the repository does not choose a version of its own.
# From version 4 on a column is no array any more, which existing repositories take it for; PyArrow 26 refuses NumPy
# below 2 without declaring it.
DATASETS: Final = "datasets"
DATASETS_ADDED: Final = ("datasets>=2.14,<4", "pyarrow<26")
# What saves a model in MLflow's format and answers for it.
SERVING: Final = ("mlflow-skinny>=2.9", "pandas")
# Up to here MLflow imports pkg_resources, which later setuptools do not have.
FIRST_WITHOUT_PKG_RESOURCES: Final = Version("3.0")
LAST_WITH_PKG_RESOURCES: Final = "setuptools<81"
_FLAVOR_PACKAGES: Final[dict[str, tuple[str, ...]]] = {
    "sklearn": ("scikit-learn",),
    "pytorch": ("torch",),
    "tensorflow": ("tensorflow", "tensorflow-cpu", "tensorflow-gpu", "tf-nightly", "intel-tensorflow"),
    "keras": ("keras", "tensorflow", "tensorflow-cpu", "tensorflow-gpu", "tf-nightly", "intel-tensorflow"),
}


@dataclass(frozen=True, slots=True)
class Resolution:
    """The exact packages of both environments; the learner's are among the aggregator's, at the same versions."""

    learner: str
    aggregator: str


def question_of(dependencies: Dependencies, interpreter: Interpreter) -> str:
    """A digest of all that a resolution depends on, besides what the package index offers."""
    texts = (requirement.text for requirement in dependencies.requirements)
    parts = (
        str(interpreter.path),
        interpreter.version,
        interpreter.platform,
        *DATASETS_ADDED,
        *SERVING,
        *dependencies.options,
        *texts,
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def resolve(dependencies: Dependencies, interpreter: Interpreter, uv: Uv) -> Resolution:
    """Resolve both environments together.

    Together, so that what the repository leaves open is chosen once; the learner then takes its part.

    Raises:
        UvFailedError: the repository's own dependencies cannot be met.
        BuildFailedError: they can, but not together with what FLOps adds.
    """
    own = [*dependencies.options, *(requirement.text for requirement in dependencies.requirements)]
    learner = own if dependencies.place_of(DATASETS) else [*own, *DATASETS_ADDED]
    try:
        aggregator = _resolve_with_serving(learner, interpreter, uv)
    except UvFailedError as error:
        uv.resolve(own, interpreter)
        raise _addition_conflicts(dependencies, error) from error
    return Resolution(uv.resolve(learner, interpreter, without_hashes(aggregator)), aggregator)


def check_flavor(flavor: str, resolution: Resolution, dependencies: Dependencies) -> None:
    """Check that the library of the flavor is there.

    Raises:
        BuildFailedError: it is not, so that no model could be saved.
    """
    packages = _FLAVOR_PACKAGES.get(flavor, ())
    if packages and not set(packages) & set(versions_in(resolution.learner)):
        raise BuildFailedError(
            BuildStepName.RESOLVE,
            f"the flavor {flavor!r} needs the package {packages[0]}, which is not among the dependencies.",
            where=dependencies.file,
            remedy=f"Add {packages[0]}, or name the flavor that the code is written for (ml_model_flavor).",
        )


def _resolve_with_serving(learner: list[str], interpreter: Interpreter, uv: Uv) -> str:
    lock = uv.resolve([*learner, *SERVING], interpreter)
    mlflow = versions_in(lock).get("mlflow-skinny", "")
    if mlflow and Version(mlflow) < FIRST_WITHOUT_PKG_RESOURCES:
        return uv.resolve([*learner, *SERVING, f"mlflow-skinny=={mlflow}", LAST_WITH_PKG_RESOURCES], interpreter)
    return lock


def _addition_conflicts(dependencies: Dependencies, error: UvFailedError) -> BuildFailedError:
    from flops.adapters.images.uv_failures import build_failure  # noqa: PLC0415  only failures need it

    failure = build_failure(BuildStepName.RESOLVE, error.child, dependencies, "")
    if failure.where == "" and "index cannot be used" in failure.reason:
        return failure
    return BuildFailedError(
        BuildStepName.RESOLVE,
        f"a pin leaves no room for what FLOps adds ({DATASETS} to load data, mlflow-skinny to save the model): "
        f"{failure.reason}",
        where=failure.where,
        remedy="Loosen that pin.",
        details=failure.details,
    )
