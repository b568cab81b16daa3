"""Reads conda environment files as MLflow writes them; conda packages are taken from the Python package index."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import yaml
from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as ParsedRequirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from flops.repository.dependencies import Dependencies, InvalidDependencyFileError, Requirement, is_provided
from flops.repository.requirements_file import requirement_fault

if TYPE_CHECKING:
    from collections.abc import Iterator

# Names under which conda and the Python package index keep the same thing; None: nothing that Python code imports.
_INDEX_NAMES: Final[dict[str, str | None]] = {
    "pip": None,
    "cudatoolkit": None,
    "cuda-version": None,
    "cudnn": None,
    "mkl": None,
    "blas": None,
    "libblas": None,
    "libgcc-ng": None,
    "libstdcxx-ng": None,
    "nomkl": None,
    "openssl": None,
    "cpuonly": None,
    "pytorch": "torch",
    "pytorch-cpu": "torch",
    "pytorch-cuda": None,
    "py-xgboost": "xgboost",
    "py-opencv": "opencv-python-headless",
    "opencv": "opencv-python-headless",
    "pytables": "tables",
    "matplotlib-base": "matplotlib",
    "dask-core": "dask",
    "msgpack-python": "msgpack",
    "seaborn-base": "seaborn",
    "tensorflow-base": "tensorflow",
    "numpy-base": "numpy",
    "huggingface_hub": "huggingface-hub",
}
_CONDA: Final = re.compile(
    r"(?:[^\s:]+::)?(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(?P<version>[^\s\[]*)(?:\s+[^\s\[]+)?(?:\[.*\])?\s*"
)


@dataclass(slots=True)
class _Reading:
    file: str
    python: str = ""
    requirements: list[Requirement] = field(default_factory=list)
    mapped: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def read_conda_file(file: str, text: str) -> Dependencies:
    """Read ``dependencies`` with their ``pip`` section; channels have no meaning here.

    Also taken: a ``pip:`` that stands beside the list, or whose packages stand on the same level as itself.

    Raises:
        InvalidDependencyFileError: with the line that cannot be used.
    """
    try:
        document = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}:{mark.line + 1}" if mark else file
        raise InvalidDependencyFileError(
            where, f"this is not valid YAML: {getattr(error, 'problem', error)}"
        ) from error
    reading = _Reading(file)
    found = False
    for key, value in _pairs(document):
        if key in {"dependencies", "pip"}:
            found = True
            _take_list(reading, value, is_pip=key == "pip")
    if not found:
        remedy = "MLflow's documentation shows the format: 'dependencies:' with 'python=…' and a 'pip:' list."
        raise InvalidDependencyFileError(file, "it has no 'dependencies:'", remedy=remedy)
    return Dependencies(file, reading.python, tuple(reading.requirements), warnings=tuple(_warnings(reading)))


def _pairs(node: yaml.Node | None) -> Iterator[tuple[str, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                yield key.value, value


def _take_list(reading: _Reading, node: yaml.Node, *, is_pip: bool) -> None:
    """Take a list of packages; after a ``pip:`` without a list of its own, the rest is pip's."""
    if isinstance(node, yaml.ScalarNode) and not node.value:
        return
    if not isinstance(node, yaml.SequenceNode):
        raise InvalidDependencyFileError(_where(reading, node), "a list of packages is expected here")
    for item in node.value:
        if isinstance(item, yaml.ScalarNode):
            (_take_pip if is_pip else _take_conda)(reading, item.value.strip(), _where(reading, item))
            continue
        for key, value in _pairs(item):
            if key != "pip" or is_pip:
                raise InvalidDependencyFileError(_where(reading, item), f"{key!r} is not a kind of package list")
            is_pip = isinstance(value, yaml.ScalarNode) and not value.value
            _take_list(reading, value, is_pip=True)


def _take_pip(reading: _Reading, text: str, where: str) -> None:
    if is_provided(text):
        return
    fault = requirement_fault(text)
    if fault:
        raise InvalidDependencyFileError(where, fault, remedy="Write it as in 'numpy==1.26.4'.")
    reading.requirements.append(Requirement(text, where))


def _take_conda(reading: _Reading, text: str, where: str) -> None:
    match = _CONDA.fullmatch(re.sub(r"([=<>!~,|])\s+", r"\1", text))
    if match is None:
        raise InvalidDependencyFileError(where, f"{text!r} is not a conda package")
    name, version = match["name"].lower(), match["version"]
    if name == "python":
        reading.python = _checked_specifier(version, where)
        return
    index_name = _INDEX_NAMES.get(name, name)
    if index_name is None or is_provided(index_name):
        reading.skipped.extend([] if name == "pip" or is_provided(name) else [name])
        return
    requirement = f"{index_name}{_checked_specifier(version, where)}"
    try:
        ParsedRequirement(requirement)
    except InvalidRequirement as error:
        raise InvalidDependencyFileError(where, f"{text!r} is not a conda package") from error
    reading.mapped.append(name)
    reading.requirements.append(Requirement(requirement, where))


def _checked_specifier(version: str, where: str) -> str:
    """Conda's version specification as Python's: ``=1.2`` and ``1.2`` mean any 1.2.x, ``=1.2=build`` has a build."""
    alternatives = version.split("|")
    clauses = []
    for clause in filter(None, alternatives[-1].split(",")):
        operator, number = re.fullmatch(r"(===|==|~=|!=|<=|>=|<|>|=)?(.*)", clause).groups()  # type: ignore[union-attr]
        number = number.partition("=")[0]
        if operator in {None, "="}:
            is_fuzzy = not number.endswith("*")
            operator, number = "==", f"{number}.*" if is_fuzzy else number
        clauses.append("" if number in {"*", "*.*"} else f"{operator}{number}")
    specifier = ",".join(filter(None, clauses))
    try:
        SpecifierSet(specifier)
    except InvalidSpecifier as error:
        raise InvalidDependencyFileError(where, f"{version!r} is not a version") from error
    return specifier


def _warnings(reading: _Reading) -> Iterator[tuple[str, str]]:
    if reading.mapped:
        names = ", ".join(reading.mapped)
        message = f"{reading.file}: these conda packages are installed from the Python package index: {names}."
        yield message, "List them under 'pip:' to make that explicit."
    if reading.skipped:
        names = ", ".join(reading.skipped)
        message = f"{reading.file}: these conda packages are not on the Python package index and left out: {names}."
        yield message, "Nothing needs to be done where the code runs without them."


def _where(reading: _Reading, node: yaml.Node) -> str:
    return f"{reading.file}:{node.start_mark.line + 1}"
