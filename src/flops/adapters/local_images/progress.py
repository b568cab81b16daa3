"""Tells how a build gets on, and turns what goes wrong in a step into the step's failure."""

from __future__ import annotations

import errno
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flops.adapters.local_images.uv import UvFailedError
from flops.adapters.local_images.uv_failures import build_failure, disk_full
from flops.errors import BuildFailedError, RepositoryUnavailableError
from flops.ports import BuildStep
from flops.repository.dependencies import Dependencies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flops.project.images import BuildStepName

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_FULL_WORDS: Final = "No space left on device"


@dataclass(slots=True)
class StepResult:
    """What a step's body leaves for its report."""

    size_bytes: int | None = None
    detail: str = ""


class Progress:
    """The listener to one build; ``home`` is the directory whose disk may be full."""

    def __init__(self, report: Callable[[BuildStep], None], home: Path) -> None:
        self._report, self._home = report, home
        self.dependencies = Dependencies("")

    @contextmanager
    def step(self, name: BuildStepName) -> Iterator[StepResult]:
        """Report the begin and the end of a step.

        Raises:
            BuildFailedError: in place of every failure that the body may expect.
        """
        begun = time.monotonic()
        self._report(BuildStep(name))
        done = StepResult()
        with self.failures_of(name):
            yield done
        self._report(BuildStep(name, time.monotonic() - begun, done.size_bytes, done.detail))

    @contextmanager
    def failures_of(self, name: BuildStepName) -> Iterator[None]:
        """Turn what the body may expect to go wrong into the failure of a step."""
        try:
            yield
        except UvFailedError as error:
            raise build_failure(name, error.child, self.dependencies, str(self._home)) from error
        except RepositoryUnavailableError as error:
            if _FULL_WORDS in error.reason:
                raise disk_full(name, str(self._home)) from error
            raise BuildFailedError(name, f"{error.reason}.", where=error.url, remedy=error.remedy) from error
        except (OSError, shutil.Error) as error:
            if getattr(error, "errno", None) in _FULL or _FULL_WORDS in str(error):
                raise disk_full(name, str(self._home)) from error
            remedy = "Check the rights and the health of that disk."
            raise BuildFailedError(name, f"{error}.", where=str(self._home), remedy=remedy) from error
