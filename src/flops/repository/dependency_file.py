"""Reads the dependency file of an ML repository: ``conda.yaml``, ``requirements.txt`` or ``pyproject.toml``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flops.repository.conda_file import read_conda_file
from flops.repository.dependencies import Dependencies, InvalidDependencyFileError
from flops.repository.pyproject_file import read_pyproject_file
from flops.repository.requirements_file import read_requirements_file

if TYPE_CHECKING:
    from collections.abc import Callable


def read_dependencies(read: Callable[[str], str | None]) -> Dependencies:
    """Read the first dependency file there is; ``read`` gives the text of a file of the repository, or None.

    Raises:
        InvalidDependencyFileError: none is there, or it cannot be used.
    """
    readers: tuple[tuple[str, Callable[[str, str], Dependencies]], ...] = (
        ("conda.yaml", read_conda_file),
        ("conda.yml", read_conda_file),
        ("requirements.txt", lambda file, text: read_requirements_file(file, text, read)),
        ("pyproject.toml", read_pyproject_file),
    )
    for file, reader in readers:
        text = read(file)
        if text is not None:
            return reader(file, text)
    names = ", ".join(file for file, _ in readers)
    raise InvalidDependencyFileError(
        "the repository", "it has no dependency file", remedy=f"Add one of these at its root: {names}."
    )
