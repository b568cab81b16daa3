"""Tells how a build gets on, and turns what goes wrong in a step into the step's failure."""

from __future__ import annotations

import errno
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from flops.adapters.images.uv import UvFailedError
from flops.adapters.images.uv_failures import build_failure, disk_full
from flops.errors import (
    AccessDeniedError,
    BuildFailedError,
    DownloadFailedError,
    RegistryRefusedError,
    RegistryUnavailableError,
    RepositoryUnavailableError,
)
from flops.ports import BuildStep
from flops.repository.dependencies import Dependencies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flops.project.images import BuildStepName
    from flops.retries import FailedAttempt, Retries

Result = TypeVar("Result")

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_FULL_WORDS: Final = "No space left on device"


@dataclass(slots=True)
class StepResult:
    """What a step's body leaves for its report."""

    size_bytes: int | None = None
    detail: str = ""


class Progress:
    """The listener to one build; ``home`` is the directory whose disk may be full."""

    def __init__(
        self,
        report: Callable[[BuildStep], None],
        home: Path,
        *,
        retries: Retries | None = None,
        warn: Callable[[str, str], None] | None = None,
    ) -> None:
        self._report, self._home = report, home
        self._retries, self._warn = retries, warn
        self._step = ""
        self.dependencies = Dependencies("")

    def insist(self, action: Callable[[], Result]) -> Result:
        """Do what needs the network, again where it fails for a reason that may pass; the user hears of each time."""
        return self._retries.insist(action, self._tell_failed_attempt) if self._retries else action()

    def _tell_failed_attempt(self, failed: FailedAttempt) -> None:
        if self._warn is None:
            return
        error, reason = failed.error, failed.error.message
        if isinstance(error, UvFailedError):
            reason = build_failure(self._step, error.child, self.dependencies, "").reason
        self._warn(failed.told(f"The step '{self._step}'", reason), "")

    @contextmanager
    def step(self, name: BuildStepName) -> Iterator[StepResult]:
        """Report the begin and the end of a step.

        Raises:
            BuildFailedError: in place of every failure that the body may expect.
        """
        begun = time.monotonic()
        self._step = str(name)
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
            kind = DownloadFailedError if error.retryable else BuildFailedError
            raise kind(name, f"{error.reason}.", where=error.url, remedy=error.remedy) from error
        except (RegistryUnavailableError, RegistryRefusedError, AccessDeniedError) as error:
            kind = DownloadFailedError if error.retryable else BuildFailedError
            raise kind(name, error.message, remedy=error.remedy) from error
        except (OSError, shutil.Error) as error:
            if getattr(error, "errno", None) in _FULL or _FULL_WORDS in str(error):
                raise disk_full(name, str(self._home)) from error
            remedy = "Check the rights and the health of that disk."
            raise BuildFailedError(name, f"{error}.", where=str(self._home), remedy=remedy) from error
