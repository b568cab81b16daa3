"""The uv program: resolves, makes virtual environments, installs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from flops.adapters.images.pip_settings import uv_environment
from flops.adapters.images.uv_failures import is_passing
from flops.child_process import FinishedChild, run_child
from flops.errors import FlopsError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from flops.adapters.images.interpreters import Interpreter

TIMEOUT_S: Final = 3600.0
QUERY_TIMEOUT_S: Final = 120.0
_PINNED: Final = re.compile(
    r"^(?P<name>[a-z0-9-]+)(?:\[[^\]]*\])?==(?P<version>[^\s;\\]+)|^(?P<url_name>[a-z0-9-]+) @ ", re.MULTILINE
)


class UvFailedError(FlopsError):
    """uv has ended with an error; ``child`` holds what it said. Never leaves this package."""

    def __init__(self, child: FinishedChild) -> None:
        super().__init__(child.last_line)
        self.child = child


class UvUnreachableError(UvFailedError):
    """What uv needs from the network could not be had now."""

    retryable = True


class Uv:
    """Runs uv in directory ``scratch`` with the machine's own settings, and nothing of FLOps in its environment.

    What needs the network is done by ``insist``, which may do it again.
    """

    def __init__(
        self,
        scratch: Path,
        environment: Mapping[str, str],
        stopping: threading.Event | None,
        insist: Callable[[Callable[[], FinishedChild]], FinishedChild],
    ) -> None:
        import uv  # noqa: PLC0415  only builders have it

        self._program = uv.find_uv_bin()
        self._scratch, self.stopping, self._insist = scratch, stopping, insist
        self._environment = uv_environment(environment)
        self._no_index = ["--no-index"] if self._environment.pop("UV_NO_INDEX", "") else []

    def resolve(self, requirements: Sequence[str], interpreter: Interpreter, constraints: str = "") -> str:
        """The exact versions, with hashes, that meet all requirements; one package begins each paragraph.

        Raises:
            UvFailedError: there are none.
        """
        wanted, bounds = self._scratch / "requirements.in", self._scratch / "constraints.txt"
        wanted.write_text("\n".join([*requirements, ""]), "utf-8")
        bounds.write_text(constraints, "utf-8")
        child = self._run_online(
            "pip", "compile", "--quiet", "--generate-hashes", "--no-header", "--no-annotate", "--no-strip-extras",
            *self._no_index, "--python", str(interpreter.path), *_target(interpreter.platform),
            "--constraints", bounds.name, *_strategy(requirements), wanted.name,
        )  # fmt: skip
        return child.output

    def create_environment(self, directory: Path, interpreter: Interpreter) -> None:
        """Make an empty virtual environment that may be moved to another place."""
        python = str(interpreter.path)
        self._run("venv", "--quiet", "--no-project", "--relocatable", "--python", python, str(directory))

    def install(self, directory: Path, lock: str, platform: str = "") -> None:
        """Install exactly what ``lock`` lists, perhaps for another platform; every hash is checked."""
        file = self._scratch / "lock.txt"
        file.write_text(lock, "utf-8")
        python = directory / "bin" / "python"
        self._run_online(
            "pip", "sync", "--quiet", *self._no_index, "--python", str(python), *_target(platform),
            *_strategy([lock]), file.name,
        )  # fmt: skip

    def installed_pythons(self) -> str:
        """What uv finds on this machine, as JSON."""
        return self._run(
            "python", "list", "--only-installed", "--output-format", "json", timeout_s=QUERY_TIMEOUT_S
        ).output

    def fetch_python(self, version: str) -> Path | None:
        """An interpreter that uv manages, downloaded if the user's uv configuration allows that; None if it cannot."""
        directory = self._scratch / "fetched"
        try:
            self._run("venv", "--quiet", "--no-project", "--clear", "--managed-python", "--python", version,
                      str(directory), timeout_s=QUERY_TIMEOUT_S)  # fmt: skip
        except UvFailedError:
            return None
        return (directory / "bin" / "python").resolve()

    def _run_online(self, *arguments: str) -> FinishedChild:
        return self._insist(lambda: self._run(*arguments))

    def _run(self, *arguments: str, timeout_s: float = TIMEOUT_S) -> FinishedChild:
        child = run_child(
            [self._program, "--color", "never", "--no-progress", *arguments],
            environment=self._environment,
            timeout_s=timeout_s,
            stopping=self.stopping,
            directory=self._scratch,
        )
        if not child.succeeded:
            kind = UvUnreachableError if is_passing(child.errors) else UvFailedError
            raise kind(child)
        return child


def versions_in(lock: str) -> dict[str, str]:
    """Package → version in what ``Uv.resolve`` gave; packages from URLs have an empty version."""
    return {match["name"] or match["url_name"]: match["version"] or "" for match in _PINNED.finditer(lock)}


def without_hashes(lock: str) -> str:
    """The same versions as constraints: a constraint must neither carry hashes nor extras."""
    kept = (line.partition(" \\")[0].strip() for line in lock.splitlines() if line and not line.startswith(" "))
    return "\n".join(re.sub(r"^([A-Za-z0-9._-]+)\[[^\]]*\]", r"\1", line) for line in kept if not line.startswith("-"))


def _target(platform: str) -> list[str]:
    """Nothing can be built for another platform than this machine's."""
    return ["--python-platform", platform, "--only-binary", ":all:"] if platform else []


def _strategy(lines: Sequence[str]) -> list[str]:
    """A requirements file that names further indexes means what it means to pip: the best version of all."""
    names_an_index = any("--extra-index-url" in line for line in lines)
    return ["--index-strategy", "unsafe-best-match"] if names_an_index else []
