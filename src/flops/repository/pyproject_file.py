"""Reads the dependencies that a ``pyproject.toml`` declares."""

from __future__ import annotations

import re
import tomllib
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from flops.repository.dependencies import Dependencies, InvalidDependencyFileError, Requirement, is_provided
from flops.repository.requirements_file import requirement_fault


def read_pyproject_file(file: str, text: str) -> Dependencies:
    """Read ``[project]``: ``dependencies`` and ``requires-python``.

    Raises:
        InvalidDependencyFileError: it is no TOML, or has no such table, or a requirement in it is none.
    """
    try:
        project: Any = tomllib.loads(text).get("project")
    except tomllib.TOMLDecodeError as error:
        raise InvalidDependencyFileError(file, f"this is not valid TOML: {error}") from error
    if not isinstance(project, dict) or "dependencies" in project.get("dynamic", []):
        remedy = 'List them under [project] as dependencies = ["numpy==1.26.4", …], or add a requirements.txt.'
        raise InvalidDependencyFileError(file, "it does not list the dependencies under [project]", remedy=remedy)
    listed = project.get("dependencies", [])
    if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
        raise InvalidDependencyFileError(file, "[project] dependencies must be a list of strings")
    requirements = []
    for item in listed:
        where = f"{file}:{_line_of(text, item)}"
        fault = requirement_fault(item)
        if fault:
            raise InvalidDependencyFileError(where, fault, remedy="Write it as in 'numpy==1.26.4'.")
        if not is_provided(item):
            requirements.append(Requirement(item, where))
    python = project.get("requires-python", "")
    try:
        SpecifierSet(python)
    except (InvalidSpecifier, AttributeError, TypeError) as error:
        raise InvalidDependencyFileError(file, f"requires-python {python!r} is not a version specifier") from error
    return Dependencies(file, python=python, requirements=tuple(requirements))


def _line_of(text: str, item: str) -> int:
    match = re.search(rf"[\"']{re.escape(item)}[\"']", text)
    return text.count("\n", 0, match.start()) + 1 if match else 1
