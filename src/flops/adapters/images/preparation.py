"""What every build of actor images begins with, from the clone to installed environments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flops.adapters.images.environments import ResolutionMemory, provide_environment
from flops.adapters.images.resolution import Resolution, check_flavor, question_of, resolve
from flops.adapters.images.trees import make_read_only, private_directory, remove_tree, size_of
from flops.adapters.images.uv import UvFailedError, versions_in
from flops.adapters.images.uv_failures import platform_failure
from flops.errors import BuildFailedError
from flops.project.images import AGGREGATOR, LEARNER, BuildStepName
from flops.repository.dependencies import Dependencies, InvalidDependencyFileError
from flops.repository.dependency_file import read_dependencies
from flops.repository.interface_check import check_interface

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from flops.adapters.images.environments import Environment
    from flops.adapters.images.interpreters import Choice, Interpreter
    from flops.adapters.images.progress import Progress
    from flops.adapters.images.uv import Uv
    from flops.ports import ActorImages, Repositories

MLMODEL: Final = "MLmodel"
_MAX_FILE_BYTES: Final = 1024 * 1024
_INSTALL_STEPS: Final = {LEARNER: BuildStepName.INSTALL_LEARNER, AGGREGATOR: BuildStepName.INSTALL_AGGREGATOR}
ACTOR_STEPS: Final = (
    BuildStepName.CLONE,
    BuildStepName.CHECK,
    BuildStepName.RESOLVE,
    BuildStepName.INSTALL_LEARNER,
    BuildStepName.INSTALL_AGGREGATOR,
    BuildStepName.STORE,
)
MODEL_STEPS: Final = (BuildStepName.STORE,)
_INTERFACE_REMEDY: Final = "The examples ('flops examples') show what an ML repository has to look like."


@dataclass(frozen=True, slots=True)
class Target:
    """An interpreter and the exact packages for it; ``is_known`` where they are those of an earlier build."""

    interpreter: Interpreter
    resolution: Resolution
    is_known: bool

    def lock(self, actor: str) -> str:
        """The packages of an actor."""
        return self.resolution.learner if actor == LEARNER else self.resolution.aggregator


@dataclass(frozen=True, slots=True)
class Preparation:
    """What one build works with. Locks that have to outlive a step are left to ``held``."""

    order: ActorImages
    environments: Path
    repositories: Repositories
    uv: Uv
    workplace: Path
    progress: Progress
    warn: Callable[[str, str], None]
    held: ExitStack

    def provide_code(self, code: Path) -> None:
        """Make the checkout of the commit, read-only and without its history, unless it is there."""
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

    def check(self, code: Path) -> None:
        """Look at the code without running it; what it depends on is known afterwards.

        Raises:
            BuildFailedError: it is not what an ML repository has to be.
        """
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

    def resolve(self, choose: Callable[[str], Sequence[Choice]]) -> list[Target]:
        """Find the exact packages for each of the interpreters that ``choose`` finds for a version specifier."""
        with self.progress.step(BuildStepName.RESOLVE) as done:
            choices = choose(self._dependencies.python)
            self._warn_of_other_pythons(choices)
            targets = [self._target(choice.interpreter) for choice in choices]
            first = targets[0]
            packages = f"{len(versions_in(first.resolution.aggregator))} packages"
            before = ", as before" if all(target.is_known for target in targets) else ""
            done.detail = f"Python {first.interpreter.version}, {packages}{before}"
        return targets

    def _target(self, interpreter: Interpreter) -> Target:
        memory = ResolutionMemory(self.environments)
        question = question_of(self._dependencies, interpreter)
        known = memory.recall(question, interpreter)
        try:
            resolution = known or resolve(self._dependencies, interpreter, self.uv)
        except UvFailedError as error:
            if not interpreter.platform:
                raise
            step, platform = BuildStepName.RESOLVE, interpreter.platform
            raise platform_failure(step, error.child, self._dependencies, platform) from error
        check_flavor(self.order.flavor, resolution, self._dependencies)
        memory.keep(question, resolution)
        return Target(interpreter, resolution, is_known=known is not None)

    def install(self, actor: str, targets: Sequence[Target]) -> list[Environment]:
        """Provide an actor's environment for each target."""
        with self.progress.step(_INSTALL_STEPS[actor]) as done:
            environments = [
                provide_environment(self.environments, target.interpreter, target.lock(actor), self.uv, self.held)
                for target in targets
            ]
            done.size_bytes = sum(environment.size_bytes for environment in environments)
            is_reused = all(environment.was_there for environment in environments)
            done.detail = "reused" if is_reused else f"{len(versions_in(targets[0].lock(actor)))} packages"
        return environments

    def _clone(self) -> Path:
        fresh = self.workplace / "code"
        remove_tree(fresh)
        self.repositories.clone(self.order.url, self.order.commit, private_directory(fresh))
        return fresh

    def _warn_of_other_pythons(self, choices: Sequence[Choice]) -> None:
        """Warn once of each Python that is not the one asked for, however many platforms have it."""
        inexact = {choice.interpreter.version: choice for choice in choices if not choice.is_exact}
        for used, choice in inexact.items():
            self.warn(
                f"{self._dependencies.file} asks for Python {self._dependencies.python}, which {choice.place} does "
                f"not have; Python {used} is used instead.",
                f"If the code depends on it, {choice.remedy}.",
            )

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


def check_model(model: Path) -> None:
    """Check that a directory is a model in MLflow's format.

    Raises:
        BuildFailedError: it is not.
    """
    if not (model / MLMODEL).is_file():
        reason = f"the trained model has no file {MLMODEL}, so it is not in MLflow's format."
        raise BuildFailedError(BuildStepName.STORE, reason, where=MLMODEL)
    links = [path.name for path in model.rglob("*") if path.is_symlink()]
    if links:
        raise BuildFailedError(BuildStepName.STORE, "the trained model holds symbolic links.", where=links[0])
