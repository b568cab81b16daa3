"""Which Python interpreters this machine has, and which one comes nearest to what a repository asks for."""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from flops.adapters.images.uv import UvFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flops.adapters.images.uv import Uv

OLDEST: Final = (3, 8)
_RELEASE: Final = re.compile(r"3\.\d+\.\d+")
_PROGRAM: Final = re.compile(r"python3\.\d+")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python interpreter; ``platform`` (uv's name) where packages are wanted for another one than its own."""

    path: Path
    version: str
    platform: str = ""

    @property
    def minor(self) -> tuple[int, int]:
        """Its version as far as compiled packages depend on it."""
        parsed = Version(self.version)
        return parsed.major, parsed.minor


@dataclass(frozen=True, slots=True)
class Choice:
    """The interpreter to use; ``is_exact`` unless something else was asked for, and then what to do about it."""

    interpreter: Interpreter
    is_exact: bool
    place: str = "this machine"
    remedy: str = "install that Python on this machine, for example with uv or pyenv"


def choose_interpreter(wanted: str, uv: Uv, environment: Mapping[str, str]) -> Choice:
    """The interpreter for a version specifier: installed, else downloaded where that is allowed, else the nearest.

    uv is asked last: where pyenv's shims are on the path it needs seconds to look at all of them.
    """
    installed: list[Interpreter] = []
    for look in (_own, lambda: _quick_look(environment), lambda: _uv_interpreters(uv)):
        installed += look()
        fitting = [interpreter for interpreter in installed if fits(interpreter, wanted)]
        if fitting:
            return Choice(max(fitting, key=lambda interpreter: Version(interpreter.version)), is_exact=True)
    fetched = _fetched(wanted, uv.fetch_python)
    if fetched is not None:
        return Choice(fetched, is_exact=True)
    return Choice(nearest(installed, wanted), is_exact=False)


def own_interpreter() -> Path:
    """The interpreter that FLOps runs on, outside of any virtual environment."""
    program = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    return program if program.exists() else Path(sys.executable).resolve()


def fits(interpreter: Interpreter, wanted: str) -> bool:
    """Whether an interpreter is of a version that is asked for; a patch release may be another one."""
    specifier = SpecifierSet(_without_patch(wanted))
    return interpreter.minor >= OLDEST and specifier.contains(interpreter.version, prereleases=False)


def nearest(installed: list[Interpreter], wanted: str) -> Interpreter:
    """The interpreter with the smallest step from what is asked for; of two, the older, for which wheels exist."""
    targets = [int(minor) for minor in re.findall(r"3\.(\d+)", wanted)] or [sys.version_info.minor]
    usable = [interpreter for interpreter in installed if interpreter.minor >= OLDEST] or installed
    return min(
        usable,
        key=lambda interpreter: (
            min(abs(interpreter.minor[1] - target) for target in targets),
            interpreter.minor[1],
            [-number for number in Version(interpreter.version).release],
        ),
    )


def _own() -> list[Interpreter]:
    return [Interpreter(own_interpreter(), ".".join(map(str, sys.version_info[:3])))]


def _quick_look(environment: Mapping[str, str]) -> list[Interpreter]:
    """What can be told from names alone: pyenv's versions, and ``python3.N`` on the path."""
    root = Path(environment.get("PYENV_ROOT") or Path(environment.get("HOME", "/nonexistent"), ".pyenv"))
    named = [
        (path / "bin" / "python", path.name) for path in root.glob("versions/3.*") if _RELEASE.fullmatch(path.name)
    ]
    for directory in environment.get("PATH", "").split(os.pathsep):
        if directory and not Path(directory).is_relative_to(root):
            paths = Path(directory).glob("python3.*")
            named += [(path, path.name.removeprefix("python")) for path in paths if _PROGRAM.fullmatch(path.name)]
    return [Interpreter(path.resolve(), version) for path, version in named if os.access(path, os.X_OK)]


def _uv_interpreters(uv: Uv) -> list[Interpreter]:
    try:
        listed = json.loads(uv.installed_pythons() or "[]")
    except (UvFailedError, ValueError):
        return []
    return [
        Interpreter(Path(item["path"]), item["version"])
        for item in listed
        if item.get("path") and item.get("implementation") == "cpython" and item.get("variant") == "default"
    ]


def _fetched(wanted: str, fetch: Callable[[str], Path | None]) -> Interpreter | None:
    minors = sorted({int(minor) for minor in re.findall(r"(?:==|~=|>=|<=)\s*3\.(\d+)", wanted)})
    for minor in minors:
        version = f"3.{minor}"
        if minor >= OLDEST[1] and SpecifierSet(_without_patch(wanted)).contains(f"{version}.99"):
            path = fetch(version)
            if path is not None:
                return Interpreter(path, version)
    return None


def _without_patch(wanted: str) -> str:
    """``==3.10.13`` asks for 3.10: which patch release a machine has is its own matter."""
    return re.sub(r"==\s*(3\.\d+)(?:\.[0-9*]+)*", r"==\1.*", wanted)
