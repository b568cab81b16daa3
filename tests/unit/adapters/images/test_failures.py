from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from flops.adapters.images.progress import Progress
from flops.adapters.images.uv import UvFailedError, UvUnreachableError, versions_in, without_hashes
from flops.adapters.images.uv_failures import is_passing
from flops.child_process import FinishedChild
from flops.errors import BuildFailedError, DownloadFailedError, RepositoryUnavailableError
from flops.project.images import BuildStepName
from flops.repository.dependencies import Dependencies, Requirement
from flops.retries import Retries, RetryPolicy

if TYPE_CHECKING:
    from pathlib import Path

    from flops.ports import BuildStep

DEPENDENCIES = Dependencies(
    "conda.yaml", requirements=(Requirement("numpy==2.0", "conda.yaml:4"), Requirement("pandas==1.0", "conda.yaml:5"))
)
LOCK = """\
six==1.16.0 \\
    --hash=sha256:1e61c37477a1626458e36f7b1d82aa5c9b094fa4802892072e49de9c60c4c926 \\
    --hash=sha256:8abb2f1d86890a2dfb989f9a77cfcfd3e47c2a354b01111771326f8aa26e0254
uvicorn[standard]==0.54.0 ; python_version >= '3.9' \\
    --hash=sha256:00
thing @ git+https://git.example.org/o/thing@aaaa
"""


def failure_of(error: Exception, home: Path) -> BuildFailedError:
    reports: list[BuildStep] = []
    progress = Progress(reports.append, home)
    progress.dependencies = DEPENDENCIES
    with pytest.raises(BuildFailedError) as caught, progress.step(BuildStepName.RESOLVE):
        raise error
    assert [step.duration_s for step in reports] == [None]
    return caught.value


def uv_said(text: str, exit_code: int | None = 1) -> UvFailedError:
    return UvFailedError(FinishedChild(exit_code, "", text))


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        uv_said(
            "error: Failed to install: x.whl\n  cause: failed to copy\n  cause: No space left on device (os error 28)"
        ),
        RepositoryUnavailableError("/r", "git says: write error: No space left on device"),
    ],
)
def test_a_full_disk_is_told_as_such_wherever_it_shows(error: Exception, tmp_path: Path) -> None:
    failure = failure_of(error, tmp_path)
    assert failure.reason == "the disk is full."
    assert failure.where == str(tmp_path)
    assert "FLOPS_HOME" in failure.remedy


def test_another_fault_of_the_disk_is_told(tmp_path: Path) -> None:
    failure = failure_of(PermissionError(errno.EACCES, "Permission denied"), tmp_path)
    assert "Permission denied" in failure.reason


def test_a_conflict_names_the_lines_it_comes_from(tmp_path: Path) -> None:
    said = (
        "error: No solution found when resolving dependencies\n  cause: Because pandas==1.0 depends on numpy<2 and you "
        "require numpy==2.0, we can conclude\n      that your requirements are unsatisfiable.\n\nhint: something"
    )
    failure = failure_of(uv_said(said), tmp_path)
    assert failure.where == "conda.yaml:5, conda.yaml:4"
    assert failure.reason.endswith("we can conclude that your requirements are unsatisfiable.")
    assert "hint" not in failure.reason
    assert failure.step == "resolve"


def test_an_index_that_does_not_answer_is_told_without_its_credentials(tmp_path: Path) -> None:
    said = "error: Failed to fetch: `https://me:secret@packages.example.org/simple/six/`\n  cause: dns error"
    failure = failure_of(uv_said(said), tmp_path)
    assert "package index cannot be used" in failure.reason
    assert "secret" not in failure.reason + failure.details


@pytest.mark.parametrize(
    ("said", "passes"),
    [
        ("error: Failed to fetch: `https://e.org/simple/six/`\n  cause: dns error", True),
        ("error: Request failed after 3 retries\n  cause: error sending request\n  cause: Connection refused", True),
        ("error: Failed to fetch `https://e.org/x`\n  cause: HTTP status server error (503 Service Unavailable)", True),
        ("error: Failed to fetch `https://e.org/x`\n  cause: HTTP status client error (403 Forbidden)", False),
        ("error: Failed to fetch\n  cause: invalid peer certificate: UnknownIssuer", False),
        (
            "error: No solution found when resolving dependencies\n  cause: six was disabled, unsatisfiable",
            False,
        ),
        ("error: Failed to build `six==1`\n  cause: Connection refused", False),
    ],
)
def test_only_what_may_pass_is_worth_another_attempt(said: str, passes: bool, tmp_path: Path) -> None:  # noqa: FBT001
    assert is_passing(said) is passes
    assert isinstance(failure_of(uv_said(said), tmp_path), DownloadFailedError) is passes


def test_every_attempt_that_is_followed_by_another_is_told(tmp_path: Path) -> None:
    said, warnings = ["error: Failed to fetch\n  cause: dns error"] * 2, list[str]()
    retries = Retries(RetryPolicy(attempts=3, longest_s=0.01))
    progress = Progress(lambda _: None, tmp_path, retries=retries, warn=lambda message, _: warnings.append(message))

    def fetch() -> str:
        if said:
            raise UvUnreachableError(FinishedChild(1, "", said.pop()))
        return "fetched"

    with progress.step(BuildStepName.RESOLVE):
        assert progress.insist(fetch) == "fetched"

    assert [message.partition(" (")[2][:14] for message in warnings] == ["attempt 1 of 3", "attempt 2 of 3"]
    assert "the package index cannot be used: dns error" in warnings[0]


def test_what_does_not_pass_is_attempted_once(tmp_path: Path) -> None:
    retries = Retries(RetryPolicy(attempts=3, longest_s=0.01))
    progress = Progress(lambda _: None, tmp_path, retries=retries, warn=lambda message, _: pytest.fail(message))
    attempts: list[int] = []

    def resolve() -> None:
        attempts.append(1)
        raise uv_said("error: No solution found")

    with pytest.raises(BuildFailedError), progress.step(BuildStepName.RESOLVE):
        progress.insist(resolve)
    assert attempts == [1]


def test_a_uv_that_does_not_end_is_told(tmp_path: Path) -> None:
    assert "took too long" in failure_of(uv_said("", exit_code=None), tmp_path).reason


def test_the_versions_in_a_lock() -> None:
    assert versions_in(LOCK) == {"six": "1.16.0", "uvicorn": "0.54.0", "thing": ""}


def test_constraints_carry_neither_hashes_nor_extras() -> None:
    assert without_hashes(LOCK).splitlines() == [
        "six==1.16.0",
        "uvicorn==0.54.0 ; python_version >= '3.9'",
        "thing @ git+https://git.example.org/o/thing@aaaa",
    ]
