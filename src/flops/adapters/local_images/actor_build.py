"""One build of actor images, from the clone to the manifests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flops.adapters.local_images.environments import ResolutionMemory, provide_environment
from flops.adapters.local_images.interpreters import choose_interpreter
from flops.adapters.local_images.resolution import Resolution, check_flavor, question_of, resolve
from flops.adapters.local_images.store import LocalImageStore, Manifest, write_manifest
from flops.adapters.local_images.trees import make_read_only, private_directory, remove_tree, size_of
from flops.adapters.local_images.uv import versions_in
from flops.errors import BuildFailedError
from flops.project.images import AGGREGATOR, LEARNER, BuildStepName
from flops.repository.dependencies import Dependencies, InvalidDependencyFileError
from flops.repository.dependency_file import read_dependencies
from flops.repository.interface_check import check_interface

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping
    from contextlib import ExitStack
    from pathlib import Path

    from flops.adapters.local_images.environments import Environment
    from flops.adapters.local_images.interpreters import Choice, Interpreter
    from flops.adapters.local_images.progress import Progress
    from flops.adapters.local_images.uv import Uv
    from flops.ports import ActorImages, Repositories
    from flops.project.images import ImageReference

_MAX_FILE_BYTES: Final = 1024 * 1024
_INSTALL_STEPS: Final = {LEARNER: BuildStepName.INSTALL_LEARNER, AGGREGATOR: BuildStepName.INSTALL_AGGREGATOR}
_INTERFACE_REMEDY: Final = "The examples ('flops examples') show what an ML repository has to look like."


@dataclass(frozen=True, slots=True)
class ActorBuild:
    """What one build works with. Locks that have to outlive a step are left to ``held``."""

    order: ActorImages
    store: LocalImageStore
    repositories: Repositories
    uv: Uv
    workplace: Path
    environment: Mapping[str, str]
    progress: Progress
    warn: Callable[[str, str], None]
    held: ExitStack
    stopping: threading.Event | None = None

    def run(self, missing: Mapping[str, ImageReference]) -> None:
        """Make the images that are missing.

        Raises:
            BuildFailedError: see the port.
        """
        code = self._provide_code(next(iter(missing.values())))
        self._check(code)
        interpreter, resolution = self._resolve()
        locks = {LEARNER: resolution.learner, AGGREGATOR: resolution.aggregator}
        environments = {
            actor: self._install(actor, interpreter, locks[actor]) for actor in _INSTALL_STEPS if actor in missing
        }
        with self.progress.step(BuildStepName.STORE) as done:
            done.size_bytes = size_of(code)
            for actor, environment in environments.items():
                size_bytes = environment.size_bytes + done.size_bytes
                order = self.order
                manifest = Manifest(order.url, order.commit, order.flavor, environment.digest, size_bytes)
                write_manifest(self.store.directory(missing[actor]), manifest)

    def _provide_code(self, reference: ImageReference) -> Path:
        """The checkout of the commit, read-only and without its history."""
        code = self.store.code(reference, self.order.commit)
        with self.progress.step(BuildStepName.CLONE) as done:
            if not code.is_dir():
                fresh = self.progress.insist(self._clone)
                remove_tree(fresh / ".git")
                make_read_only(fresh)
                private_directory(code.parent)
                fresh.chmod(0o700)
                fresh.rename(code)
                code.chmod(0o500)
            done.size_bytes = size_of(code)
        return code

    def _clone(self) -> Path:
        fresh = self.workplace / "code"
        remove_tree(fresh)
        self.repositories.clone(self.order.url, self.order.commit, private_directory(fresh))
        return fresh

    def _check(self, code: Path) -> None:
        """Look at the code without running it; what it depends on is known afterwards."""
        with self.progress.step(BuildStepName.CHECK) as done:
            texts = {path.name: _read(code, path.name) or "" for path in code.glob("*.py")}
            problems = [(problem.where, problem.message) for problem in check_interface(texts)]
            try:
                self.progress.dependencies = read_dependencies(lambda name: _read(code, name))
            except InvalidDependencyFileError as error:
                problems.append((error.where, f"{error.reason}. {error.remedy}".rstrip(" .")))
            if problems:
                raise _unfit(problems)
            done.detail = self._dependencies.file
        for message, remedy in self._dependencies.warnings:
            self.warn(message, remedy)

    def _resolve(self) -> tuple[Interpreter, Resolution]:
        with self.progress.step(BuildStepName.RESOLVE) as done:
            choice = choose_interpreter(self._dependencies.python, self.uv, self.environment)
            self._warn_of_other_python(choice)
            memory = ResolutionMemory(self.store.environments)
            question = question_of(self._dependencies, choice.interpreter)
            known = memory.recall(question, choice.interpreter)
            resolution = known or resolve(self._dependencies, choice.interpreter.path, self.uv)
            check_flavor(self.order.flavor, resolution, self._dependencies)
            memory.keep(question, resolution)
            packages = f"{len(versions_in(resolution.aggregator))} packages{', as before' if known else ''}"
            done.detail = f"Python {choice.interpreter.version}, {packages}"
        return choice.interpreter, resolution

    def _warn_of_other_python(self, choice: Choice) -> None:
        if not choice.is_exact:
            wanted, used = self._dependencies.python, choice.interpreter.version
            self.warn(
                f"{self._dependencies.file} asks for Python {wanted}, which this machine does not have; "
                f"Python {used} is used instead.",
                "If the code depends on it, install that Python on this machine, for example with uv or pyenv.",
            )

    def _install(self, actor: str, interpreter: Interpreter, lock: str) -> Environment:
        with self.progress.step(_INSTALL_STEPS[actor]) as done:
            directory = self.store.environments
            environment = provide_environment(directory, interpreter, lock, self.uv, self.held)
            done.size_bytes = environment.size_bytes
            done.detail = "reused" if environment.was_there else f"{len(versions_in(lock))} packages"
        return environment

    @property
    def _dependencies(self) -> Dependencies:
        return self.progress.dependencies


def _read(code: Path, name: str) -> str | None:
    """The text of a file of the repository; links out of it are not followed."""
    path = (code / name).resolve()
    if not path.is_relative_to(code.resolve()) or not path.is_file():
        return None
    if path.stat().st_size > _MAX_FILE_BYTES:
        raise BuildFailedError(BuildStepName.CHECK, f"the file is larger than {_MAX_FILE_BYTES:,} bytes.", where=name)
    return path.read_text("utf-8", "replace")


def _unfit(problems: list[tuple[str, str]]) -> BuildFailedError:
    where = ", ".join(dict.fromkeys(where for where, _ in problems))
    lines = [f"{where}: {message}" for where, message in problems]
    reason = f"{problems[0][1]}." if len(problems) == 1 else f"{len(problems)} problems: {'; '.join(lines)}."
    return BuildFailedError(
        BuildStepName.CHECK, reason, where=where, remedy=_INTERFACE_REMEDY, details="\n".join(lines)
    )
