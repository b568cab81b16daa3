from __future__ import annotations

from pathlib import Path

import pytest

from flops.adapters.images.interpreters import Interpreter, choose_interpreter, fits, nearest


def interpreters(*versions: str) -> list[Interpreter]:
    return [Interpreter(Path(f"/python{version}"), version) for version in versions]


@pytest.mark.parametrize(
    ("version", "wanted", "expected"),
    [
        ("3.11.7", "", True),
        ("3.11.7", ">=3.10,<3.12", True),
        ("3.11.7", "==3.11.4", True),
        ("3.11.7", "==3.11.*", True),
        ("3.11.7", "==3.10.*", False),
        ("3.11.7", "==3.1.*", False),
        ("3.11.7", "~=3.11.2", True),
        ("3.11.7", ">=3.12", False),
        ("3.11", "==3.11.*", True),
        ("3.7.16", "", False),
        ("3.15.0rc1", ">=3.11", False),
    ],
)
def test_a_patch_release_is_the_machines_own_matter(version: str, wanted: str, expected: bool) -> None:  # noqa: FBT001
    assert fits(interpreters(version)[0], wanted) is expected


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("==3.6.*", "3.9.18"),
        ("==3.8.*", "3.9.18"),
        ("==3.11.*", "3.10.13"),
        ("==3.12.*", "3.13.0"),
        (">=3.15", "3.13.0"),
    ],
)
def test_the_nearest_is_chosen_and_of_two_the_older(wanted: str, expected: str) -> None:
    installed = interpreters("2.7.18", "3.7.16", "3.9.18", "3.10.2", "3.10.13", "3.13.0")
    assert nearest(installed, wanted).version == expected


class Uvs:
    """A uv that finds and fetches what it is told."""

    def __init__(self, listed: str = "[]", fetched: Path | None = None) -> None:
        self._listed, self._fetched = listed, fetched
        self.asked: list[str] = []

    def installed_pythons(self) -> str:
        self.asked.append("list")
        return self._listed

    def fetch_python(self, version: str) -> Path | None:
        self.asked.append(version)
        return self._fetched


def choose(wanted: str, uv: Uvs, **environment: str) -> tuple[str, bool]:
    choice = choose_interpreter(wanted, uv, environment)  # type: ignore[arg-type]
    return choice.interpreter.version, choice.is_exact


def test_pyenvs_versions_are_found_without_asking_uv(tmp_path: Path) -> None:
    program = tmp_path / "versions" / "3.9.18" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text("")
    program.chmod(0o700)
    uv = Uvs()
    assert choose("==3.9.*", uv, PYENV_ROOT=str(tmp_path)) == ("3.9.18", True)
    assert uv.asked == []


def test_programs_on_the_path_are_found_without_asking_uv(tmp_path: Path) -> None:
    for name in ("python3.9", "python3.9-config"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o700)
    assert choose("==3.9.1", Uvs(), PATH=str(tmp_path)) == ("3.9", True)


def test_what_uv_finds_is_used() -> None:
    listed = '[{"path": "/x/python3.9", "version": "3.9.1", "implementation": "cpython", "variant": "default"}]'
    assert choose("==3.9.*", Uvs(listed)) == ("3.9.1", True)


def test_what_is_not_there_is_fetched_if_uv_can(tmp_path: Path) -> None:
    uv = Uvs(fetched=tmp_path)
    assert choose(">=3.8,<3.9", uv) == ("3.8", True)
    assert uv.asked == ["list", "3.8"]


def test_otherwise_another_one_is_used_and_that_is_said() -> None:
    assert choose("==3.9.*", Uvs("no json"))[1] is False
